package deploy

import (
	"context"
	"fmt"
	"time"

	authorization "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// needed are the permissions that every rollout needs in its namespace, whatever its chart holds: for the lease that
// fences it and for the Secrets in which Helm keeps the revisions.
var needed = []authorization.ResourceAttributes{
	{Group: "coordination.k8s.io", Resource: "leases", Verb: "create"},
	{Group: "coordination.k8s.io", Resource: "leases", Verb: "update"},
	{Resource: "secrets", Verb: "list"},
	{Resource: "secrets", Verb: "create"},
	{Resource: "secrets", Verb: "update"},
	{Resource: "secrets", Verb: "delete"},
}

// Denied lists which of the permissions that every rollout needs in a namespace our credentials lack, each as "create
// leases.coordination.k8s.io". An empty namespace asks about all namespaces at once. The permissions that a chart's own
// objects need are not asked about.
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
