package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// How the stand-in answers a dispatch.
type answer string

const (
	names     answer = ""          // with the workflow run's ID
	nameless  answer = "nameless"  // done, without an ID
	lost      answer = "lost"      // done, and the answer is lost
	lostAtAll answer = "lostAtAll" // not done, which nobody knows
	unsent    answer = "unsent"    // surely not done
	limited   answer = "limited"   // held back by a limit
	refused   answer = "refused"
)

const bot = "slipway[bot]"

// started is a workflow run in the stand-in. It runs by the clock: queued for 10 seconds, at work for 50, then over.
type started struct {
	id        int64
	repo      int64
	workflow  string
	branch    string
	sha       string
	title     string
	inputs    map[string]string
	created   time.Time
	attempts  []time.Time // when each began
	cancelled bool
	actor     string
}

// github is a stand-in for GitHub's side of dispatching: a state machine that runs by the test's clock.
type github struct {
	t   *testing.T
	now func() time.Time
	// trap is called before and after everything that takes effect, and before every question.
	trap func(point string)

	answer      answer
	heads       map[string]string // of branches and tags
	files       map[string]string // by path, at every ref
	hidden      time.Duration     // how long a new run is not listed
	conclusions []string          // of each attempt; the last counts for all further ones
	review      string            // environment that runs wait for, at work
	gates       int               // how many jobs wait for it, one after the other; 0 is one
	approved    []string          // what was approved, with its comment
	mayApprove  bool
	rerunAnswer answer
	cancelGone  bool // a cancelled run stays at work
	artifacts   []jobs.WorkflowArtifact
	outputs     string

	runs  []*started
	calls map[string]int
	next  int64
}

func newGitHub(t *testing.T, now func() time.Time) *github {
	return &github{t: t, now: now, trap: func(string) {}, heads: map[string]string{"main": sha, "feat": sha, "v1": sha},
		files: map[string]string{".github/workflows/hello.yaml": "on: workflow_dispatch"}, mayApprove: true, conclusions: []string{"success"},
		calls: map[string]int{}, next: 100}
}

// trouble is what a trap throws to have a call or write answer with an error, whether it took effect before or not.
type trouble struct{ err error }

// catch turns trouble into an error.
func catch(err *error) {
	switch p := recover().(type) {
	case nil:
	case trouble:
		*err = p.err
	default:
		panic(p)
	}
}

// ask notes a question.
func (g *github) ask(name string) {
	g.calls[name]++
	g.trap(name)
}

// asked is how many calls there were in all.
func (g *github) asked() (n int) {
	for _, c := range g.calls {
		n += c
	}
	return n
}

func (g *github) Repository(_ context.Context, name string) (_ int64, _ jobs.Repository, err error) {
	defer catch(&err)
	g.ask("repository")
	if !strings.EqualFold(name, "acme/infra") {
		return 0, jobs.Repository{}, &jobs.Refusal{Sentence: "the App is not installed on " + name}
	}
	return 4, jobs.Repository{ID: 6, Owner: "acme", Name: "infra", DefaultBranch: "trunk"}, nil
}

func (g *github) File(_ context.Context, _ int64, _ jobs.Repository, _, path string) (_ []byte, _ bool, err error) {
	defer catch(&err)
	g.ask("file")
	content, ok := g.files[path]
	return []byte(content), ok, nil
}

func (g *github) WorkflowFile(_ context.Context, _ int64, repo jobs.Repository, ref jobs.WorkflowRef) (_ jobs.WorkflowFile, err error) {
	defer catch(&err)
	g.ask("workflow file")
	file := jobs.WorkflowFile{WorkflowRef: ref, Path: ".github/workflows/" + ref.Workflow}
	if ref.Workflow == "77" {
		file.Path = ".github/workflows/hello.yaml"
	}
	content, ok := g.files[file.Path]
	if file.Content = []byte(content); !ok {
		file.Problem = "there is no such file"
	}
	return file, nil
}

func (g *github) BotLogin(context.Context) (string, error) { return bot, nil }

