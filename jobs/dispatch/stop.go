package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// Stop ends a job whose run is cancelled or superseded, and with it what it started: except that a workflow run whose job was only
// superseded goes on, unless the pipeline says otherwise.
func (k *kind) Stop(ctx context.Context, task jobs.Task, stop jobs.Stop) (jobs.Result, error) {
	s, err := k.open(ctx, task)
	if err != nil {
		return jobs.Result{}, err
	}
	result, err := s.stop(ctx, stop)
	if err != nil {
		return jobs.Result{}, s.underway(err)
	}
	return *result, nil
}

func (s *session) stop(ctx context.Context, stop jobs.Stop) (*jobs.Result, error) {
	if s.rec.Sent.IsZero() {
		return s.over(ctx, jobs.Cancelled, stop.Reason)
	}
	result := jobs.Result{Conclusion: jobs.Cancelled, Summary: stop.Reason}
	stays := stop.Superseded && !s.spec.CancelOnSupersede
	if s.rec.ID == 0 && !s.rec.Unknown { // also when it stays: the next job must be able to tell it from its own
		if _, err := s.find(ctx); err != nil {
			return nil, err // it goes on looking
		}
	}
	if s.rec.ID == 0 {
		result.Summary = fmt.Sprintf("%s; it is not known whether %s was started on %s, look on GitHub", stop.Reason, s.rec.Workflow, s.rec.branch())
		result.Details = listed(s.rec.Candidates)
		if err := s.leave(ctx); err != nil {
			return nil, err
		}
		return s.ended(ctx, result)
	}
	if !s.rec.Claimed { // so that nobody takes it for his own who looks for one
		claimed, err := s.claim(ctx, s.rec.ID, "")
		if err != nil {
			return nil, err
		}
		if err := s.leave(ctx); err != nil {
			return nil, err
		}
		if s.rec.Claimed = claimed; !claimed {
			result.Summary = fmt.Sprintf("%s; the workflow run is followed by another job and goes on: %s", stop.Reason, s.where())
			return s.ended(ctx, result)
		}
	}
	run, err := s.known(ctx)
	if err != nil {
		return nil, err
	}
	what := "goes on"
	if run.Over() && s.rec.Want == 0 && !s.rec.Cancelled {
		what = "was over by then"
	} else if !stays {
		if what, err = s.cancel(ctx); err != nil {
			return nil, err
		}
	}
	result.Summary = fmt.Sprintf("%s; the workflow run %s: %s", stop.Reason, what, s.where())
	result.Details, result.Outputs = s.details(run, maxEnd), s.identity()
	return s.ended(ctx, result)
}

// cancel cancels the workflow run, once, and says what became of that: GitHub refuses mostly because it is over.
func (s *session) cancel(ctx context.Context) (what string, err error) {
	if s.rec.Became != "" {
		return s.rec.Became, nil
	}
	tried := s.rec.Cancelled
	if s.rec.Cancelled = true; !tried {
		if err := s.save(ctx); err != nil {
			return "", err
		}
	}
	err = s.Control.CancelWorkflowRun(ctx, s.rec.Installation, s.rec.Repository, s.rec.ID)
	var refusal *jobs.Refusal
	switch {
	case err == nil:
		s.rec.Became = "was cancelled"
	case errors.As(err, &refusal) && tried: // probably by the try before
		s.rec.Became = "is over by now"
	case errors.As(err, &refusal):
		s.rec.Became = fmt.Sprintf("could not be cancelled (%s)", strings.TrimSuffix(refusal.Sentence, "."))
	default:
		return "", fmt.Errorf("cancel workflow run %d: %w", s.rec.ID, err)
	}
	fmt.Fprintf(s.task.Log, "workflow run %d %s\n", s.rec.ID, s.rec.Became)
	return s.rec.Became, s.save(ctx)
}

// moved ends the job when GitHub started the workflow on another commit than the job's: the branch moved between.
func (s *session) moved(ctx context.Context, run jobs.WorkflowRun) (*jobs.Result, error) {
	if s.rec.Moved == "" {
		if !s.rec.Own || run.SHA == "" || run.SHA == s.task.Run.SHA {
			return nil, nil
		}
		s.rec.Moved = run.SHA
		if err := s.save(ctx); err != nil {
			return nil, err
		}
	}
	what, err := s.cancel(ctx)
	if err != nil {
		return nil, err
	}
	result := jobs.Result{
		Conclusion: jobs.Failure, Details: s.details(run, maxEnd), Outputs: s.identity(),
		Summary: fmt.Sprintf("%s moved to %s between; the workflow run on it %s. A newer run covers that commit, or run this again on the newest.",
			s.rec.branch(), jobs.Abbreviate(s.rec.Moved), what),
	}
	return s.ended(ctx, result)
}

// overdue ends the job when the workflow run takes too long.
func (s *session) overdue(ctx context.Context, run jobs.WorkflowRun) (*jobs.Result, error) {
	if !s.rec.Overdue {
		s.rec.Overdue = true // what the workflow run ends as from here on is our doing
		if err := s.save(ctx); err != nil {
			return nil, err
		}
	}
	what, err := s.cancel(ctx)
	if err != nil {
		return nil, err
	}
	result := jobs.Result{
		Conclusion: jobs.TimedOut, Details: s.details(run, maxEnd), Outputs: s.identity(),
		Summary: fmt.Sprintf("%s did not end within %s and %s: %s. Give it a longer `timeout` if it needs one.",
			s.name(run), jobs.Duration(s.timeout), what, s.where()),
	}
	return s.ended(ctx, result)
}
