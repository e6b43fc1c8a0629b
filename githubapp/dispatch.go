package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

// maxInputs is how many inputs GitHub takes with a dispatch ("Create a workflow dispatch event").
const maxInputs = 25

// opCancel is GitHub's name of what ends a workflow run.
const opCancel = "actions/cancel-workflow-run"

// An errand is a request with an effect that must not happen twice. It is told on the way whether the effect may have happened.
// It is not sent again from here, except after a 401, and by http.Transport when nothing of it was written yet.
type errand struct {
	operation string
	unclear   atomic.Bool // it may have been sent, and no answer told what became of it
}

type errandKey struct{}

// errandOf is the errand that a request is, or nil. A token that is asked for on the way carries the same context.
func errandOf(req *http.Request) *errand {
	e, _ := req.Context().Value(errandKey{}).(*errand)
	if e == nil || e.operation != operationOf(req) {
		return nil
	}
	return e
}

// carry sends a request. What never had a connection was surely not sent, and what was answered did not stay unclear, unless by a
// server that failed at it.
func (e *errand) carry(req *http.Request, next http.RoundTripper) (*http.Response, error) {
	if e == nil {
		return next.RoundTrip(req)
	}
	if err := req.Context().Err(); err != nil {
		closeBody(req)
		return nil, err
	}
	var wanted, connected atomic.Bool
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}
	e.unclear.Store(true)
	resp, err := next.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		e.unclear.Store(connected.Load() || !wanted.Load()) // a transport that tells nothing may have sent it
	} else {
		e.unclear.Store(resp.StatusCode >= 500)
	}
	return resp, err
}

// act runs an errand: a POST. doing says what for, to go on from "GitHub refused to …", permission is what it takes. An answer
// of 2xx is none of its errors, even when the body got lost and into stays empty. See Dispatch for its errors.
func act(ctx context.Context, c *client, doing, permission, path string, body, into any) error {
	req, err := c.NewRequest(http.MethodPost, path, body)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, bare(err))
	}
	name, _ := ctx.Value(operationKey{}).(string)
	e := &errand{operation: name}
	resp, err := c.Do(context.WithValue(ctx, errandKey{}, e), req, into)
	if resp != nil && resp.Response != nil && resp.StatusCode/100 == 2 {
		return nil
	}
	if err = explain(ctx, doing, err); e.unclear.Load() {
		return fmt.Errorf("%w: %w", jobs.ErrUnclear, err)
	}
	return permanentDispatch(err, doing, permission)
}

// Dispatch starts a workflow, named by its file or ID, at a branch or tag. It returns the ID of its run; 0 means that it was started by
// a server that does not tell which run that is, or whose answer got lost behind its status.
//
// An error that wraps jobs.ErrUnclear says that the workflow may have been started. After every other error it surely was not: a
// *jobs.Refusal is GitHub's last word, with its reason; a *jobs.Later a limit; all else is worth another try.
func (a *App) Dispatch(
	ctx context.Context, installation int64, repo jobs.Repository, workflow, ref string, inputs map[string]string,
) (run int64, err error) {
	name, problem := workflowName(workflow)
	switch {
	case problem != "":
		return 0, &jobs.Refusal{Sentence: asSentence(problem)}
	case ref == "":
		return 0, &jobs.Refusal{Sentence: fmt.Sprintf("A workflow starts at a branch or tag, and there is none for %s.", name)}
	case len(inputs) > maxInputs:
		return 0, &jobs.Refusal{Sentence: fmt.Sprintf("GitHub takes at most %d inputs, and %s is given %d.", maxInputs, name, len(inputs))}
	}
	doing := fmt.Sprintf("start %s of %s at %s", name, repo.FullName(), jobs.Cut(ref, 100))
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	body := struct {
		Ref     string            `json:"ref"`
		Inputs  map[string]string `json:"inputs,omitempty"`
		Details bool              `json:"return_run_details"` // go-github does not know it
	}{ref, inputs, true}
	var said struct {
		Run int64 `json:"workflow_run_id"`
	}
	err = act(asking(ctx, priorityNew, "actions/create-workflow-dispatch"), c, doing, actionsPermission,
		fmt.Sprintf("repos/%s/%s/actions/workflows/%s/dispatches", repo.Owner, repo.Name, url.PathEscape(name)), body, &said)
	if no := (*jobs.Refusal)(nil); errors.As(err, &no) {
		switch {
		case status(err) == http.StatusNotFound:
			no.Sentence = fmt.Sprintf("GitHub knows no workflow %s in %s: its file must be on the default branch, "+
				"and the App must reach the repository.", name, repo.FullName())
		case ValidSHA(ref):
			no.Sentence += " A workflow starts at a branch or tag, not at a commit."
		}
	}
	return max(said.Run, 0), err
}

