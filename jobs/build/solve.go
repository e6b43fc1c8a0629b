package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/sourcepolicy/policysession"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/tonistiigi/fsutil"
)

// Names of the frontend's attributes, frontend/dockerui/config.go of BuildKit.
const (
	attrFilename   = "filename"
	attrTarget     = "target"
	attrPlatform   = "platform"
	attrCmdline    = "cmdline"
	attrProvenance = "attest:provenance"
	attrArg        = "build-arg:"

	argCacheSpace = "BUILDKIT_CACHE_MOUNT_NS"
	argEpoch      = "SOURCE_DATE_EPOCH"

	digestKey = "containerimage.digest" // of the exporter's response
)

// frontendAttrs is what the Dockerfile frontend is told.
func frontendAttrs(r recipe, dockerfile string, commit time.Time) map[string]string {
	attrs := map[string]string{
		attrFilename: dockerfile,
		// With a command line the frontend takes itself to be the one that the syntax line asked for, so it
		// downloads none.
		attrCmdline:        "dockerfile.v0",
		attrArg + argEpoch: strconv.FormatInt(max(commit.Unix(), 0), 10),
	}
	for k, v := range r.args {
		attrs[attrArg+k] = v
	}
	attrs[attrArg+argCacheSpace] = r.cacheSpace
	if r.target != "" {
		attrs[attrTarget] = r.target
	}
	if len(r.platforms) > 0 {
		attrs[attrPlatform] = strings.Join(r.platforms, ",")
	}
	if r.push {
		attrs[attrProvenance] = "mode=min" // without build arguments
	}
	return attrs
}

// exports is where the image goes: pushed by digest, without a tag. Tags are set afterwards, by us (publish.go).
func exports(r recipe, conf Registry) []client.ExportEntry {
	if !r.push {
		return nil
	}
	attrs := map[string]string{
		"name":              r.image,
		"push":              "true",
		"push-by-digest":    "true",
		"name-canonical":    "true",
		"store":             "false",
		"oci-mediatypes":    "true",
		"rewrite-timestamp": "true", // to SOURCE_DATE_EPOCH
	}
	if conf.Insecure {
		attrs["registry.insecure"] = "true"
	}
	return []client.ExportEntry{{Type: client.ExporterImage, Attrs: attrs}}
}

// solve carries the request to a BuildKit and returns the digest of what it pushed, "" when nothing was to be pushed.
func (k *Kind) solve(ctx context.Context, b *builder, task jobs.Task, r recipe, f *files, commit time.Time, ring *keyring, p *progress) (string, error) {
	states := make(chan *client.SolveStatus, 16)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		p.follow(states)
	}()
	resp, err := b.client.Solve(ctx, nil, client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: frontendAttrs(r, f.dockerfile, commit),
		LocalMounts:   map[string]fsutil.FS{"context": f.context, "dockerfile": f.repository},
		Exports:       exports(r, k.conf.Registries[r.host]),
		// BuildKit keeps the context it was sent under this key and compares later ones with it by size and time
		// alone. All our files have the commit's time, so nothing but the very same folder of the very same commit
		// may share it.
		SharedKey:            sharedKey(task.Run, r),
		Session:              []session.Attachable{ring},
		SourcePolicyProvider: policysession.NewPolicyProvider(ring.checkSource),
	}, states)
	<-followed
	if err != nil {
		return "", err
	}
	if !r.push {
		return "", nil
	}
	d := resp.ExporterResponse[digestKey]
	if d == "" {
		return "", errors.New("BuildKit did not say what it pushed")
	}
	return d, nil
}

func sharedKey(run jobs.RunInfo, r recipe) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00%s", r.cacheSpace, run.SHA, r.context)
	return hex.EncodeToString(h.Sum(nil))
}
