package webhook

import (
	"encoding/json"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// The payloads of what other programs do on a commit: workflows and statuses.
type (
	payloadWorkflowRun struct {
		payloadCommon
		WorkflowRun struct {
			ID           int64          `json:"id"`
			Attempt      int            `json:"run_attempt"`
			Path         string         `json:"path"`
			WorkflowID   int64          `json:"workflow_id"`
			Name         string         `json:"name"`
			DisplayTitle string         `json:"display_title"`
			Event        string         `json:"event"`
			HeadBranch   string         `json:"head_branch"`
			HeadSHA      string         `json:"head_sha"`
			Status       string         `json:"status"`
			Conclusion   string         `json:"conclusion"`
			HTMLURL      string         `json:"html_url"`
			Actor        payloadAccount `json:"actor"`
			CheckSuiteID int64          `json:"check_suite_id"`
			CreatedAt    time.Time      `json:"created_at"`
			UpdatedAt    time.Time      `json:"updated_at"`
		} `json:"workflow_run"`
		Workflow struct {
			Name string `json:"name"`
		} `json:"workflow"`
	}
	payloadWorkflowJob struct {
		payloadCommon
		Action      string `json:"action"`
		WorkflowJob struct {
			ID           int64      `json:"id"`
			RunID        int64      `json:"run_id"`
			RunAttempt   int        `json:"run_attempt"`
			WorkflowName string     `json:"workflow_name"`
			HeadBranch   string     `json:"head_branch"`
			HeadSHA      string     `json:"head_sha"`
			Name         string     `json:"name"`
			Status       string     `json:"status"`
			Conclusion   string     `json:"conclusion"`
			HTMLURL      string     `json:"html_url"`
			StartedAt    *time.Time `json:"started_at"`
			CompletedAt  *time.Time `json:"completed_at"`
			Steps        []struct {
				Number      int        `json:"number"`
				Name        string     `json:"name"`
				Status      string     `json:"status"`
				Conclusion  string     `json:"conclusion"`
				StartedAt   *time.Time `json:"started_at"`
				CompletedAt *time.Time `json:"completed_at"`
			} `json:"steps"`
		} `json:"workflow_job"`
	}
	payloadStatus struct {
		payloadCommon
		SHA     string `json:"sha"`
		Context string `json:"context"`
		State   string `json:"state"`
	}
)

// decodeWorkflowRun reads news of a workflow run.
func decodeWorkflowRun(body []byte) (jobs.Event, error) {
	var p payloadWorkflowRun
	if err := json.Unmarshal(body, &p); err != nil {
		return jobs.Event{}, err
	}
	e, in := p.event(jobs.EventWorkflow), p.WorkflowRun
	name := p.Workflow.Name
	if name == "" {
		name = in.Name
	}
	e.Time = in.UpdatedAt
	e.Workflow = &jobs.WorkflowRun{
		ID: in.ID, Attempt: max(in.Attempt, 1), Path: jobs.Cut(in.Path, 500), Workflow: in.WorkflowID, Name: jobs.Cut(name, 200),
		Title: jobs.Cut(in.DisplayTitle, 500), Event: jobs.Cut(in.Event, 100), Branch: jobs.Cut(in.HeadBranch, 500), SHA: in.HeadSHA,
		Status: jobs.Cut(in.Status, 40), Conclusion: jobs.Cut(in.Conclusion, 40), URL: jobs.Cut(in.HTMLURL, 500), Actor: in.Actor.actor(),
		Suite: in.CheckSuiteID, Created: in.CreatedAt, Updated: in.UpdatedAt,
	}
	return e, nil
}

// maxSteps bounds the steps kept of a workflow's job.
const maxSteps = 100

// decodeWorkflowJob reads news of a job of a workflow run. Of the run itself it tells only which one it is.
func decodeWorkflowJob(body []byte) (jobs.Event, error) {
	var p payloadWorkflowJob
	if err := json.Unmarshal(body, &p); err != nil {
		return jobs.Event{}, err
	}
	e, in := p.event(jobs.EventWorkflow), p.WorkflowJob
	job := jobs.WorkflowJob{
		ID: in.ID, Attempt: max(in.RunAttempt, 1), Name: jobs.Cut(in.Name, 200), Status: jobs.Cut(in.Status, 40), Conclusion: jobs.Cut(in.Conclusion, 40),
		URL: jobs.Cut(in.HTMLURL, 500), Started: moment(in.StartedAt), Completed: moment(in.CompletedAt),
	}
	for i, s := range in.Steps {
		if i == maxSteps {
			break
		}
		job.Steps = append(job.Steps, jobs.WorkflowStep{
			Number: s.Number, Name: jobs.Cut(s.Name, 200), Status: jobs.Cut(s.Status, 40), Conclusion: jobs.Cut(s.Conclusion, 40),
			Started: moment(s.StartedAt), Completed: moment(s.CompletedAt),
		})
	}
	if job.Status != "completed" { // GitHub sets it to the start of one that waits
		job.Completed = time.Time{}
	}
	e.Workflow = &jobs.WorkflowRun{
		ID: in.RunID, Attempt: job.Attempt, Name: jobs.Cut(in.WorkflowName, 200), Branch: jobs.Cut(in.HeadBranch, 500), SHA: in.HeadSHA,
		Jobs: []jobs.WorkflowJob{job},
	}
	return e, nil
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// decodeStatus reads a commit status that says how something ended.
func decodeStatus(body []byte) (jobs.Event, error) {
	var p payloadStatus
	if err := json.Unmarshal(body, &p); err != nil {
		return jobs.Event{}, err
	}
	e := p.event(jobs.EventChecked)
	if p.State == "pending" {
		return e, notHandled("the status %.100s is pending", p.Context)
	}
	e.Checked = &jobs.Checked{SHA: p.SHA, Name: jobs.Cut(p.Context, 300)}
	return e, nil
}

// checkNews refuses news that lack what they are about.
func checkNews(e jobs.Event, need func(ok bool, what string)) {
	if w := e.Workflow; w != nil {
		need(w.ID > 0, "workflow_run.id")
		need(w.SHA == "" || shaForm.MatchString(w.SHA), "head_sha")
		for _, j := range w.Jobs {
			need(j.ID > 0, "workflow_job.id")
		}
	}
	if c := e.Checked; c != nil {
		need(shaForm.MatchString(c.SHA), "head_sha")
	}
}
