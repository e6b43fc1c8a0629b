package githubtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// job is a job of one attempt. GitHub makes it, with its check run of the same ID, when nothing it needs is left to wait
// for; until then neither is there.
type job struct {
	id                          int64
	attempt                     *attempt
	spec                        *jobSpec
	name                        string
	status, conclusion          string
	steps                       []jobStep
	check                       *checkRun
	environment                 *environment // that it waits for, or waited
	deployment                  *deployment
	log                         bytes.Buffer
	created, started, completed time.Time
	stop                        context.CancelFunc // of who plays it; nil for nobody
	carried                     bool               // from the attempt before
	tainted                     bool               // something it needs, or that needs, failed
}

// jobStep is a step of a job that runs or ran.
type jobStep struct {
	name               string
	status, conclusion string
	started, completed time.Time
}

// The steps that GitHub puts around those of the file.
const (
	firstStep = "Set up job"
	lastStep  = "Complete job"
)

// advance makes the jobs that have nothing left to wait for, then brings the attempt's status up to date.
func (a *attempt) advance() {
	for made := true; made; {
		made = false
		for _, spec := range a.run.file.jobs {
			ready, failed, skipped := a.needsOf(spec)
			if a.job(spec.key) != nil || !ready {
				continue
			}
			made = true
			j := a.newJob(spec)
			j.tainted = failed
			if conditionHolds(spec.condition, failed, skipped, a.cancelling) {
				j.queue()
			} else {
				j.emitCheck("created")
				j.end("skipped")
			}
		}
	}
	a.settle()
}

// needsOf says whether all that a job needs is done, and whether something of it, or of what that needs, failed or was
// skipped.
func (a *attempt) needsOf(spec *jobSpec) (ready, failed, skipped bool) {
	ready = true
	for _, key := range spec.needs {
		need := a.job(key)
		if need == nil || need.status != "completed" {
			return false, false, false
		}
		failed = failed || need.tainted || !slices.Contains([]string{"success", "neutral", "skipped"}, need.conclusion)
		skipped = skipped || need.conclusion == "skipped"
	}
	return ready, failed, skipped
}

func (a *attempt) job(key string) *job {
	for _, j := range a.jobs {
		if j.spec.key == key {
			return j
		}
	}
	return nil
}

// newJob makes a job and its check run.
func (a *attempt) newJob(spec *jobSpec) *job {
	r := a.run.Repo
	now := r.s.now()
	j := &job{id: r.s.nextID(), attempt: a, spec: spec, name: evaluate(cmp.Or(spec.name, spec.key), a.run.known()), status: "queued", created: now, started: now}
	j.check = &checkRun{repo: r, suite: a.run.suite, job: j, CheckRun: CheckRun{ID: j.id, SuiteID: a.run.suite.id, App: a.run.suite.app.ID, HeadSHA: a.run.HeadSHA, Name: j.name, Status: "queued",
		DetailsURL: j.url(), StartedAt: now}}
	r.runs = append(r.runs, j.check)
	a.jobs = append(a.jobs, j)
	return j
}

// carry takes a job over from the attempt before: under a new ID and with a new check run, but as it ended then.
func (a *attempt) carry(old *job) {
	j := a.newJob(old.spec)
	j.status, j.conclusion, j.steps, j.created, j.started, j.completed = old.status, old.conclusion, old.steps, old.created, old.started, old.completed
	j.carried, j.tainted = true, old.tainted
	j.environment, j.deployment = old.environment, old.deployment
	j.log.Write(old.log.Bytes())
	check, was := &j.check.CheckRun, old.check
	check.Status, check.Conclusion, check.StartedAt, check.CompletedAt, check.Annotations = was.Status, was.Conclusion, was.StartedAt, was.CompletedAt, was.Annotations
}

// queue offers a job to the runners, or lets it wait for its environment's reviewers first.
func (j *job) queue() {
	j.emitCheck("created")
	if name := evaluate(j.spec.environment, j.attempt.run.known()); name != "" {
		j.environment = j.attempt.run.Repo.environmentFor(name)
		j.deploy()
	}
	if j.environment != nil && len(j.environment.reviewers) > 0 {
		j.status, j.check.Status = "waiting", "waiting"
		j.deployStatus("waiting")
		j.emit("waiting")
		return
	}
	j.offer()
}

func (j *job) offer() {
	j.status, j.check.Status = "queued", "queued"
	j.emit("queued")
	j.attempt.run.Repo.s.playJob(j)
}

