package githubtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// WorkflowRun is a run of a workflow. Its exported fields never change; its methods tell and change its state.
//
// A run does nothing by itself: tests move it on with Start, Step, FinishJob and Finish, or [Server.RunWorkflows] plays it.
type WorkflowRun struct {
	ID         int64
	Repo       *Repository // the base repository, also for pull requests from forks
	Path       string      // of the workflow's file
	Number     int         // counts the runs of the workflow
	Event      string      // workflow_dispatch, push or pull_request
	HeadBranch string      // or tag; of a fork for its pull requests
	HeadSHA    string
	Actor      *User // who started it first

	workflow  *workflow
	file      *workflowFile
	ref       string // full
	inputs    map[string]string
	title     string
	pull      *Pull
	suite     *suite
	attempts  []*attempt
	artifacts []*artifact
	created   time.Time
	updated   time.Time
	resists   bool
}

// attempt is one go at a run.
type attempt struct {
	run                *WorkflowRun
	number             int
	status, conclusion string
	forced             string // conclusion that a test wants
	actor              *User
	started, updated   time.Time
	jobs               []*job
	began, cancelling  bool
}

// runCause is why a run starts.
type runCause struct {
	event, ref, sha string
	actor           *User
	inputs          map[string]string
	pull            *Pull
}

// actionsApp is the App that the checks of workflows belong to. It has GitHub's own ID and name, and no installations.
func (s *Server) actionsApp() *App {
	if s.actions == nil {
		s.actions = &App{ID: 15368, Slug: "github-actions", ClientID: "Iv1.05c79e9ad1f6bdfa", s: s, Bot: s.account("github-actions[bot]", "Bot"), owner: s.account("github", "Organization"),
			created: s.now(), permissions: map[string]string{"actions": "write", "checks": "write", "contents": "write", "metadata": "read"}, events: []string{"push"}}
	}
	return s.actions
}

// startRun makes a run, tells the Apps, and makes the jobs that need no other.
func (r *Repository) startRun(w *workflow, file *workflowFile, cause runCause) *WorkflowRun {
	s := r.s
	w.runs++
	_, branch, _ := strings.Cut(strings.TrimPrefix(cause.ref, "refs/"), "/")
	if cause.pull != nil {
		branch = cause.pull.headBranch
	}
	run := &WorkflowRun{ID: s.nextID(), Repo: r, Path: w.path, Number: w.runs, Event: cause.event, HeadBranch: branch, HeadSHA: cause.sha, Actor: cause.actor, workflow: w, file: file,
		ref: cause.ref, inputs: cause.inputs, pull: cause.pull, created: s.now(), updated: s.now()}
	run.suite = &suite{id: s.nextID(), repo: r, app: s.actionsApp(), sha: cause.sha, branch: branch, status: "queued", created: s.now(), updated: s.now()}
	r.suites = append(r.suites, run.suite)
	r.workflowRuns = append(r.workflowRuns, run)
	run.newAttempt(cause.actor, nil)
	return run
}

// newAttempt begins a go at the run. Jobs that are carried over from the one before count as done.
func (w *WorkflowRun) newAttempt(actor *User, carried []*job) {
	s := w.Repo.s
	a := &attempt{run: w, number: len(w.attempts) + 1, status: "queued", actor: actor, started: s.now(), updated: s.now()}
	w.attempts = append(w.attempts, a)
	if w.title == "" {
		w.title = w.displayTitle()
	}
	w.suite.status, w.suite.conclusion = "queued", ""
	a.emit("requested")
	for _, old := range carried {
		a.carry(old)
	}
	a.advance()
}

// displayTitle is what GitHub lists a run under.
func (w *WorkflowRun) displayTitle() string {
	if w.file.runName != "" {
		return evaluate(w.file.runName, w.known())
	}
	switch {
	case w.pull != nil:
		return w.pull.title
	case w.Event == "push":
		if c, err := w.Repo.git.commit(w.Repo.s.done, w.HeadSHA); err == nil {
			first, _, _ := strings.Cut(c.message, "\n")
			return first
		}
	}
	return w.workflowName()
}

