package deploy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/yaml"
)

const (
	readyDeployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: shop, uid: u, generation: 4}, spec: {replicas: 1}, status: {
observedGeneration: 4, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [
{type: Available, status: "True"}, {type: Progressing, status: "True", reason: NewReplicaSetAvailable}]}}`
	readyDaemonSet = `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: shop, uid: u, generation: 1}, status: {observedGeneration: 1,
desiredNumberScheduled: 0, currentNumberScheduled: 0, updatedNumberScheduled: 0, numberAvailable: 0, numberReady: 0}}`
	configMap = "{apiVersion: v1, kind: ConfigMap, metadata: {name: shop, uid: u}}"
)

func TestSettled(t *testing.T) {
	for _, tc := range []struct {
		name, object string
		want         bool
	}{
		{"a Deployment that is ready", readyDeployment, true},
		{"as it was rendered", strings.Replace(readyDeployment, "uid: u, ", "", 1), false},
		{"changed just now", strings.Replace(readyDeployment, "generation: 4}", "generation: 5}", 1), false},
		{"not seen by its controller", strings.Replace(readyDeployment, "observedGeneration: 4, ", "", 1), false},
		{"with an old pod left", strings.Replace(readyDeployment, " replicas: 1, updated", " replicas: 2, updated", 1), false},
		{"past its progress deadline", strings.Replace(readyDeployment, "NewReplicaSetAvailable", "ProgressDeadlineExceeded", 1), false},
		{"a DaemonSet that no node takes", readyDaemonSet, true},
		{"a DaemonSet created just now", strings.Replace(readyDaemonSet, "observedGeneration: 1,", "", 1), false},
		{"a ConfigMap", configMap, true},
		{"a ConfigMap as it was rendered", strings.Replace(configMap, ", uid: u", "", 1), false},
		{"a Service without an address", "{apiVersion: v1, kind: Service, metadata: {name: shop, uid: u}, spec: {type: LoadBalancer}}", false},
		{"a Job", "{apiVersion: batch/v1, kind: Job, metadata: {name: shop, uid: u}, status: {conditions: [{type: Complete, status: \"True\"}]}}", false},
		{"a Pod", "{apiVersion: v1, kind: Pod, metadata: {name: shop, uid: u}, status: {phase: Succeeded}}", false},
		{"a custom object", "{apiVersion: example.com/v1, kind: Thing, metadata: {name: shop, uid: u}}", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := settled(parsed(t, tc.object)); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u
}

// failingWaiter fails whenever it is used.
type failingWaiter struct{ kube.Waiter }

var errWaited = errors.New("waited")

func (failingWaiter) Wait(kube.ResourceList, time.Duration) error         { return errWaited }
func (failingWaiter) WaitWithJobs(kube.ResourceList, time.Duration) error { return errWaited }

func TestOnlyWhatIsNotReadyIsWaitedFor(t *testing.T) {
	log := newTestWriter(t)
	w := readyWaiter{failingWaiter{}, &lineLog{w: log}}
	list := func(objects ...string) (all kube.ResourceList) {
		for _, text := range objects {
			u := parsed(t, text)
			all.Append(&resource.Info{Name: u.GetName(), Object: u, Mapping: &meta.RESTMapping{GroupVersionKind: u.GroupVersionKind()}})
		}
		return all
	}
	late := strings.Replace(readyDeployment, "generation: 4}", "generation: 5}", 1)
	for _, wait := range []func(kube.ResourceList, time.Duration) error{w.Wait, w.WaitWithJobs} {
		if err := wait(list(configMap, late), time.Second); !errors.Is(err, errWaited) {
			t.Errorf("with one that is not ready: %v", err)
		}
		if log.String() != "" {
			t.Errorf("the log says %q before anything is ready", log)
		}
	}
	if err := w.WaitWithJobs(list(configMap, readyDeployment), time.Second); err != nil {
		t.Error(err)
	}
	if got := log.String(); got != "Deployment shop is ready\n" {
		t.Errorf("the log says %q", got)
	}
}
