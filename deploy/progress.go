package deploy

import (
	"context"
	"strings"
	"sync"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/engine"
	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/event"
	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/statusreaders"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/cli-utils/pkg/object"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// progress reads objects' readiness for Helm, as Helm would, and logs how it changes.
// Jobs and Pods are left to Helm's own readers, which wait for their completion.
type progress struct {
	engine.StatusReader
	log *lineLog

	mu   sync.Mutex
	last map[object.ObjMetadata]string
	// fresh holds the Deployments that have been within their progress deadline since this wait began.
	fresh map[object.ObjMetadata]bool
}

func newProgress(mapper meta.RESTMapper, log *lineLog) *progress {
	return &progress{
		StatusReader: statusreaders.NewStatusReader(mapper), log: log,
		last: map[object.ObjMetadata]string{}, fresh: map[object.ObjMetadata]bool{},
	}
}

func (p *progress) Supports(gk schema.GroupKind) bool {
	return gk.Kind != "Job" && gk.Kind != "Pod"
}

func (p *progress) ReadStatus(ctx context.Context, reader engine.ClusterReader, id object.ObjMetadata) (*event.ResourceStatus, error) {
	rs, err := p.StatusReader.ReadStatus(ctx, reader, id)
	p.doubt(rs)
	p.note(rs)
	return rs, err
}

func (p *progress) ReadStatusForObject(ctx context.Context, reader engine.ClusterReader, o *unstructured.Unstructured) (*event.ResourceStatus, error) {
	// A hook that is neither Job nor Pod is done when it is applied: Helm doesn't wait for it.
	if _, hook := o.GetAnnotations()["helm.sh/hook"]; hook {
		return &event.ResourceStatus{
			Identifier: object.UnstructuredToObjMetadata(o), Status: status.CurrentStatus, Resource: o,
		}, nil
	}
	rs, err := p.StatusReader.ReadStatusForObject(ctx, reader, o)
	p.doubt(rs)
	p.note(rs)
	return rs, err
}

// doubt ignores a ProgressDeadlineExceeded that was there when the wait began: it is left from the revision before.
// The Deployment controller keeps that condition until the new revision makes progress, long after it has observed the
// new generation, and Helm gives up at the first failure it reads: rolling back a Deployment that did not start in time
// would fail at once. One that never makes progress ends with the wait's timeout.
func (p *progress) doubt(rs *event.ResourceStatus) {
	if rs == nil || rs.Resource == nil || rs.Identifier.GroupKind != (schema.GroupKind{Group: "apps", Kind: "Deployment"}) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !pastDeadline(rs.Resource):
		p.fresh[rs.Identifier] = true
	case rs.Status == status.FailedStatus && !p.fresh[rs.Identifier]:
		rs.Status, rs.Message = status.InProgressStatus, "no progress yet"
	}
}

// pastDeadline reports whether a Deployment says that it made no progress within its deadline.
func pastDeadline(deployment *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(deployment.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Progressing" {
			return c["reason"] == "ProgressDeadlineExceeded"
		}
	}
	return false
}

func (p *progress) note(rs *event.ResourceStatus) {
	if rs == nil {
		return
	}
	id := rs.Identifier
	now := string(rs.Status) + rs.Message
	p.mu.Lock()
	before, seen := p.last[id]
	p.last[id] = now
	p.mu.Unlock()
	name := objectName(id.GroupKind.Kind, "", id.Name)
	switch {
	case before == now:
	case rs.Status == status.CurrentStatus:
		// What is ready the moment it exists needs no line.
		if seen || id.GroupKind.Group == "apps" {
			p.log.printf("%s is ready", name)
		}
	case rs.Status == status.FailedStatus:
		p.log.printf("%s failed: %s", name, rs.Message)
	case rs.Status == status.InProgressStatus && rs.Message != "" && !strings.Contains(rs.Message, "observed generation"):
		p.log.printf("%s: %s", name, rs.Message)
	}
}
