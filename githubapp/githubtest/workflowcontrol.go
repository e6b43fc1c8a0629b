package githubtest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// WorkflowJob is a job of a run as GitHub shows it.
type WorkflowJob struct {
	ID         int64  // also of its check run
	Key        string // in the workflow's file
	Name       string
	Status     string // queued, waiting, in_progress, completed
	Conclusion string // empty until completed
	Attempt    int
	Steps      []WorkflowStep // empty until a runner has the job
	Log        string
}

// WorkflowStep is a step of a job: the first and the last are GitHub's own.
type WorkflowStep struct {
	Name, Status, Conclusion string
}

// Jobs are the jobs of the latest attempt that exist by now: one that needs others comes when those are done.
func (w *WorkflowRun) Jobs() []WorkflowJob {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	var list []WorkflowJob
	for _, j := range w.latest().jobs {
		list = append(list, j.view())
	}
	return list
}

func (j *job) view() WorkflowJob {
	shown := WorkflowJob{ID: j.id, Key: j.spec.key, Name: j.name, Status: j.status, Conclusion: j.conclusion, Attempt: j.attempt.number, Log: j.log.String()}
	for _, step := range j.steps {
		shown.Steps = append(shown.Steps, WorkflowStep{step.name, step.status, step.conclusion})
	}
	return shown
}

// Wait waits until the latest attempt is completed, and returns its conclusion, or until ctx ends.
func (w *WorkflowRun) Wait(ctx context.Context) (conclusion string, err error) {
	err = w.Repo.s.wait(ctx, func() bool {
		conclusion = w.latest().conclusion
		return w.latest().status == "completed"
	})
	if err != nil {
		return "", fmt.Errorf("wait for run %d: %w", w.ID, err)
	}
	return conclusion, nil
}

// control does something to a job of the latest attempt, named by its key, and lets go on what follows from it.
func (w *WorkflowRun) control(what, key string, do func(*job) error) error {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	j := w.latest().job(key)
	if j == nil {
		return fmt.Errorf("%s: run %d has no job %s, or it still waits for what it needs", what, w.ID, key)
	}
	if err := do(j); err != nil {
		return fmt.Errorf("%s of job %s of run %d: %w", what, key, w.ID, err)
	}
	j.attempt.advance()
	return nil
}

// take makes sure that a runner has the job.
func (j *job) take() error {
	switch j.status {
	case "queued":
		j.begin()
	case "in_progress":
	default:
		return fmt.Errorf("it is %s", j.status)
	}
	return nil
}

// Start lets a runner take each job that is queued.
func (w *WorkflowRun) Start() error {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	taken := 0
	for _, j := range slices.Clone(w.latest().jobs) {
		if j.status == "queued" {
			j.begin()
			taken++
		}
	}
	if taken == 0 {
		return fmt.Errorf("start run %d: no job is queued", w.ID)
	}
	return nil
}

// StartJob lets a runner take one queued job.
func (w *WorkflowRun) StartJob(key string) error {
	return w.control("start", key, (*job).take)
}

// Step concludes a job's step: success, failure, cancelled or skipped. Steps are counted as in the file, from 1. The job is
// started if need be, and goes on with the next step.
func (w *WorkflowRun) Step(key string, step int, conclusion string) error {
	return w.control("step", key, func(j *job) error {
		if err := j.take(); err != nil {
			return err
		}
		if step < 1 || step > len(j.spec.steps) || j.steps[step].status == "completed" {
			return fmt.Errorf("there is no step %d, or it is done", step)
		}
		j.endStep(step, conclusion)
		return nil
	})
}

// FinishJob concludes a job: success, failure, neutral, cancelled, skipped, timed_out or action_required. Steps that are left
// over end accordingly.
func (w *WorkflowRun) FinishJob(key, conclusion string) error {
	return w.control("finish", key, func(j *job) error {
		if err := j.take(); err != nil {
			return err
		}
		j.end(conclusion)
		return nil
	})
}

// Finish concludes all that is left of the run. Besides the conclusions of jobs a run may have stale and startup_failure,
// with its jobs cancelled.
func (w *WorkflowRun) Finish(conclusion string) error {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	a := w.latest()
	if a.status == "completed" {
		return fmt.Errorf("finish run %d: it is completed", w.ID)
	}
	of := conclusion
	if conclusion == "stale" || conclusion == "startup_failure" {
		of = "cancelled"
	}
	a.forced = conclusion
	for a.status != "completed" {
		for _, j := range slices.Clone(a.jobs) {
			if j.status == "queued" && of != "cancelled" && of != "skipped" {
				j.begin()
			}
			if j.status != "completed" {
				j.end(of)
			}
		}
		a.advance()
	}
	return nil
}