// RerunWorkflow runs all jobs of a workflow run again, as its next attempt. Its errors are those of Dispatch.
func (a *App) RerunWorkflow(ctx context.Context, installation int64, repo jobs.Repository, run int64) error {
	return a.rerun(ctx, installation, repo, run, "actions/re-run-workflow", "rerun")
}

// RerunFailedJobs runs the failed jobs of a workflow run again, and those that need them, as its next attempt. Its errors are
// those of Dispatch.
func (a *App) RerunFailedJobs(ctx context.Context, installation int64, repo jobs.Repository, run int64) error {
	return a.rerun(ctx, installation, repo, run, "actions/re-run-workflow-failed-jobs", "rerun-failed-jobs")
}

func (a *App) rerun(ctx context.Context, installation int64, repo jobs.Repository, run int64, name, verb string) error {
	doing := fmt.Sprintf("run workflow run %d of %s again", run, repo.FullName())
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return act(asking(ctx, priorityNew, name), c, doing, actionsPermission,
		fmt.Sprintf("repos/%s/%s/actions/runs/%d/%s", repo.Owner, repo.Name, run, verb), nil, nil)
}

// CancelWorkflowRun asks GitHub to cancel a run; its jobs may take a while to end. A run that is over, or gone, is a *jobs.Refusal.
// It may be called again, whatever the error.
func (a *App) CancelWorkflowRun(ctx context.Context, installation int64, repo jobs.Repository, run int64) error {
	attempt := fmt.Sprintf("cancel workflow run %d of %s", run, repo.FullName())
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	req, err := c.NewRequest(http.MethodPost, fmt.Sprintf("repos/%s/%s/actions/runs/%d/cancel", repo.Owner, repo.Name, run), nil)
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, bare(err))
	}
	_, err = c.Do(asking(ctx, priorityFinal, opCancel), req, nil)
	if accepted := (*github.AcceptedError)(nil); errors.As(err, &accepted) {
		return nil
	}
	if err = explain(ctx, attempt, err); status(err) == http.StatusConflict {
		return &jobs.Refusal{Sentence: "it was over by then", Cause: err}
	}
	return permanentForJobs(gone(err, fmt.Sprintf("workflow run %d", run), repo), attempt, actionsPermission)
}

// ApproveDeployments lets the jobs of a workflow run into environments, by their IDs, where the App is among the reviewers. Its
// errors are those of Dispatch.
func (a *App) ApproveDeployments(
	ctx context.Context, installation int64, repo jobs.Repository, run int64, environments []int64, comment string,
) error {
	doing := fmt.Sprintf("approve what workflow run %d of %s waits for", run, repo.FullName())
	c, err := a.clientFor(installation, repo, scopeReview)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	body := struct {
		Environments []int64 `json:"environment_ids"`
		State        string  `json:"state"`
		Comment      string  `json:"comment"`
	}{environments, "approved", jobs.Cut(comment, 1000)}
	return act(asking(ctx, priorityNew, "actions/review-pending-deployments-for-run"), c, doing, "Deployments: read and write",
		fmt.Sprintf("repos/%s/%s/actions/runs/%d/pending_deployments", repo.Owner, repo.Name, run), body, nil)
}
