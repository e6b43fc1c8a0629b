package githubapp

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

// checkBody is what creating and updating a check run take. go-github's own types can't leave out the name and have no
// started_at on updates.
type checkBody struct {
	Name        string       `json:"name,omitempty"`
	HeadSHA     string       `json:"head_sha,omitempty"`
	ExternalID  string       `json:"external_id,omitempty"`
	DetailsURL  string       `json:"details_url,omitempty"`
	Status      string       `json:"status,omitempty"`
	Conclusion  string       `json:"conclusion,omitempty"`
	StartedAt   *time.Time   `json:"started_at,omitempty"`
	CompletedAt *time.Time   `json:"completed_at,omitempty"`
	Output      *checkOutput `json:"output,omitempty"`
	Actions     []Button     `json:"actions,omitzero"` // what is there stays when this is nil, and goes when it is empty
}

type checkOutput struct {
	Title       string            `json:"title"`
	Summary     string            `json:"summary"`
	Annotations []checkAnnotation `json:"annotations,omitempty"`
}

type checkAnnotation struct {
	Path      string `json:"path"`
	StartLine int    `json:"start_line"`
	EndLine   int    `json:"end_line"`
	Level     string `json:"annotation_level"`
	Title     string `json:"title,omitempty"`
	Message   string `json:"message"`
}

// body says a check, with at most the given annotations: GitHub appends those of every request to those it has.
func (c Check) body(annotations []jobs.Annotation) checkBody {
	out := checkBody{DetailsURL: c.URL, Status: c.Status, Conclusion: c.Conclusion, StartedAt: timestamp(c.Started),
		CompletedAt: timestamp(c.Completed), Output: &checkOutput{Title: c.Title, Summary: c.Summary},
		Actions: c.Buttons}
	if c.Status == "queued" {
		out.StartedAt = nil
	}
	for _, a := range annotations {
		out.Output.Annotations = append(out.Output.Annotations, checkAnnotation{a.Path, a.Line, a.EndLine, a.Level, a.Title, a.Message})
	}
	return out
}

// timestamp is a time as GitHub keeps it, in whole seconds.
func timestamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// A shown check is what GitHub has.
type shown struct {
	id          int64
	annotations int
}

// createCheck creates a check run on a commit.
func (a *App) createCheck(ctx context.Context, run jobs.RunInfo, body checkBody) (shown, error) {
	return a.sendCheck(operation(ctx, "checks/create"), run, http.MethodPost, "check-runs", body)
}

// updateCheck changes a check run.
func (a *App) updateCheck(ctx context.Context, run jobs.RunInfo, id int64, body checkBody) (shown, error) {
	return a.sendCheck(operation(ctx, "checks/update"), run, http.MethodPatch, fmt.Sprintf("check-runs/%d", id), body)
}

func (a *App) sendCheck(ctx context.Context, run jobs.RunInfo, method, path string, body checkBody) (shown, error) {
	attempt := "show a check on " + run.Repository.FullName()
	c, err := a.client(run.Installation, run.Repository)
	if err != nil {
		return shown{}, fmt.Errorf("%s: %w", attempt, err)
	}
	req, err := c.NewRequest(method, fmt.Sprintf("repos/%s/%s/%s", run.Repository.Owner, run.Repository.Name, path), body)
	if err != nil {
		return shown{}, fmt.Errorf("%s: %w", attempt, err)
	}
	var answer github.CheckRun
	if _, err := c.Do(ctx, req, &answer); err != nil {
		err = explain(ctx, attempt, err)
		if status(err) == http.StatusNotFound {
			if gone := a.reachable(ctx, c, run.Repository); gone != nil {
				return shown{}, wrap(attempt, gone)
			}
		}
		return shown{}, err
	}
	if answer.GetID() == 0 {
		return shown{}, fmt.Errorf("%s: GitHub's answer names no check run", attempt)
	}
	return shown{answer.GetID(), answer.GetOutput().GetAnnotationsCount()}, nil
}

// findCheck looks for a check run that we created without learning its ID.
func (a *App) findCheck(ctx context.Context, run jobs.RunInfo, name, externalID string) (found shown, ok bool, err error) {
	attempt := "look for a check on " + run.Repository.FullName()
	c, err := a.client(run.Installation, run.Repository)
	if err != nil {
		return shown{}, false, fmt.Errorf("%s: %w", attempt, err)
	}
	options := &github.ListCheckRunsOptions{CheckName: &name, AppID: &a.id, Filter: github.String("all"),
		ListOptions: github.ListOptions{PerPage: perPage, Page: 1}}
	for {
		list, resp, err := c.Checks.ListCheckRunsForRef(operation(ctx, "checks/list-for-ref"),
			run.Repository.Owner, run.Repository.Name, run.SHA, options)
		if err != nil {
			return shown{}, false, explain(ctx, attempt, err)
		}
		for _, r := range list.CheckRuns {
			if r.GetExternalID() == externalID && r.GetName() == name {
				return shown{r.GetID(), r.GetOutput().GetAnnotationsCount()}, true, nil
			}
		}
		if resp.NextPage <= options.Page { // GitHub keeps at most 1,000 runs of one name
			return shown{}, false, nil
		}
		options.Page = resp.NextPage
	}
}

// readCheck returns what GitHub has of a check run we know.
func (a *App) readCheck(ctx context.Context, run jobs.RunInfo, id int64) (shown, error) {
	attempt := "read a check of " + run.Repository.FullName()
	c, err := a.client(run.Installation, run.Repository)
	if err != nil {
		return shown{}, fmt.Errorf("%s: %w", attempt, err)
	}
	got, _, err := c.Checks.GetCheckRun(operation(ctx, "checks/get"), run.Repository.Owner, run.Repository.Name, id)
	if err != nil {
		return shown{}, explain(ctx, attempt, err)
	}
	return shown{got.GetID(), got.GetOutput().GetAnnotationsCount()}, nil
}
