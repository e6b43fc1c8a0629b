package githubapp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// Tasks of GitHub Deployments.
const (
	taskDeploy   = "deploy"
	taskRollback = "rollback"
)

// maxDeploymentText is GitHub's limit on descriptions of deployments and their statuses, in characters.
const maxDeploymentText = 140

// A deployTarget is where a job rolls out to.
type deployTarget struct {
	environments []string
	task         string
}

// deployTargetOf reads it from the job's resolved spec; the zero value is that of a job that rolls nothing out, or is not resolved yet.
func deployTargetOf(j jobs.Job) deployTarget {
	var spec jobs.DeploySpec
	if j.Kind != jobs.KindDeploy || len(j.Spec) == 0 || json.Unmarshal(j.Spec, &spec) != nil {
		return deployTarget{}
	}
	if spec.Rollback != nil {
		return deployTarget{spec.Environments, taskRollback}
	}
	return deployTarget{spec.Environments, taskDeploy}
}

// A Deployment is what GitHub is to show about one environment that a job rolls out to.
type Deployment struct {
	Job         string
	Environment string
	Task        string // deploy or rollback
	State       string // queued, in_progress, success, failure, error or inactive
	Description string // of the state
	Began       bool   // the job was at work; one that never was needs no deployment
	LogURL      string
}

// DeploymentsOf says what GitHub is to show about the environments that a run rolls out to, in the order they are rolled out.
// results are the stored results of its jobs, by name, also how one under way stands. It is pure. Only trusted runs roll anything out.
func DeploymentsOf(run jobs.Run, results map[string]jobs.Result) []Deployment {
	if run.Trust.Level != jobs.Trusted {
		return nil
	}
	var list []Deployment
	for _, j := range run.Jobs {
		if j.Unplanned || j.Reused || resultReplaced(j, results) {
			continue
		}
		to := deployTargetOf(j)
		for i, environment := range to.environments {
			d := Deployment{Job: j.Name, Environment: environment, Task: to.task, Began: !j.Started.IsZero(), LogURL: jobURL(run, j.Name)}
			d.State, d.Description = deploymentState(j, results[j.Name], to.environments, i)
			if d.State != "" {
				d.Description = cutRunes(plain(d.Description), maxDeploymentText)
				list = append(list, d)
			}
		}
	}
	return list
}

// deploymentState is where the rollout to the i-th environment of a job stands; the state is empty when there is nothing to show
// yet. Environments are rolled out one after the other, and which of them a job is at is told only once it had to wait half-way:
// until then the first is in progress and the others are queued.
func deploymentState(j jobs.Job, result jobs.Result, environments []string, i int) (state, description string) {
	if underway(j) || j.State == jobs.JobRunning {
		done := strings.Split(valueText(result.Outputs[outputEnvironments]), ",")
		at := slices.IndexFunc(environments, func(name string) bool { return !slices.Contains(done, name) })
		switch {
		case slices.Contains(done, environments[i]):
			return "success", "rolled out; the job goes on with others"
		case i > at:
			return "queued", "comes after " + environments[i-1]
		case underway(j): // what goes on outside comes before this rollout
			return "queued", deploymentWait(j)
		}
		return "in_progress", ""
	}
	switch j.State {
	case jobs.JobQueued, jobs.JobOffered:
		if j.Waiting != "" { // one that is about to be taken is not worth two calls
			return "queued", deploymentWait(j)
		}
	case jobs.JobSucceeded:
		return "success", firstLine(j.Summary)
	case jobs.JobFailed:
		return failedState(j, environments, i)
	case jobs.JobCancelled:
		return "error", "cancelled: " + firstLine(j.Summary)
	case jobs.JobSkipped:
		return "inactive", firstLine(j.Summary)
	}
	return "", ""
}

// deploymentWait is what a rollout waits for, as a clause.
func deploymentWait(j jobs.Job) string {
	text := firstLine(j.Waiting)
	if strings.Contains(text, "waits") {
		return text
	}
	return "waits: " + text
}

// outputEnvironments is the output in which a deploy job that failed, or waits half-way, names the environments that were rolled out
// before, separated by commas.
const outputEnvironments = "environments"

// failedState tells apart what was rolled out before the job failed, where it failed, and what it never came to.
func failedState(j jobs.Job, environments []string, i int) (state, description string) {
	done := strings.Split(output(j, outputEnvironments), ",")
	failed := slices.IndexFunc(environments, func(name string) bool { return !slices.Contains(done, name) })
	switch {
	case slices.Contains(done, environments[i]):
		return "success", "rolled out before the job failed"
	case failed > 0 && i > failed:
		return "inactive", "not reached: " + firstLine(j.Summary)
	}
	return "failure", firstLine(j.Summary) // as for all, when the job does not tell
}

