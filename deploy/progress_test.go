package deploy

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/event"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/cli-utils/pkg/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// An exceeded progress deadline counts once the Deployment was seen without it in this wait: what a rollback begins
// with is the failure that it takes back.
func TestProgressDeadlineOfTheRevisionBefore(t *testing.T) {
	reading := func(kind, reason string, s status.Status) *event.ResourceStatus {
		return &event.ResourceStatus{
			Identifier: object.ObjMetadata{Namespace: "tks", Name: "api", GroupKind: schema.GroupKind{Group: "apps", Kind: kind}},
			Status:     s,
			Resource: &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": []any{
				map[string]any{"type": "Available", "reason": "MinimumReplicasAvailable"},
				map[string]any{"type": "Progressing", "reason": reason},
			}}}},
		}
	}
	const late, fine = "ProgressDeadlineExceeded", "NewReplicaSetAvailable"
	for name, c := range map[string]struct {
		readings []*event.ResourceStatus
		want     status.Status // of the last
	}{
		"left from before":            {[]*event.ResourceStatus{reading("Deployment", late, status.FailedStatus)}, status.InProgressStatus},
		"also when read again":        {[]*event.ResourceStatus{reading("Deployment", late, status.InProgressStatus), reading("Deployment", late, status.FailedStatus)}, status.InProgressStatus},
		"of this wait":                {[]*event.ResourceStatus{reading("Deployment", fine, status.InProgressStatus), reading("Deployment", late, status.FailedStatus)}, status.FailedStatus},
		"another failure":             {[]*event.ResourceStatus{reading("Deployment", "ReplicaSetCreateError", status.FailedStatus)}, status.FailedStatus},
		"ready after what was before": {[]*event.ResourceStatus{reading("Deployment", late, status.FailedStatus), reading("Deployment", fine, status.CurrentStatus)}, status.CurrentStatus},
		"another kind":                {[]*event.ResourceStatus{reading("StatefulSet", late, status.FailedStatus)}, status.FailedStatus},
	} {
		p := newProgress(nil, nil)
		for _, rs := range c.readings {
			p.doubt(rs)
		}
		if got := c.readings[len(c.readings)-1].Status; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
