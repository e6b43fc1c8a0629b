package webhook_test

import (
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func TestDecodeWorkflows(t *testing.T) {
	e, reason := decode(t, "workflow_run", `"action": "completed", "workflow": {"name": "Hello"}, "workflow_run": {"id": 77, "run_attempt": 2,
		"path": ".github/workflows/hello.yaml", "workflow_id": 5, "name": "Hello", "display_title": "Hello, Slipway", "event": "workflow_dispatch",
		"head_branch": "main", "head_sha": "`+shaA+`", "status": "completed", "conclusion": "failure", "html_url": "https://github.com/x",
		"actor": {"id": 1, "login": "slipway[bot]", "type": "Bot"}, "check_suite_id": 9, "updated_at": "2026-11-23T12:00:00Z"}`)
	if w := e.Workflow; reason != "" || e.Kind != jobs.EventWorkflow || !w.Over() || !w.OnRequest() || w.Attempt != 2 || w.Conclusion != "failure" || w.Suite != 9 {
		t.Errorf("%q %+v", reason, e.Workflow)
	}
	e, reason = decode(t, "workflow_job", `"action": "in_progress", "workflow_job": {"id": 8, "run_id": 77, "run_attempt": 1, "name": "build",
		"status": "in_progress", "conclusion": null, "head_sha": "`+shaA+`", "started_at": "2026-11-23T12:00:00Z", "completed_at": "2026-11-23T12:00:00Z",
		"steps": [{"number": 1, "name": "Set up job", "status": "completed", "conclusion": "success", "started_at": null, "completed_at": null}]}`)
	if w := e.Workflow; reason != "" || w.ID != 77 || w.Status != "" || len(w.Jobs) != 1 || w.Jobs[0].Steps[0].Name != "Set up job" || !w.Jobs[0].Completed.IsZero() ||
		!w.Jobs[0].Started.Equal(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("%q %+v", reason, e.Workflow)
	}
}
