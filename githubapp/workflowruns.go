package githubapp

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	maxRuns           = 1000 // GitHub finds no more with a filter ("List workflow runs for a repository")
	maxWorkflowJobs   = 100
	maxWorkflowSteps  = 60
	maxWorkflowText   = 255 // bytes of a name or title
	maxRunAnnotations = 50
	maxArtifacts      = 100
)

// runShape is a workflow run as GitHub describes it. go-github's own type lacks half of this.
type runShape struct {
	ID         int64  `json:"id"`
	Attempt    int    `json:"run_attempt"`
	Path       string `json:"path"`
	Workflow   int64  `json:"workflow_id"`
	Name       string `json:"name"`
	Title      string `json:"display_title"`
	Event      string `json:"event"`
	Branch     string `json:"head_branch"`
	SHA        string `json:"head_sha"`
	Status     string `json:"status"`
	Conclusion string `json:"conclusion"`
	URL        string `json:"html_url"`
	Actor      struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
		Type  string `json:"type"`
	} `json:"actor"`
	Suite   int64     `json:"check_suite_id"`
	Created time.Time `json:"created_at"`
	Updated time.Time `json:"updated_at"`
}

func (s runShape) run() jobs.WorkflowRun {
	return jobs.WorkflowRun{
		ID: s.ID, Attempt: max(s.Attempt, 1), Path: workflowPathOf(s.Path), Workflow: s.Workflow,
		Name: jobs.Cut(s.Name, maxWorkflowText), Title: jobs.Cut(s.Title, maxWorkflowText), Event: s.Event,
		Branch: s.Branch, SHA: s.SHA, Status: s.Status, Conclusion: s.Conclusion, URL: s.URL, Actor: jobs.Actor(s.Actor), Suite: s.Suite,
		Created: s.Created, Updated: s.Updated,
	}
}

// WorkflowRuns lists runs, newest first, without their jobs: at most limit, which may be 1 to 1,000. It costs a call for each
// hundred.
func (a *App) WorkflowRuns(
	ctx context.Context, installation int64, repo jobs.Repository, filter jobs.WorkflowFilter, limit int,
) ([]jobs.WorkflowRun, error) {
	attempt := "list workflow runs of " + repo.FullName()
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attempt, err)
	}
	name, where := "actions/list-workflow-runs-for-repo", fmt.Sprintf("repos/%s/%s/actions/runs", repo.Owner, repo.Name)
	if filter.Workflow != "" {
		file, problem := workflowName(filter.Workflow)
		if problem != "" {
			return nil, &jobs.Refusal{Sentence: asSentence(problem)}
		}
		name, where = "actions/list-workflow-runs", fmt.Sprintf("repos/%s/%s/actions/workflows/%s/runs", repo.Owner, repo.Name, url.PathEscape(file))
	}
	limit = min(max(limit, 1), maxRuns)
	query := runQuery(filter)
	var list []jobs.WorkflowRun
	size := min(limit, perPage)
	for page := 1; page > 0 && len(list) < limit; {
		var said struct {
			Runs []runShape `json:"workflow_runs"`
		}
		resp, err := ask(asking(ctx, priorityNew, name), c.Client, attempt, where+"?"+paged(query, size, page), &said)
		if err != nil {
			return nil, permanentForWorkflows(gone(err, filter.Workflow, repo), repo)
		}
		for _, s := range said.Runs {
			list = append(list, s.run())
		}
		page = resp.NextPage
	}
	list = list[:min(len(list), limit)]
	slices.SortStableFunc(list, func(x, y jobs.WorkflowRun) int { return cmp.Or(y.Created.Compare(x.Created), cmp.Compare(y.ID, x.ID)) })
	return list, nil
}

func runQuery(filter jobs.WorkflowFilter) url.Values {
	query := url.Values{"exclude_pull_requests": {"true"}}
	for name, value := range map[string]string{"branch": filter.Branch, "event": filter.Event, "actor": filter.Actor, "head_sha": filter.SHA} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if filter.Suite > 0 {
		query.Set("check_suite_id", strconv.FormatInt(filter.Suite, 10))
	}
	if !filter.Since.IsZero() { // a range as in GitHub's search ("Understanding the search syntax", section on dates)
		query.Set("created", ">="+filter.Since.UTC().Format(time.RFC3339))
	}
	return query
}

// WorkflowRun reads how a run stands, without its jobs. A run that is not there, or no longer, is a *jobs.Refusal.
func (a *App) WorkflowRun(ctx context.Context, installation int64, repo jobs.Repository, id int64) (jobs.WorkflowRun, error) {
	var said runShape
	err := a.askRun(asking(ctx, priorityProgress, "actions/get-workflow-run"), installation, repo, id, "?exclude_pull_requests=true", &said)
	if err == nil && said.ID != id {
		err = fmt.Errorf("read workflow run %d of %s: GitHub's answer is about another", id, repo.FullName())
	}
	if err != nil {
		return jobs.WorkflowRun{}, err
	}
	return said.run(), nil
}

