package deploy

import (
	"fmt"
	"strings"

	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"
)

// scopeError names an object that a chart may not carry.
type scopeError struct {
	object string // "ClusterRole admin"
	why    string
}

func (e *scopeError) Error() string { return e.object + " " + e.why }

func (e *scopeError) failure() *Failure {
	return &Failure{
		Object: e.object, Reason: ReasonOutsideNamespace,
		Sentence: fmt.Sprintf("The chart carries %s, which %s.", e.object, e.why),
	}
}

// checkScope refuses what a chart may not carry. It looks at the objects as Helm itself
// parsed them, so nothing can be one thing to the check and another to the API server.
func checkScope(objects kube.ResourceList, namespace string, clusterScoped bool) error {
	for _, info := range objects {
		if err := checkObject(info, namespace, clusterScoped); err != nil {
			return err
		}
	}
	return nil
}

func checkObject(info *resource.Info, namespace string, clusterScoped bool) error {
	gvk := info.Mapping.GroupVersionKind
	name := info.Name
	var generated, secretType string
	if u, ok := info.Object.(*unstructured.Unstructured); ok {
		generated = u.GetGenerateName()
		secretType, _, _ = unstructured.NestedString(u.Object, "type")
	}
	object := objectName(gvk.Kind, info.Namespace, name+generated)
	switch {
	// A forged record of a release or a forged lease would let one repository pose as
	// another's, or as ourselves.
	case gvk.Group == "" && gvk.Kind == "Secret" &&
		(strings.HasPrefix(name+generated, "sh.helm.release.") || strings.HasPrefix(secretType, "helm.sh/release")):
		return &scopeError{object, "has the form of Helm's own records of releases"}
	case gvk.Group == "coordination.k8s.io" && gvk.Kind == "Lease" && strings.HasPrefix(name+generated, leasePrefix):
		return &scopeError{object, "has the name of one of Slipway's own leases: choose another"}
	case clusterScoped:
		return nil
	case info.Mapping.Scope.Name() != meta.RESTScopeNameNamespace:
		return &scopeError{object, fmt.Sprintf("belongs to the whole cluster; this job may change namespace %s only: let an operator install it, or switch it off in the values", namespace)}
	case info.Namespace != namespace:
		return &scopeError{object, fmt.Sprintf("lies outside namespace %s, the only one this job may change: remove metadata.namespace from its template", namespace)}
	}
	return nil
}

func objectName(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}