// begin is a runner taking the job.
func (j *job) begin() {
	now := j.attempt.run.Repo.s.now()
	j.status, j.check.Status, j.started, j.check.StartedAt = "in_progress", "in_progress", now, now
	j.steps = []jobStep{{name: firstStep, status: "completed", conclusion: "success", started: now, completed: now}}
	for _, step := range j.spec.steps {
		j.steps = append(j.steps, jobStep{name: evaluate(step.title(), j.attempt.run.known()), status: "queued"})
	}
	j.steps = append(j.steps, jobStep{name: lastStep, status: "queued"})
	j.beginStep(1)
	j.print("Current runner version: '2.334.0'\nRunner name: 'GitHub Actions 1'\nComplete job name: " + j.name)
	j.attempt.settle()
	j.deployStatus("in_progress")
	j.emit("in_progress")
}

// beginStep starts the step at an index, if there is one left that hasn't run.
func (j *job) beginStep(i int) {
	if i < len(j.steps)-1 && j.steps[i].status == "queued" {
		j.steps[i].status, j.steps[i].started = "in_progress", j.attempt.run.Repo.s.now()
	}
}

// endStep concludes the step at an index, and starts the next one.
func (j *job) endStep(i int, conclusion string) {
	now := j.attempt.run.Repo.s.now()
	step := &j.steps[i]
	if step.started.IsZero() {
		step.started = now
	}
	step.status, step.conclusion, step.completed = "completed", conclusion, now
	j.beginStep(i + 1)
	j.attempt.touch()
}

// end concludes a job, tells the Apps, and lets go on what needs it.
func (j *job) end(conclusion string) {
	s := j.attempt.run.Repo.s
	now := s.now()
	for i := range j.steps {
		step := &j.steps[i]
		switch {
		case step.status == "completed":
			continue
		case step.name == lastStep && i == len(j.steps)-1:
			j.endStep(i, "success")
		case step.status == "in_progress" && slices.Contains([]string{"failure", "cancelled", "skipped"}, conclusion):
			j.endStep(i, conclusion)
		case step.status == "in_progress" && conclusion == "timed_out":
			j.endStep(i, "cancelled")
		case slices.Contains([]string{"failure", "cancelled", "timed_out", "skipped"}, conclusion):
			j.endStep(i, "skipped")
		default:
			j.endStep(i, "success")
		}
	}
	j.status, j.conclusion, j.completed = "completed", conclusion, now
	j.check.Status, j.check.Conclusion, j.check.CompletedAt = "completed", conclusion, now
	if j.stop != nil {
		j.stop()
	}
	switch conclusion {
	case "success", "neutral":
		j.deployStatus("success")
	case "skipped":
	default:
		j.deployStatus("failure")
	}
	j.emit("completed")
	j.emitCheck("completed")
	j.attempt.run.Repo.queueChanged()
}

// settle derives the attempt's status from its jobs and tells the Apps when it begins to run and when it is done.
func (a *attempt) settle() {
	if a.status == "completed" {
		return
	}
	counts := map[string]int{}
	for _, j := range a.jobs {
		counts[j.status]++
		if j.status == "completed" && !j.carried && j.conclusion != "skipped" {
			counts["done"]++
		}
	}
	was := a.status
	switch {
	case counts["completed"] == len(a.run.file.jobs):
		a.status, a.conclusion = "completed", cmp.Or(a.forced, a.worst())
	case counts["in_progress"] > 0 || counts["queued"] > 0 && counts["done"] > 0:
		a.status = "in_progress"
	case counts["waiting"] > 0 && counts["queued"] == 0:
		a.status = "waiting"
	case was == "waiting":
		a.status = "queued"
	}
	suite := a.run.suite
	suite.status, suite.conclusion, suite.updated = a.status, a.conclusion, a.run.Repo.s.now()
	a.touch()
	switch {
	case a.status == was:
	case a.status == "in_progress" && !a.began:
		a.began = true
		a.emit("in_progress")
	case a.status == "completed":
		a.run.Repo.s.emit(a.run.Repo, a.actor, "check_suite", "completed", object{"check_suite": suite.shape()})
		a.emit("completed")
	}
}

// worst is the conclusion that the jobs add up to.
func (a *attempt) worst() string {
	conclusion := "skipped"
	if a.cancelling {
		return "cancelled"
	}
	rank := []string{"skipped", "neutral", "success", "action_required", "cancelled", "timed_out", "failure"}
	for _, j := range a.jobs {
		if slices.Index(rank, j.conclusion) > slices.Index(rank, conclusion) {
			conclusion = j.conclusion
		}
	}
	return conclusion
}

