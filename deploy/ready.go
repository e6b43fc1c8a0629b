package deploy

import (
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/scheme"
)

// readyWaiter is Helm's waiter, used only for objects that are not ready by what the API
// server answered when they were applied. An upgrade that changes nothing opens no watch.
type readyWaiter struct {
	kube.Waiter
	log *lineLog
}

func (w readyWaiter) Wait(objects kube.ResourceList, timeout time.Duration) error {
	if w.ready(objects) {
		return nil
	}
	return w.Waiter.Wait(objects, timeout)
}

func (w readyWaiter) WaitWithJobs(objects kube.ResourceList, timeout time.Duration) error {
	if w.ready(objects) {
		return nil
	}
	return w.Waiter.WaitWithJobs(objects, timeout)
}

func (w readyWaiter) ready(objects kube.ResourceList) bool {
	for _, info := range objects {
		if u, ok := info.Object.(*unstructured.Unstructured); !ok || !settled(u) {
			return false
		}
	}
	for _, info := range objects {
		if gvk := info.Mapping.GroupVersionKind; gvk.Group == "apps" {
			w.log.printf("%s is ready", objectName(gvk.Kind, "", info.Name))
		}
	}
	return true
}

// settled says that an object, as an API server answered it, is ready and that its
// controller has seen all of it. Where that can't be told from the object alone, it says
// no: Helm's waiter looks longer and closer.
func settled(u *unstructured.Unstructured) bool {
	gvk := u.GroupVersionKind()
	switch {
	case u.GetUID() == "": // as rendered, not as answered
		return false
	case !scheme.Scheme.Recognizes(gvk): // a custom object may look ready until its controller has seen it
		return false
	case gvk.Kind == "Pod" || gvk.Kind == "Job": // waited for until they end, not until they run
		return false
	case gvk.Group == "apps" || gvk.Group == "policy":
		seen, found, err := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
		if err != nil || !found || seen != u.GetGeneration() {
			return false
		}
	}
	result, err := status.Compute(u)
	return err == nil && result.Status == status.CurrentStatus
}