func (d Deployment) final() bool { return d.State != "queued" && d.State != "in_progress" }

// showDeployments makes GitHub show the run's deployments, each in its state, final states first.
func (r *Reporter) showDeployments(ctx context.Context, run jobs.Run, results map[string]jobs.Result) (again time.Duration, err error) {
	list := DeploymentsOf(run, results)
	for _, final := range []bool{true, false} {
		for _, d := range list {
			if d.final() != final {
				continue
			}
			wait, err := r.showDeployment(ctx, run.RunInfo, d)
			if err != nil {
				if wait, err = r.beside(ctx, run.RunInfo, "deployments", "Deployments: write", err); err != nil {
					return wait, err
				}
			}
			again = sooner(again, wait)
		}
	}
	return again, nil
}

// showDeployment makes GitHub show one deployment. It returns how long to wait when the change is held back.
func (r *Reporter) showDeployment(ctx context.Context, run jobs.RunInfo, d Deployment) (wait time.Duration, err error) {
	what := d.Job + "/" + d.Environment
	key := reportKey(run.ID, jobs.ReportDeployment+" "+what)
	if r.denied(run, "deployments") {
		return 0, nil
	}
	if !d.Began {
		if _, _, err := r.reports.Get(ctx, key); errors.Is(err, jobs.ErrNotFound) && d.final() {
			return 0, nil // it ended before it began, and GitHub never heard of it
		}
	}
	e, err := r.readStored(ctx, key, jobs.ReportRecord{Run: run.ID, Kind: jobs.ReportDeployment, Check: what, ExternalID: run.ID + "/" + what})
	if err != nil {
		return 0, err
	}
	status := deploymentStatus{State: d.State, Description: d.Description, LogURL: d.LogURL}
	if r.environmentURL != nil {
		if address := r.environmentURL(run, d.Environment); isWeb(address) {
			status.EnvironmentURL = address
		}
	}
	say := digest(status)
	switch {
	case e.record.Hash == say, e.record.Completed:
		return 0, nil
	case !d.final():
		if wait := e.record.Said.Add(progressEvery).Sub(r.now()); wait > 0 && !e.record.Said.IsZero() {
			return wait, nil
		}
	}
	wants := demand{priority: priorityProgress, write: true, content: true, reads: 1, subject: key}
	if d.final() {
		wants.priority = priorityNew // the ends of checks go first
	}
	if later := r.app.heldBack(run, wants); later != nil { // before anything is noted
		return later.After, nil
	}
	ctx = urgency(ctx, wants.priority, wants.subject)
	if e.record.GitHubID == 0 {
		wait, err = r.createDeployment(ctx, run, d, e)
	}
	if wait == 0 && err == nil {
		err = r.sayStatus(ctx, run, e, status)
	}
	if permanentRefusal(err) {
		e.record.Completed = true // asking again would get the same answer
		return 0, errors.Join(err, e.store(ctx))
	}
	if wait > 0 || err != nil {
		return wait, err
	}
	e.record.Hash, e.record.Said, e.record.Asked, e.record.Completed = say, r.now(), time.Time{}, d.final()
	return 0, e.store(ctx)
}

// createDeployment makes the deployment exist at GitHub, once. wait is set when it can't be known yet whether it exists.
func (r *Reporter) createDeployment(ctx context.Context, run jobs.RunInfo, d Deployment, e *storedReport) (wait time.Duration, err error) {
	if !e.record.Asked.IsZero() {
		id, err := r.app.findDeployment(ctx, run, d, e.record.ExternalID)
		if err != nil {
			return 0, err
		}
		if id != 0 {
			r.log.InfoContext(ctx, "found the deployment of an unanswered create", "run", run.ID, "job", d.Job, "environment", d.Environment, "id", id)
			e.record.GitHubID, e.record.Asked = id, time.Time{} // it has no status yet
			return 0, e.store(ctx)
		}
		if wait := e.record.Asked.Add(settle).Sub(r.now()); wait > 0 {
			return wait, nil
		}
	}
	e.record.Asked = r.now()
	if err := e.store(ctx); err != nil {
		return 0, err
	}
	if e.record.GitHubID, err = r.app.createDeployment(ctx, run, d, e.record.ExternalID); err != nil {
		return 0, e.clearAsked(ctx, err)
	}
	e.record.Asked = time.Time{}
	return 0, e.store(ctx)
}