// Log adds text to a job's log. It is one text per job, as what the API gives.
func (w *WorkflowRun) Log(key, text string) error {
	return w.control("log", key, func(j *job) error {
		j.print(text)
		return nil
	})
}

// Annotate adds a remark to a job's check run, as ::error:: and its like do in a log.
func (w *WorkflowRun) Annotate(key string, a Annotation) error {
	return w.control("annotate", key, func(j *job) error {
		j.annotate(a)
		return nil
	})
}

// maxJobAnnotations is this server's bound; GitHub shows ten of each level per step.
const maxJobAnnotations = 100

func (j *job) annotate(a Annotation) {
	a.Path, a.StartLine, a.Level = cmp.Or(a.Path, ".github"), max(a.StartLine, 1), cmp.Or(a.Level, "failure")
	a.EndLine = max(a.EndLine, a.StartLine)
	if len(j.check.Annotations) < maxJobAnnotations {
		j.check.Annotations = append(j.check.Annotations, a)
	}
}

// ResistCancel lets the run go on when somebody cancels it (true), as one does whose steps catch the signal: GitHub answers
// as always, and the run ends when Finish says so.
func (w *WorkflowRun) ResistCancel(resists bool) {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	w.resists = resists
}

// Cancel is "Cancel workflow", clicked by user, who may write.
func (w *WorkflowRun) Cancel(user *User) error {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	if err := w.Repo.mayClick(user); err != nil {
		return fmt.Errorf("cancel run %d: %w", w.ID, err)
	}
	if w.latest().status == "completed" {
		return fmt.Errorf("cancel run %d: it is completed", w.ID)
	}
	w.latest().cancel()
	return nil
}

func (a *attempt) cancel() {
	a.cancelling = true
	for _, j := range slices.Clone(a.jobs) {
		if j.status == "queued" || j.status == "waiting" || j.status == "in_progress" && !a.run.resists {
			if j.status == "in_progress" {
				j.print("##[error]The operation was canceled.")
			}
			j.end("cancelled")
		}
	}
	a.advance()
}

func cancelWorkflowRun(c *call) answer {
	run := c.workflowRun()
	switch {
	case run == nil:
		return notFound()
	case run.latest().status == "completed":
		return refuse(http.StatusConflict, "Cannot cancel a workflow run that is completed.")
	}
	a := run.latest()
	a.cancelling = true
	c.s.later(func() { // 202 means that it hasn't happened yet
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if a.status != "completed" {
			a.cancel()
		}
	})
	return accepted()
}

// Rerun is "Re-run all jobs" or, with failedOnly, "Re-run failed jobs", clicked by user, who may write. The run gets another
// attempt; the jobs that aren't run again are carried over.
func (w *WorkflowRun) Rerun(failedOnly bool, user *User) error {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	if err := w.Repo.mayClick(user); err != nil {
		return fmt.Errorf("re-run run %d: %w", w.ID, err)
	}
	if refused := w.rerun(failedOnly, user); refused != nil {
		return fmt.Errorf("re-run run %d: %v", w.ID, refused.body.(object)["message"])
	}
	return nil
}

// rerunPeriod is how long a run can be re-run, from GitHub's page "Re-running workflows and jobs".
const rerunPeriod = 30 * 24 * time.Hour

// rerun begins another attempt. GitHub documents no refusals; the messages are those of its web page.
func (w *WorkflowRun) rerun(failedOnly bool, user *User) *answer {
	refused := func(message string) *answer {
		a := refuse(http.StatusForbidden, message)
		return &a
	}
	last := w.latest()
	switch {
	case last.status != "completed":
		return refused("This workflow is already running")
	case w.Repo.s.now().After(w.created.Add(rerunPeriod)):
		return refused("Unable to retry this workflow run because it was created over a month ago")
	}
	again := map[string]bool{}
	for range w.file.jobs { // dependants of dependants
		for _, spec := range w.file.jobs {
			j := last.job(spec.key)
			bad := j == nil || !slices.Contains([]string{"success", "neutral", "skipped"}, j.conclusion)
			if !failedOnly || bad || slices.ContainsFunc(spec.needs, func(need string) bool { return again[need] }) {
				again[spec.key] = true
			}
		}
	}
	if len(again) == 0 {
		return refused("This workflow run has no failed jobs that could be re-run")
	}
	var carried []*job
	for _, j := range last.jobs {
		if !again[j.spec.key] {
			carried = append(carried, j)
		}
	}
	w.newAttempt(user, carried)
	return nil
}

func rerunWorkflow(failedOnly bool) func(*call) answer {
	return func(c *call) answer {
		run := c.workflowRun()
		if run == nil {
			return notFound()
		}
		if refused := run.rerun(failedOnly, c.caller.token.installation.App.Bot); refused != nil {
			return *refused
		}
		return created(object{})
	}
}
