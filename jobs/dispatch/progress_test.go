package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// shownBy is a session that shows workflow runs.
func shownBy() *session {
	return &session{kind: &kind{}, rec: Record{ID: 101, URL: "https://github.example/runs/101", Workflow: "hello.yaml", Ref: "refs/heads/main",
		Repository: jobs.Repository{ID: 5, Owner: "acme", Name: "shop"}, Attempt: 1}}
}

func TestDetailsOfALargeRun(t *testing.T) {
	s := shownBy()
	run := jobs.WorkflowRun{ID: 101, Attempt: 1, Name: "hello", Status: "in_progress"}
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for i := range 100 {
		j := jobs.WorkflowJob{ID: int64(i), Name: fmt.Sprintf("job-%02d %s", i, strings.Repeat("x", 300)), Status: "completed", Conclusion: "success",
			URL: "https://github.example/job/" + fmt.Sprint(i), Started: at, Completed: at.Add(75 * time.Second)}
		for n := range 60 {
			j.Steps = append(j.Steps, jobs.WorkflowStep{Number: n, Name: strings.Repeat("y", 300), Status: "completed", Conclusion: "success"})
		}
		switch i {
		case 97:
			j.Status, j.Conclusion, j.Steps = "in_progress", "", j.Steps[:2]
		case 98:
			j.Conclusion, j.Steps = "failure", j.Steps[:3]
		case 99:
			j.Status, j.Conclusion, j.Steps = "waiting", "", nil
		}
		run.Jobs = append(run.Jobs, j)
	}
	text := s.details(run, maxProgress)
	if len(text) > maxProgress {
		t.Errorf("%d bytes, want at most %d", len(text), maxProgress)
	}
	failed, running := strings.Index(text, "| ❌ | [job-98"), strings.Index(text, "| 🟡 | [job-97")
	if failed < 0 || running < failed || strings.Contains(text, "job-60") {
		t.Errorf("what failed and what runs does not come first:\n%s", text)
	}
	if !strings.Contains(text, "**job-98") || !strings.Contains(text, "more jobs left out") || !strings.Contains(text, "The steps of ") || !strings.Contains(text, "| 1m15s |") {
		t.Errorf("does not say what is cut:\n%s", text)
	}
	if reason := s.reason(run); reason != "hello: 98 of 100 jobs done, running: "+jobs.Cut(run.Jobs[97].Name, maxName) {
		t.Errorf("reason %q", reason)
	}
}

func TestReason(t *testing.T) {
	many := jobs.WorkflowRun{Name: "hello", Status: "in_progress"}
	for i := range 5 {
		many.Jobs = append(many.Jobs, jobs.WorkflowJob{Name: fmt.Sprint("j", i), Status: "in_progress"})
	}
	for want, run := range map[string]jobs.WorkflowRun{
		"hello.yaml: queued":      {},
		"hello: in progress":      {Name: "hello", Status: "in_progress"},
		"hello: queued":           {Name: "hello", Status: "queued", Jobs: []jobs.WorkflowJob{{Name: "a", Status: "queued"}}},
		"hello: 1 of 2 jobs done": {Name: "hello", Jobs: []jobs.WorkflowJob{{Status: "completed"}, {Status: "queued"}}},
		"hello: 0 of 5 jobs done, running: j0, j1, j2 and 2 more": many,
	} {
		if got := shownBy().reason(run); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestForeignTextDrawsNothing(t *testing.T) {
	s := shownBy()
	s.rec.Note = "a <b>note</b>"
	run := jobs.WorkflowRun{ID: 101, Name: "x](https://evil) | @acme\n# big", Jobs: []jobs.WorkflowJob{
		{Name: "a|b", Status: "queued", URL: "javascript:alert(1)", Steps: []jobs.WorkflowStep{{Name: "<img src=x>\n| y | z |", Status: "queued"}}},
	}}
	text := s.details(run, maxProgress)
	for _, bad := range []string{"x](", "@acme", "\n# big", "<b>", "<img", "javascript:", "\n| y", "a|b"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q draws:\n%s", bad, text)
		}
	}
}

func TestTellsEachThingOnce(t *testing.T) {
	s := shownBy()
	run := jobs.WorkflowRun{Jobs: []jobs.WorkflowJob{{ID: 1, Name: "build\x1b[31m", Status: "in_progress", Steps: []jobs.WorkflowStep{
		{Number: 1, Name: "Set up", Status: "completed", Conclusion: "success"}, {Number: 2, Name: "Test", Status: "in_progress"}}}}}
	if got := strings.Join(s.tell(run), "\n"); got != "build [31m: step 1 Set up: success\nbuild [31m: in progress" {
		t.Errorf("told %q", got)
	}
	if again := s.tell(run); len(again) != 0 {
		t.Errorf("told once more %q", again)
	}
	run.Jobs[0].Steps = nil // news may be shorter than those before
	run.Jobs[0].Status, run.Jobs[0].Conclusion = "completed", "failure"
	if got := strings.Join(s.tell(run), "\n"); got != "build [31m: failure" {
		t.Errorf("told %q", got)
	}
}

func TestSpan(t *testing.T) {
	began := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for took, want := range map[time.Duration]string{
		-time.Second: "", 0: "0 s", 1400 * time.Millisecond: "1 s", 59 * time.Second: "59 s", time.Minute: "1m", 90 * time.Second: "1m30s",
		20*time.Minute + 10*time.Second: "20m10s", 2 * time.Hour: "2h", time.Hour + 30*time.Second: "1h0m30s",
	} {
		if got := span(began, began.Add(took)); got != want {
			t.Errorf("%s is shown as %q, want %q", took, got, want)
		}
	}
}
