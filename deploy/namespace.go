package deploy

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ensureNamespace creates the namespace when it is absent. One that exists is left as it is.
func (c *Cluster) ensureNamespace(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, c.timing.readLimit)
	defer cancel()
	found, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil && found.DeletionTimestamp != nil:
		return fmt.Errorf("namespace %s is being deleted", name)
	case err == nil, apierrors.IsForbidden(err): // rights in one namespace suffice when it exists
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("look for namespace %s: %w", name, err)
	}
	_, err = c.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managedBy: "slipway"}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

// lacksNamespace says whether the API server answers that there is no such namespace. An
// answer that we may not look counts as no: rights in one namespace need not include seeing it.
func (c *Cluster) lacksNamespace(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timing.readLimit)
	defer cancel()
	_, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil && !apierrors.IsForbidden(err):
		return false, fmt.Errorf("look for namespace %s: %w", name, err)
	}
	return false, nil
}