// start makes a workflow run, as a dispatch by anybody does.
func (g *github) start(repo int64, workflow, ref string, inputs map[string]string, actor string) *started {
	branch := strings.TrimPrefix(ref, "refs/heads/")
	g.next++
	run := &started{id: g.next, repo: repo, workflow: workflow, branch: branch, sha: g.heads[branch], title: "hello", inputs: inputs,
		created: g.now(), attempts: []time.Time{g.now()}, actor: actor}
	if mark := inputs["slipway_run"]; mark != "" {
		run.title = "hello for " + mark
	}
	g.runs = append(g.runs, run)
	return run
}

func (g *github) Dispatch(_ context.Context, _ int64, repo jobs.Repository, workflow, ref string, inputs map[string]string) (_ int64, err error) {
	defer catch(&err)
	g.ask("dispatch")
	if len(ref) == 40 {
		g.t.Errorf("dispatched on the commit %s", ref)
	}
	switch g.answer {
	case refused:
		return 0, &jobs.Refusal{Sentence: "Workflow does not have 'workflow_dispatch' trigger"}
	case limited:
		return 0, &jobs.Later{After: time.Minute, Reason: "GitHub's limit is used up"}
	case unsent:
		return 0, errors.New("no connection")
	case lostAtAll:
		return 0, fmt.Errorf("dispatch: %w", jobs.ErrUnclear)
	}
	run := g.start(repo.ID, workflow, ref, inputs, bot)
	g.trap("dispatched")
	switch g.answer {
	case nameless:
		return 0, nil
	case lost:
		return 0, fmt.Errorf("dispatch: %w", jobs.ErrUnclear)
	}
	return run.id, nil
}

// state is a run as GitHub would show it now.
func (g *github) state(run *started) jobs.WorkflowRun {
	n := len(run.attempts)
	began := run.attempts[n-1]
	age := g.now().Sub(began)
	w := jobs.WorkflowRun{ID: run.id, Attempt: n, Path: ".github/workflows/" + run.workflow, Name: "hello", Title: run.title, Event: "workflow_dispatch",
		Branch: run.branch, SHA: run.sha, Status: "queued", URL: fmt.Sprintf("https://github.example/runs/%d", run.id), Actor: jobs.Actor{Login: run.actor, Type: "Bot"},
		Created: run.created, Updated: began}
	job := jobs.WorkflowJob{ID: run.id*100 + int64(n), Attempt: n, Name: "build", Status: "queued", URL: "https://github.example/job"}
	conclusion := g.conclusions[min(n, len(g.conclusions))-1]
	if run.cancelled {
		conclusion, age = "cancelled", time.Hour
		if g.cancelGone {
			age = 20 * time.Second
		}
	}
	if age >= 10*time.Second {
		w.Status, w.Updated = "in_progress", began.Add(10*time.Second)
		job.Status, job.Started = "in_progress", w.Updated
		job.Steps = []jobs.WorkflowStep{{Number: 1, Name: "Set up job", Status: "completed", Conclusion: "success"}, {Number: 2, Name: "Test", Status: "in_progress"}}
		if g.review != "" && len(g.approved) < max(g.gates, 1) && !run.cancelled {
			w.Status, job.Status, job.Steps = "waiting", "waiting", nil
			age = 0
		}
	}
	if age >= time.Minute {
		w.Status, w.Conclusion, w.Updated = "completed", conclusion, began.Add(time.Minute)
		job.Status, job.Conclusion, job.Completed = "completed", conclusion, w.Updated
		if len(job.Steps) > 1 {
			job.Steps[1].Status, job.Steps[1].Conclusion = "completed", conclusion
		}
	}
	w.Jobs = []jobs.WorkflowJob{job}
	return w
}

func (g *github) find(id int64) *started {
	for _, run := range g.runs {
		if run.id == id {
			return run
		}
	}
	return nil
}

func (g *github) WorkflowRuns(_ context.Context, _ int64, repo jobs.Repository, f jobs.WorkflowFilter, limit int) (_ []jobs.WorkflowRun, err error) {
	defer catch(&err)
	g.ask("list")
	var list []jobs.WorkflowRun
	for _, run := range slices.Backward(g.runs) {
		if run.repo == repo.ID && run.workflow == f.Workflow && run.branch == f.Branch && run.actor == f.Actor && f.Event == "workflow_dispatch" &&
			!run.created.Before(f.Since) && g.now().Sub(run.created) >= g.hidden && len(list) < limit {
			w := g.state(run)
			w.Jobs = nil
			list = append(list, w)
		}
	}
	return list, nil
}

