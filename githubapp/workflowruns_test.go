package githubapp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func TestWorkflowRuns(t *testing.T) {
	w := newYard(t)
	repo := described(w.repo)
	began := w.clock.Now()
	first := w.started()
	w.clock.advance(time.Hour)
	second := w.started()
	pushed := w.commit("trigger", map[string]string{".github/workflows/hello.yaml": helloWorkflow})
	third := w.repo.WorkflowRuns()[2]
	all := []int64{third.ID, second.ID, first.ID}
	for name, test := range map[string]struct {
		filter jobs.WorkflowFilter
		limit  int
		want   []int64
	}{
		"all":                {jobs.WorkflowFilter{}, 10, all},
		"the newest":         {jobs.WorkflowFilter{}, 1, all[:1]},
		"none is one":        {jobs.WorkflowFilter{}, 0, all[:1]},
		"by file":            {jobs.WorkflowFilter{Workflow: "hello.yaml"}, 10, all},
		"by event":           {jobs.WorkflowFilter{Event: "push"}, 10, all[:1]},
		"by branch and file": {jobs.WorkflowFilter{Workflow: "hello.yaml", Branch: "main"}, 10, all[1:]},
		"by actor":           {jobs.WorkflowFilter{Actor: "slipway[bot]"}, 10, all[1:]},
		"by SHA":             {jobs.WorkflowFilter{SHA: pushed}, 10, all[:1]},
		"by age":             {jobs.WorkflowFilter{Since: began.Add(time.Minute), Event: "workflow_dispatch"}, 10, all[1:2]},
		"none":               {jobs.WorkflowFilter{Branch: "nowhere"}, 10, nil},
	} {
		list, err := w.app.WorkflowRuns(t.Context(), w.inst.ID, repo, test.filter, test.limit)
		ok(t, err)
		var got []int64
		for _, run := range list {
			got = append(got, run.ID)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	got, err := w.app.WorkflowRun(t.Context(), w.inst.ID, repo, first.ID)
	ok(t, err)
	if got.Suite == 0 || got.Workflow == 0 || got.Updated.IsZero() || got.Actor.ID == 0 {
		t.Errorf("got %+v", got)
	}
	bySuite, err := w.app.WorkflowRuns(t.Context(), w.inst.ID, repo, jobs.WorkflowFilter{Suite: got.Suite}, 10)
	ok(t, err)
	if len(bySuite) != 1 || bySuite[0].ID != first.ID {
		t.Errorf("by suite: got %+v", bySuite)
	}
	want := jobs.WorkflowRun{
		ID: first.ID, Attempt: 1, Path: ".github/workflows/hello.yaml", Workflow: got.Workflow, Name: "Hello", Title: "Hello Slipway", Event: "workflow_dispatch",
		Branch: "main", SHA: w.first, Status: "queued", URL: first.URL(), Actor: jobs.Actor{ID: got.Actor.ID, Login: "slipway[bot]", Type: "Bot"},
		Suite: got.Suite, Created: got.Created, Updated: got.Updated,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || !got.Created.Equal(began) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	_, err = w.app.WorkflowRuns(t.Context(), w.inst.ID, repo, jobs.WorkflowFilter{Workflow: "../x"}, 1)
	refusedWith(t, "a strange name", err)
	_, err = w.app.WorkflowRun(t.Context(), w.inst.ID, repo, 1)
	refusedWith(t, "no such run", err, "workflow run 1 of acme/shop is gone")
	_, err = w.app.WorkflowRuns(t.Context(), w.inst.ID, repo, jobs.WorkflowFilter{Workflow: "other.yaml"}, 1)
	refusedWith(t, "no such workflow", err, "other.yaml of acme/shop is gone")
	w.granted("actions", "")
	_, err = w.app.WorkflowRun(t.Context(), w.inst.ID, repo, first.ID)
	refusedWith(t, "without permission", err, "Actions: read and write")
}

func TestWorkflowRunsOverPages(t *testing.T) {
	w := newYard(t)
	for range 105 {
		_, err := w.repo.DispatchWorkflow("hello.yaml", "main", map[string]string{"name": "x"}, w.alice)
		ok(t, err)
	}
	list, err := w.app.WorkflowRuns(t.Context(), w.inst.ID, described(w.repo), jobs.WorkflowFilter{}, 103)
	ok(t, err)
	runs := w.repo.WorkflowRuns()
	if len(list) != 103 || list[0].ID != runs[104].ID || list[102].ID != runs[2].ID || w.count("actions/list-workflow-runs-for-repo") != 2 {
		t.Errorf("%d runs by %d calls", len(list), w.count("actions/list-workflow-runs-for-repo"))
	}
}

func TestWorkflowJobs(t *testing.T) {
	w := newYard(t)
	repo := described(w.repo)
	run := w.started()
	list := func(attempt int) (text []string) {
		t.Helper()
		got, err := w.app.WorkflowJobs(t.Context(), w.inst.ID, repo, run.ID, attempt)
		ok(t, err)
		for _, j := range got {
			line := fmt.Sprintf("%d %s %s %s:", j.Attempt, j.Name, j.Status, j.Conclusion)
			for _, s := range j.Steps {
				line += fmt.Sprintf(" %d %s %s %s;", s.Number, s.Name, s.Status, s.Conclusion)
			}
			if j.ID == 0 || j.URL == "" || j.Started.IsZero() || j.Completed.IsZero() != (j.Status != "completed") {
				t.Errorf("job %+v", j)
			}
			text = append(text, line)
		}
		return text
	}
	if got := list(1); !slices.Equal(got, []string{"1 Say hello queued :"}) {
		t.Errorf("at first: %q", got)
	}
	ok(t, run.Start())
	if got := list(0); !slices.Equal(got, []string{"1 Say hello in_progress : 1 Set up job completed success; 2 Greet in_progress ; 3 Complete job queued ;"}) {
		t.Errorf("at work: %q", got)
	}
	ok(t, run.FinishJob("hello", "failure"))
	ok(t, run.Rerun(true, w.alice))
	if first, again, latest := list(1), list(2), list(0); len(first) != 2 || !strings.HasPrefix(first[0], "1 Say hello completed failure:") || len(again) != 1 ||
		!strings.HasPrefix(again[0], "2 Say hello queued") || !slices.Equal(again, latest) {
		t.Errorf("attempts: %q, %q, %q", first, again, latest)
	}
	_, err := w.app.WorkflowJobs(t.Context(), w.inst.ID, repo, run.ID, 9)
	refusedWith(t, "no such attempt", err, "is gone")
}

func TestWorkflowAnnotations(t *testing.T) {
	w := newYard(t)
	run := w.started()
	ok(t, run.Start())
	ok(t, run.Annotate("hello", githubtest.Annotation{Message: "Process completed with exit code 1."}))
	ok(t, run.Annotate("hello", githubtest.Annotation{Path: "src/main.go", StartLine: 3, EndLine: 5, Level: "warning", Title: "old", Message: "too old"}))
	ok(t, run.Annotate("hello", githubtest.Annotation{Path: "a", Level: "notice", Message: "fine"}))
	read := func() []jobs.Annotation {
		t.Helper()
		list, err := w.app.WorkflowAnnotations(t.Context(), w.inst.ID, described(w.repo), run.Jobs()[0].ID)
		ok(t, err)
		return list
	}
	want := []jobs.Annotation{
		{Path: ".github", Line: 1, EndLine: 1, Level: "failure", Message: "Process completed with exit code 1."},
		{Path: "src/main.go", Line: 3, EndLine: 5, Level: "warning", Title: "old", Message: "too old"},
		{Path: "a", Line: 1, EndLine: 1, Level: "notice", Message: "fine"},
	}
	if list := read(); !slices.Equal(list, want) {
		t.Errorf("got %+v", list)
	}
	for range 60 {
		ok(t, run.Annotate("hello", githubtest.Annotation{Message: "x"}))
	}
	if list := read(); len(list) != 50 {
		t.Errorf("%d annotations, want 50", len(list))
	}
}