func (w *WorkflowRun) workflowName() string {
	if w.file.name != "" {
		return w.file.name
	}
	return w.Path
}

func (w *WorkflowRun) latest() *attempt { return w.attempts[len(w.attempts)-1] }

func (w *WorkflowRun) url() string { return w.Repo.html("actions/runs/%d", w.ID) }

// touch notes that something changed.
func (a *attempt) touch() {
	a.updated = a.run.Repo.s.now()
	a.run.updated = a.updated
	a.run.Repo.s.settled()
}

// emit tells the Apps about the run.
func (a *attempt) emit(action string) {
	a.touch()
	a.run.Repo.s.emit(a.run.Repo, a.actor, "workflow_run", action, object{"workflow_run": a.shape(), "workflow": a.run.workflow.shape()})
}

// shape has every field of GitHub's shapes of a run, as of one attempt.
func (a *attempt) shape() object {
	w, r := a.run, a.run.Repo
	self := r.api("actions/runs/%d", w.ID)
	head := r
	if w.pull != nil {
		head = w.pull.head
	}
	pulls := []object{}
	for _, p := range r.pulls {
		if p.state == "open" && p.head == r && p.headSHA == w.HeadSHA && head == r {
			pulls = append(pulls, p.minimal())
		}
	}
	shape := object{
		"id": w.ID, "node_id": nodeID("WFR", w.ID), "name": w.workflowName(), "display_title": w.title, "path": w.Path, "run_number": w.Number, "run_attempt": a.number, "event": w.Event,
		"status": a.status, "conclusion": orNil(a.conclusion), "workflow_id": w.workflow.id, "workflow_url": r.api("actions/workflows/%d", w.workflow.id), "head_branch": w.HeadBranch,
		"head_sha": w.HeadSHA, "head_commit": r.headCommit(w.HeadSHA), "head_repository": r.s.repositoryShape(head), "repository": r.s.repositoryShape(r), "pull_requests": pulls,
		"check_suite_id": w.suite.id, "check_suite_node_id": nodeID("CS", w.suite.id), "check_suite_url": r.api("check-suites/%d", w.suite.id), "actor": r.s.userShape(w.Actor),
		"triggering_actor": r.s.userShape(a.actor), "created_at": stamp(w.created), "run_started_at": stamp(a.started), "updated_at": stamp(a.updated), "url": self, "html_url": w.url(),
		"jobs_url": self + "/jobs", "logs_url": self + "/logs", "artifacts_url": self + "/artifacts", "cancel_url": self + "/cancel", "rerun_url": self + "/rerun",
		"previous_attempt_url": nil, "referenced_workflows": []object{},
	}
	if a.number > 1 {
		shape["previous_attempt_url"] = fmt.Sprintf("%s/attempts/%d", self, a.number-1)
	}
	return shape
}

func (c *call) workflowRun() *WorkflowRun { return c.repo.workflowRun(c.id("run_id")) }

func getWorkflowRun(c *call) answer {
	run := c.workflowRun()
	if run == nil {
		return notFound()
	}
	return ok(c.runShape(run.latest()))
}

func getWorkflowRunAttempt(c *call) answer {
	run := c.workflowRun()
	if n := c.id("attempt_number"); run != nil && n >= 1 && int(n) <= len(run.attempts) {
		return ok(c.runShape(run.attempts[n-1]))
	}
	return notFound()
}

func (c *call) runShape(a *attempt) object {
	shape := a.shape()
	if c.query.Get("exclude_pull_requests") == "true" {
		shape["pull_requests"] = []object{}
	}
	return shape
}

func listRunsOfWorkflow(c *call) answer {
	w := c.repo.knownWorkflow(c.params["workflow_id"])
	if w == nil {
		return notFound()
	}
	return c.listWorkflowRuns(w)
}

func listRunsOfRepository(c *call) answer { return c.listWorkflowRuns(nil) }

// maxFilteredRuns is how many runs GitHub finds at most when a filter is given.
const maxFilteredRuns = 1000