// sayStatus adds a status to the deployment, unless an earlier call without an answer did.
func (r *Reporter) sayStatus(ctx context.Context, run jobs.RunInfo, e *storedReport, status deploymentStatus) error {
	if !e.record.Asked.IsZero() {
		last, err := r.app.lastStatus(ctx, run, e.record.GitHubID)
		if err != nil || last == status {
			return err
		}
	}
	e.record.Asked = r.now()
	if err := e.store(ctx); err != nil {
		return err
	}
	if err := r.app.createStatus(ctx, run, e.record.GitHubID, status); err != nil {
		return e.clearAsked(ctx, err)
	}
	return nil
}

// deploymentStatus is one state of a deployment, as it is sent and as GitHub answers it.
type deploymentStatus struct {
	State          string `json:"state"`
	Description    string `json:"description,omitempty"`
	LogURL         string `json:"log_url,omitempty"`
	EnvironmentURL string `json:"environment_url,omitempty"`
}

// deploymentPayload is what we keep at a deployment to know it again.
type deploymentPayload struct {
	Slipway string `json:"slipway"` // RUN/JOB/ENVIRONMENT
}

// createDeployment creates a deployment of exactly the run's commit. Left to its defaults GitHub would first merge the default
// branch into the branch, and refuse commits whose checks are not all green.
func (a *App) createDeployment(ctx context.Context, run jobs.RunInfo, d Deployment, externalID string) (int64, error) {
	body := struct {
		Ref              string            `json:"ref"`
		Task             string            `json:"task"`
		AutoMerge        bool              `json:"auto_merge"`
		RequiredContexts []string          `json:"required_contexts"`
		Environment      string            `json:"environment"`
		Description      string            `json:"description"`
		Payload          deploymentPayload `json:"payload"`
	}{run.SHA, d.Task, false, []string{}, d.Environment, cutRunes(plain(fmt.Sprintf("job %s of run %s", d.Job, run.ID)), maxDeploymentText), deploymentPayload{externalID}}
	var answer struct {
		ID int64 `json:"id"`
	}
	err := a.deployments(operation(ctx, "repos/create-deployment"), run, http.MethodPost, "", body, &answer)
	if err == nil && answer.ID == 0 {
		err = fmt.Errorf("create a deployment on %s: GitHub's answer names none", run.Repository.FullName())
	}
	return answer.ID, err
}

// findDeployment looks for a deployment that we created without learning its ID; 0 means that there is none.
func (a *App) findDeployment(ctx context.Context, run jobs.RunInfo, d Deployment, externalID string) (int64, error) {
	query := url.Values{"sha": {run.SHA}, "environment": {d.Environment}, "task": {d.Task}, "per_page": {fmt.Sprint(perPage)}}
	var list []struct {
		ID      int64           `json:"id"`
		Payload json.RawMessage `json:"payload"`
	}
	// Newest first: what was just asked for is on the first page.
	if err := a.deployments(operation(ctx, "repos/list-deployments"), run, http.MethodGet, "?"+query.Encode(), nil, &list); err != nil {
		return 0, err
	}
	for _, found := range list {
		var payload deploymentPayload
		if bytes.HasPrefix(bytes.TrimSpace(found.Payload), []byte("{")) && json.Unmarshal(found.Payload, &payload) == nil && payload.Slipway == externalID {
			return found.ID, nil
		}
	}
	return 0, nil
}

func (a *App) createStatus(ctx context.Context, run jobs.RunInfo, id int64, status deploymentStatus) error {
	return a.deployments(operation(ctx, "repos/create-deployment-status"), run, http.MethodPost, fmt.Sprintf("/%d/statuses", id), status, nil)
}

// lastStatus is the newest status of a deployment; the zero status when it has none.
func (a *App) lastStatus(ctx context.Context, run jobs.RunInfo, id int64) (deploymentStatus, error) {
	var list []deploymentStatus
	err := a.deployments(operation(ctx, "repos/list-deployment-statuses"), run, http.MethodGet, fmt.Sprintf("/%d/statuses?per_page=1", id), nil, &list)
	if err != nil || len(list) == 0 {
		return deploymentStatus{}, err
	}
	return list[0], nil
}

// deployments sends a request about the repository's deployments.
func (a *App) deployments(ctx context.Context, run jobs.RunInfo, method, path string, body, answer any) error {
	attempt := "show a deployment on " + run.Repository.FullName()
	c, err := a.client(run.Installation, run.Repository)
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	req, err := c.NewRequest(method, fmt.Sprintf("repos/%s/%s/deployments%s", run.Repository.Owner, run.Repository.Name, path), body)
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	_, err = c.Do(ctx, req, answer)
	return explain(ctx, attempt, err)
}

// isWeb reports whether an address is one that people can follow.
func isWeb(address string) bool {
	parsed, err := url.Parse(address)
	return err == nil && (parsed.Scheme == "https" || parsed.Scheme == "http") && parsed.Host != "" && !strings.ContainsAny(address, " \t\r\n")
}
