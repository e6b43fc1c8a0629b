package githubtest

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// environment is a place that jobs of workflows deploy to.
type environment struct {
	id        int64
	name      string
	reviewers []*User
	created   time.Time
}

// maxReviewers is GitHub's bound for the reviewers of one environment.
const maxReviewers = 6

// ProtectEnvironment lets jobs that name the environment wait until one of the reviewers has approved. An App's bot among
// the reviewers stands for an App that may approve; Apps can't otherwise.
func (r *Repository) ProtectEnvironment(name string, reviewers ...*User) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if len(reviewers) == 0 || len(reviewers) > maxReviewers {
		return fmt.Errorf("protect environment %s: there must be 1 to %d reviewers", name, maxReviewers)
	}
	r.environmentFor(name).reviewers = slices.Clone(reviewers)
	return nil
}

// environmentFor finds an environment; GitHub makes it, unprotected, when a job names it for the first time.
func (r *Repository) environmentFor(name string) *environment {
	for _, e := range r.environments {
		if e.name == name {
			return e
		}
	}
	e := &environment{id: r.s.nextID(), name: name, created: r.s.now()}
	r.environments = append(r.environments, e)
	return e
}

// deploy makes the deployment that a job with an environment is.
func (j *job) deploy() {
	w, r := j.attempt.run, j.attempt.run.Repo
	s := r.s
	j.deployment = &deployment{Deployment: Deployment{ID: s.nextID(), SHA: w.HeadSHA, Ref: w.HeadBranch, Environment: j.environment.name, Production: j.environment.name == "production"}, task: "deploy",
		original: j.environment.name, payload: object{}, created: s.now(), app: s.actionsApp()}
	r.deployments = append(r.deployments, j.deployment)
	s.emit(r, j.attempt.actor, "deployment", "created", object{"deployment": with(r.deploymentShape(j.deployment), "performed_via_github_app", nil),
		"workflow": w.workflow.shape(), "workflow_run": with(j.attempt.shape(), "head_commit", nil)})
}

// deployStatus moves the job's deployment on; without one, or without a state, nothing happens.
func (j *job) deployStatus(state string) {
	if j.deployment == nil || state == "" {
		return
	}
	r, d := j.attempt.run.Repo, j.deployment
	status := DeploymentStatus{ID: r.s.nextID(), State: state, LogURL: j.url(), At: r.s.now()}
	d.Statuses = append(d.Statuses, status)
	r.s.emit(r, j.attempt.actor, "deployment_status", "created", object{"deployment": r.deploymentShape(d), "deployment_status": r.deploymentStatusShape(d, status), "check_run": nil,
		"workflow": nil, "workflow_run": nil})
}

// pending are the environments that jobs of the attempt wait for, in the order of the jobs.
func (a *attempt) pending() []*environment {
	var list []*environment
	for _, j := range a.jobs {
		if j.status == "waiting" && !slices.Contains(list, j.environment) {
			list = append(list, j.environment)
		}
	}
	return list
}

// review approves or rejects the jobs that wait for an environment, and returns their deployments.
func (a *attempt) review(e *environment, approve bool) []*deployment {
	var list []*deployment
	for _, j := range slices.Clone(a.jobs) {
		if j.status != "waiting" || j.environment != e {
			continue
		}
		list = append(list, j.deployment)
		if approve {
			j.deployStatus("queued")
			j.offer()
			continue
		}
		j.end("failure")
	}
	a.advance()
	return list
}

// Review is a reviewer's answer to the jobs that wait for an environment.
func (w *WorkflowRun) Review(environment string, approve bool, user *User) error {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	for _, e := range w.latest().pending() {
		if e.name == environment && slices.Contains(e.reviewers, user) {
			w.latest().review(e, approve)
			return nil
		}
	}
	return fmt.Errorf("review %s of run %d: it doesn't wait for it, or %s is no reviewer", environment, w.ID, user.Login)
}

// Pending are the names of the environments that the run waits for.
func (w *WorkflowRun) Pending() []string {
	w.Repo.s.mu.Lock()
	defer w.Repo.s.mu.Unlock()
	var names []string
	for _, e := range w.latest().pending() {
		names = append(names, e.name)
	}
	return names
}

func getPendingDeployments(c *call) answer {
	run := c.workflowRun()
	if run == nil {
		return notFound()
	}
	bot := c.caller.token.installation.App.Bot
	return ok(shapes(run.latest().pending(), func(e *environment) object {
		reviewers := shapes(e.reviewers, func(u *User) object { return object{"type": "User", "reviewer": c.s.userShape(u)} })
		return object{"environment": object{"id": e.id, "node_id": nodeID("EN", e.id), "name": e.name, "url": c.repo.api("environments/%s", escapePath(e.name)),
			"html_url": c.repo.html("deployments/activity_log?environments_filter=%s", escapePath(e.name))},
			"wait_timer": 0, "wait_timer_started_at": nil, "current_user_can_approve": slices.Contains(e.reviewers, bot), "reviewers": reviewers}
	}))
}

// reviewPendingDeployments approves or rejects as the App. GitHub documents neither refusal: who isn't a reviewer and what
// isn't pending are both answered 422 here, and clients should ask current_user_can_approve first.
func reviewPendingDeployments(c *call) answer {
	run := c.workflowRun()
	if run == nil {
		return notFound()
	}
	var w struct {
		Environments []int64 `json:"environment_ids"`
		State        string  `json:"state"`
	}
	c.decode(&w)
	var chosen []*environment
	for _, e := range run.latest().pending() {
		if slices.Contains(w.Environments, e.id) {
			chosen = append(chosen, e)
		}
	}
	bot := c.caller.token.installation.App.Bot
	switch {
	case len(chosen) == 0 || len(chosen) < len(w.Environments):
		return refuse(http.StatusUnprocessableEntity, "No pending deployment requests to approve or reject")
	case slices.ContainsFunc(chosen, func(e *environment) bool { return !slices.Contains(e.reviewers, bot) }):
		return refuse(http.StatusUnprocessableEntity, "You are not authorized to review pending deployments of this workflow run")
	}
	var list []*deployment
	for _, e := range chosen {
		list = append(list, run.latest().review(e, w.State == "approved")...)
	}
	return ok(shapes(list, c.repo.deploymentShape))
}