func (g *github) WorkflowRun(_ context.Context, _ int64, _ jobs.Repository, id int64) (_ jobs.WorkflowRun, err error) {
	defer catch(&err)
	g.ask("run")
	run := g.find(id)
	if run == nil {
		return jobs.WorkflowRun{}, &jobs.Refusal{Sentence: "there is no such workflow run any more"}
	}
	w := g.state(run)
	w.Jobs = nil
	return w, nil
}

func (g *github) WorkflowJobs(_ context.Context, _ int64, _ jobs.Repository, id int64, _ int) (_ []jobs.WorkflowJob, err error) {
	defer catch(&err)
	g.ask("jobs")
	return g.state(g.find(id)).Jobs, nil
}

func (g *github) CancelWorkflowRun(_ context.Context, _ int64, _ jobs.Repository, id int64) (err error) {
	defer catch(&err)
	g.ask("cancel")
	run := g.find(id)
	if g.state(run).Over() {
		return &jobs.Refusal{Sentence: "Cannot cancel a workflow run that is completed."}
	}
	run.cancelled = true
	g.trap("cancelled")
	return nil
}

func (g *github) RerunFailedJobs(_ context.Context, _ int64, _ jobs.Repository, id int64) (err error) {
	defer catch(&err)
	return g.rerun("rerun failed", id)
}

func (g *github) RerunWorkflow(_ context.Context, _ int64, _ jobs.Repository, id int64) (err error) {
	defer catch(&err)
	return g.rerun("rerun all", id)
}

func (g *github) rerun(what string, id int64) error {
	g.ask(what)
	run := g.find(id)
	if !g.state(run).Over() {
		g.t.Errorf("%s of run %d, which is not over", what, id)
	}
	switch g.rerunAnswer {
	case refused:
		return &jobs.Refusal{Sentence: "this workflow run was created over a month ago"}
	case limited:
		return &jobs.Later{After: time.Minute, Reason: "GitHub's limit is used up"}
	case lostAtAll:
		return fmt.Errorf("rerun: %w", jobs.ErrUnclear)
	}
	run.attempts, run.cancelled = append(run.attempts, g.now()), false
	g.trap("rerun done")
	if g.rerunAnswer == lost {
		return fmt.Errorf("rerun: %w", jobs.ErrUnclear)
	}
	return nil
}

func (g *github) PendingDeployments(_ context.Context, _ int64, _ jobs.Repository, id int64) (_ []jobs.PendingDeployment, err error) {
	defer catch(&err)
	g.ask("pending")
	if g.state(g.find(id)).Status != "waiting" {
		return nil, nil
	}
	return []jobs.PendingDeployment{{ID: 9, Name: g.review, MayApprove: g.mayApprove}}, nil
}

func (g *github) ApproveDeployments(_ context.Context, _ int64, _ jobs.Repository, _ int64, environments []int64, comment string) (err error) {
	defer catch(&err)
	g.ask("approve")
	if !g.mayApprove {
		return &jobs.Refusal{Sentence: "Slipway is not a required reviewer."}
	}
	g.approved = append(g.approved, fmt.Sprint(environments, comment))
	for _, run := range g.runs {
		run.attempts[len(run.attempts)-1] = g.now().Add(-10 * time.Second)
	}
	g.trap("approved")
	return nil
}

func (g *github) WorkflowLog(context.Context, int64, jobs.Repository, int64, int) (_ []string, err error) {
	defer catch(&err)
	g.ask("log")
	return []string{"=== RUN TestHello", "--- FAIL: TestHello"}, nil
}

func (g *github) WorkflowAnnotations(context.Context, int64, jobs.Repository, int64) (_ []jobs.Annotation, err error) {
	defer catch(&err)
	g.ask("annotations")
	return []jobs.Annotation{{Path: "hello.go", Line: 3, Level: "failure", Message: "no"}}, nil
}

func (g *github) WorkflowArtifacts(context.Context, int64, jobs.Repository, int64) (_ []jobs.WorkflowArtifact, err error) {
	defer catch(&err)
	g.ask("artifacts")
	return g.artifacts, nil
}

func (g *github) ArtifactFile(_ context.Context, _ int64, _ jobs.Repository, id int64) (_ string, _ []byte, err error) {
	defer catch(&err)
	g.ask("artifact file")
	return "outputs.json", []byte(g.outputs), nil
}
