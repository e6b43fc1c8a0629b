package jobs_test

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

func TestResultsAreBounded(t *testing.T) {
	small := jobs.Result{Outputs: map[string]any{"digest": "sha256:1"}}.Bound()
	if small.Outputs["digest"] != "sha256:1" || small.Details != "" {
		t.Errorf("a small result was changed: %+v", small)
	}
	long := strings.Repeat("x", 10<<10)
	r := jobs.Result{
		Summary: long, Details: long, Cause: long, Outputs: map[string]any{"digest": "sha256:1", "images": long},
		Tail: strings.Split(strings.Repeat(long+"\n", 50), "\n"), Annotations: make([]jobs.Annotation, 100),
	}.Bound()
	if len(r.Outputs) > 0 || !strings.Contains(r.Details, "outputs are left out") {
		t.Errorf("outputs beyond the bound stay, or nobody is told: %d, %.80s", len(r.Outputs), r.Details)
	}
	if len(r.Summary) > jobs.MaxSummary || len(r.Details) > jobs.MaxDetails || len(r.Tail) > jobs.MaxTail || len(r.Annotations) > jobs.MaxAnnotations {
		t.Errorf("%d bytes of summary, %d of details, %d lines, %d annotations", len(r.Summary), len(r.Details), len(r.Tail), len(r.Annotations))
	}
}