// listWorkflowRuns lists runs newest first.
func (c *call) listWorkflowRuns(of *workflow) answer {
	within, valid := createdRange(c.query.Get("created"))
	if !valid {
		return invalid("WorkflowRun", "created", "invalid", "created is not a date or a range of dates")
	}
	var list []*WorkflowRun
	for _, run := range slices.Backward(c.repo.workflowRuns) {
		a := run.latest()
		matches := (of == nil || run.workflow == of) && within(run.created)
		for name, value := range map[string]string{"event": run.Event, "branch": run.HeadBranch, "head_sha": run.HeadSHA, "check_suite_id": fmt.Sprint(run.suite.id)} {
			if want := c.query.Get(name); want != "" && want != value {
				matches = false
			}
		}
		if want := c.query.Get("status"); want != "" && want != a.status && want != a.conclusion {
			matches = false
		}
		if want := c.query.Get("actor"); want != "" && !strings.EqualFold(want, run.Actor.Login) {
			matches = false
		}
		if matches {
			list = append(list, run)
		}
	}
	for _, filter := range []string{"actor", "branch", "check_suite_id", "created", "event", "head_sha", "status"} {
		if c.query.Has(filter) {
			list = list[:min(len(list), maxFilteredRuns)]
		}
	}
	return page(c, list, func(some []*WorkflowRun) any {
		return object{"total_count": len(list), "workflow_runs": shapes(some, func(run *WorkflowRun) object { return c.runShape(run.latest()) })}
	})
}

// createdRange understands dates as GitHub's search does: DATE, >=DATE, >DATE, <=DATE, <DATE, DATE..DATE, with * for no end.
func createdRange(text string) (within func(time.Time) bool, valid bool) {
	if text == "" {
		return func(time.Time) bool { return true }, true
	}
	if from, to, found := strings.Cut(text, ".."); found {
		after, fromValid := createdRange(map[bool]string{false: ">=" + from}[from == "*"])
		before, toValid := createdRange(map[bool]string{false: "<=" + to}[to == "*"])
		return func(t time.Time) bool { return after(t) && before(t) }, fromValid && toValid
	}
	date := strings.TrimLeft(text, "<>=")
	from, err := time.Parse(time.RFC3339, date)
	to := from // the last second that the date means
	if err != nil {
		if from, err = time.Parse(time.DateOnly, date); err != nil {
			return nil, false
		}
		to = from.Add(24*time.Hour - time.Second)
	}
	switch strings.TrimSuffix(text, date) {
	case ">=":
		return func(t time.Time) bool { return !t.Before(from) }, true
	case ">":
		return func(t time.Time) bool { return t.After(to) }, true
	case "<=":
		return func(t time.Time) bool { return !t.After(to) }, true
	case "<":
		return func(t time.Time) bool { return t.Before(from) }, true
	case "":
		return func(t time.Time) bool { return !t.Before(from) && !t.After(to) }, true
	}
	return nil, false
}

// WorkflowRuns returns the repository's runs, oldest first.
func (r *Repository) WorkflowRuns() []*WorkflowRun {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return slices.Clone(r.workflowRuns)
}

// WorkflowRun finds a run by its ID; nil when there is none.
func (r *Repository) WorkflowRun(id int64) *WorkflowRun {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.workflowRun(id)
}

func (r *Repository) workflowRun(id int64) *WorkflowRun {
	for _, run := range r.workflowRuns {
		if run.ID == id {
			return run
		}
	}
	return nil
}

// Inputs are the inputs that the run was dispatched with, defaults filled in.
func (w *WorkflowRun) Inputs() map[string]string { return maps.Clone(w.inputs) }

// Title is what GitHub lists the run under.
func (w *WorkflowRun) Title() string { return w.title }

// URL is the run's page.
func (w *WorkflowRun) URL() string { return w.url() }

// State is the latest attempt with its status (queued, waiting, in_progress, completed) and its conclusion, which is empty
// until it is completed.
func (w *WorkflowRun) State() (attempt int, status, conclusion string) {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	a := w.latest()
	return a.number, a.status, a.conclusion
}
