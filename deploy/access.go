package deploy

import (
	"context"
	"fmt"
	"time"

	authorization "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// needed is what a rollout does itself in a release's namespace, whatever its chart holds: the lease that fences it, and
// the Secrets that Helm keeps its revisions in.
var needed = []authorization.ResourceAttributes{
	{Group: "coordination.k8s.io", Resource: "leases", Verb: "create"},
	{Group: "coordination.k8s.io", Resource: "leases", Verb: "update"},
	{Resource: "secrets", Verb: "list"},
	{Resource: "secrets", Verb: "create"},
	{Resource: "secrets", Verb: "update"},
	{Resource: "secrets", Verb: "delete"},
}

// Denied asks the cluster what of what every rollout needs in a namespace our credentials may not do: "create
// leases.coordination.k8s.io" and the like. An empty namespace asks about all of them at once. What a chart makes besides
// is not looked at.
func (c *Cluster) Denied(ctx context.Context, namespace string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var denied []string
	for _, one := range needed {
		one.Namespace = namespace
		review := &authorization.SelfSubjectAccessReview{Spec: authorization.SelfSubjectAccessReviewSpec{ResourceAttributes: &one}}
		answer, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("ask cluster %s what we may do: %w", c.name, err)
		}
		if answer.Status.Allowed {
			continue
		}
		what := one.Verb + " " + one.Resource
		if one.Group != "" {
			what += "." + one.Group
		}
		denied = append(denied, what)
	}
	return denied, nil
}
