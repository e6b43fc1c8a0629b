package build

import (
	"context"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/sourcepolicy/policysession"
)

// checkSource is asked by BuildKit before it fetches anything that a Dockerfile names. At a registry with basic
// authentication BuildKit holds a password that could pull everything, so there only names are let through that this
// build may pull with it. Everything else is fetched without credentials, or with narrowed tokens, and needs no rule.
func (k *keyring) checkSource(ctx context.Context, req *policysession.CheckPolicyRequest) (*policysession.DecisionResponse, *gwpb.ResolveSourceMetaRequest, error) {
	k.checked.Store(true)
	allow := &policysession.DecisionResponse{Action: spb.PolicyAction_ALLOW}
	kind, id, _ := strings.Cut(req.GetSource().GetSource().GetIdentifier(), "://")
	if !strings.HasPrefix(kind, "docker-image") { // docker-image, docker-image+blob
		return allow, nil, nil
	}
	named, err := reference.ParseNormalizedNamed(id)
	if err != nil {
		return allow, nil, nil // BuildKit can't fetch it either
	}
	host, name := canonicalHost(reference.Domain(named)), reference.Path(named)
	r, err := k.registry(host)
	if err != nil {
		return nil, nil, err
	}
	if r == nil || k.recipe.access(host, name, r.conf, k.allows) >= accessPull {
		return allow, nil, nil
	}
	c, err := r.challenge(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !isScheme(c, "basic") {
		return allow, nil, nil
	}
	return &policysession.DecisionResponse{
		Action: spb.PolicyAction_DENY,
		DenyMessages: []*policysession.DenyMessage{{Message: fmt.Sprintf(
			"%s is another team's image, and registry %s has no way to read it without the operator's password; whoever runs Slipway can open it to all builds under registries.%s.pull",
			reference.TrimNamed(named).Name(), host, host)}},
	}, nil, nil
}