func (j *job) url() string {
	return j.attempt.run.Repo.html("actions/runs/%d/job/%d", j.attempt.run.ID, j.id)
}

// emit tells the Apps about the job.
func (j *job) emit(action string) {
	j.attempt.touch()
	r := j.attempt.run.Repo
	fields := object{"workflow_job": j.shape()}
	if j.deployment != nil {
		fields["deployment"] = r.deploymentShape(j.deployment)
	}
	r.s.emit(r, j.attempt.actor, "workflow_job", action, fields)
}

// emitCheck tells the Apps about the job's check run.
func (j *job) emitCheck(action string) {
	r := j.attempt.run.Repo
	r.s.emit(r, j.attempt.actor, "check_run", action, object{"check_run": j.check.shape()})
}

func (j *job) shape() object {
	w, r := j.attempt.run, j.attempt.run.Repo
	steps := []object{}
	for i, step := range j.steps {
		steps = append(steps, object{"number": i + 1, "name": step.name, "status": step.status, "conclusion": orNil(step.conclusion), "started_at": stampOrNil(step.started),
			"completed_at": stampOrNil(step.completed)})
	}
	shape := object{
		"id": j.id, "node_id": nodeID("CR", j.id), "run_id": w.ID, "run_url": r.api("actions/runs/%d", w.ID), "run_attempt": j.attempt.number, "name": j.name,
		"workflow_name": w.workflowName(), "head_sha": w.HeadSHA, "head_branch": w.HeadBranch, "status": j.status, "conclusion": orNil(j.conclusion), "created_at": stamp(j.created),
		"started_at": stamp(j.started), "completed_at": stampOrNil(j.completed), "steps": steps, "labels": append([]string{}, j.spec.labels...), "runner_id": nil, "runner_name": nil,
		"runner_group_id": nil, "runner_group_name": nil, "url": r.api("actions/jobs/%d", j.id), "html_url": j.url(), "check_run_url": r.api("check-runs/%d", j.id),
	}
	if len(j.steps) > 0 {
		shape["runner_id"], shape["runner_name"], shape["runner_group_id"], shape["runner_group_name"] = 1, "GitHub Actions 1", 0, "GitHub Actions"
	}
	return shape
}

func listJobs(c *call) answer {
	run := c.workflowRun()
	if run == nil {
		return notFound()
	}
	list := run.latest().jobs
	if c.query.Get("filter") == "all" {
		list = nil
		for _, a := range slices.Backward(run.attempts) {
			list = append(list, a.jobs...)
		}
	}
	return c.jobPage(list)
}

func listJobsOfAttempt(c *call) answer {
	run := c.workflowRun()
	if n := c.id("attempt_number"); run != nil && n >= 1 && int(n) <= len(run.attempts) {
		return c.jobPage(run.attempts[n-1].jobs)
	}
	return notFound()
}

func (c *call) jobPage(list []*job) answer {
	return page(c, list, func(some []*job) any {
		return object{"total_count": len(list), "jobs": shapes(some, (*job).shape)}
	})
}

func (c *call) job() *job {
	for _, run := range c.repo.workflowRuns {
		for _, a := range run.attempts {
			for _, j := range a.jobs {
				if j.id == c.id("job_id") {
					return j
				}
			}
		}
	}
	return nil
}

func getJob(c *call) answer {
	if j := c.job(); j != nil {
		return ok(j.shape())
	}
	return notFound()
}

// maxJobLog is where this server cuts a job's log, in bytes.
const maxJobLog = 4 << 20

// print writes lines into the job's log, each with the time in front as GitHub has it.
func (j *job) print(text string) {
	for line := range bytes.Lines([]byte(text)) {
		if j.log.Len() > maxJobLog {
			return
		}
		if j.log.Len() == 0 {
			j.log.WriteString("\ufeff") // GitHub's logs begin with a byte order mark
		}
		fmt.Fprintf(&j.log, "%s %s\n", j.attempt.run.Repo.s.options.Clock().UTC().Format("2006-01-02T15:04:05.0000000Z"), bytes.TrimRight(line, "\r\n"))
		if j.log.Len() > maxJobLog {
			j.log.WriteString("(the log was cut here)\n")
		}
	}
}

// redirectToLog answers with the short-lived address of a job's log. There is none before the job is done.
func redirectToLog(c *call) answer {
	j := c.job()
	if j == nil || j.status != "completed" || j.log.Len() == 0 {
		return notFound()
	}
	return c.redirectToStorage("text/plain; charset=utf-8", fmt.Sprintf("job-logs-%d.txt", j.id), bytes.Clone(j.log.Bytes()))
}