// askRun reads something about a run.
func (a *App) askRun(ctx context.Context, installation int64, repo jobs.Repository, run int64, what string, into any) error {
	attempt := fmt.Sprintf("read workflow run %d of %s", run, repo.FullName())
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	_, err = ask(ctx, c.Client, attempt, fmt.Sprintf("repos/%s/%s/actions/runs/%d%s", repo.Owner, repo.Name, run, what), into)
	return permanentForWorkflows(gone(err, fmt.Sprintf("workflow run %d", run), repo), repo)
}

// WorkflowJobs lists the jobs of a run's attempt, of the latest with 0, with their steps: at most 100 jobs, of 60 steps. Jobs
// that wait for others are not made yet. It costs one call.
func (a *App) WorkflowJobs(ctx context.Context, installation int64, repo jobs.Repository, run int64, attempt int) ([]jobs.WorkflowJob, error) {
	type step struct {
		Number     int       `json:"number"`
		Name       string    `json:"name"`
		Status     string    `json:"status"`
		Conclusion string    `json:"conclusion"`
		Started    time.Time `json:"started_at"`
		Completed  time.Time `json:"completed_at"`
	}
	var said struct {
		Jobs []struct {
			ID         int64     `json:"id"`
			Attempt    int       `json:"run_attempt"`
			Name       string    `json:"name"`
			Status     string    `json:"status"`
			Conclusion string    `json:"conclusion"`
			URL        string    `json:"html_url"`
			Started    time.Time `json:"started_at"`
			Completed  time.Time `json:"completed_at"`
			Steps      []step    `json:"steps"`
		} `json:"jobs"`
	}
	name, what := "actions/list-jobs-for-workflow-run", "/jobs?filter=latest&"
	if attempt > 0 {
		name, what = "actions/list-jobs-for-workflow-run-attempt", fmt.Sprintf("/attempts/%d/jobs?", attempt)
	}
	if err := a.askRun(asking(ctx, priorityProgress, name), installation, repo, run, what+paged(nil, maxWorkflowJobs, 1), &said); err != nil {
		return nil, err
	}
	var list []jobs.WorkflowJob
	for _, s := range said.Jobs[:min(len(said.Jobs), maxWorkflowJobs)] {
		j := jobs.WorkflowJob{
			ID: s.ID, Attempt: max(s.Attempt, 1), Name: jobs.Cut(s.Name, maxWorkflowText), Status: s.Status, Conclusion: s.Conclusion,
			URL: s.URL, Started: s.Started, Completed: s.Completed,
		}
		for _, one := range s.Steps[:min(len(s.Steps), maxWorkflowSteps)] {
			one.Name = jobs.Cut(one.Name, maxWorkflowText)
			j.Steps = append(j.Steps, jobs.WorkflowStep(one))
		}
		list = append(list, j)
	}
	return list, nil
}

// PendingDeployments lists the environments that a run waits to be let into.
func (a *App) PendingDeployments(ctx context.Context, installation int64, repo jobs.Repository, run int64) ([]jobs.PendingDeployment, error) {
	var said []struct {
		Environment struct {
			ID   int64  `json:"id"`
			Name string `json:"name"`
		} `json:"environment"`
		MayApprove bool `json:"current_user_can_approve"`
	}
	ctx = asking(ctx, priorityNew, "actions/get-pending-deployments-for-run")
	if err := a.askRun(ctx, installation, repo, run, "/pending_deployments", &said); err != nil {
		return nil, err
	}
	var list []jobs.PendingDeployment
	for _, s := range said {
		list = append(list, jobs.PendingDeployment{ID: s.Environment.ID, Name: s.Environment.Name, MayApprove: s.MayApprove})
	}
	return list, nil
}

// WorkflowAnnotations reads the annotations of a check run, at most 50. A workflow's job has the ID of its check run. Those that are
// about no file have the path .github, as GitHub gives them.
func (a *App) WorkflowAnnotations(ctx context.Context, installation int64, repo jobs.Repository, check int64) ([]jobs.Annotation, error) {
	attempt := fmt.Sprintf("read the annotations of check run %d of %s", check, repo.FullName())
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attempt, err)
	}
	var said []struct {
		Path    string `json:"path"`
		Line    int    `json:"start_line"`
		EndLine int    `json:"end_line"`
		Level   string `json:"annotation_level"`
		Title   string `json:"title"`
		Message string `json:"message"`
	}
	_, err = ask(asking(ctx, priorityNew, "checks/list-annotations"), c.Client, attempt,
		fmt.Sprintf("repos/%s/%s/check-runs/%d/annotations?%s", repo.Owner, repo.Name, check, paged(nil, maxRunAnnotations, 1)), &said)
	if err != nil {
		return nil, permanentForWorkflows(gone(err, fmt.Sprintf("check run %d", check), repo), repo)
	}
	var list []jobs.Annotation
	for _, s := range said[:min(len(said), maxRunAnnotations)] {
		n := jobs.Annotation{
			Path: s.Path, Line: max(s.Line, 1), EndLine: max(s.EndLine, s.Line, 1), Level: s.Level,
			Title: jobs.Cut(s.Title, maxWorkflowText), Message: jobs.Cut(s.Message, 4000),
		}
		if n.Level != "failure" && n.Level != "warning" {
			n.Level = "notice"
		}
		list = append(list, n)
	}
	return list, nil
}
