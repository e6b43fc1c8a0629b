package dispatch

import (
	"context"
	"errors"

	"github.com/slipway-ci/slipway/jobs"
)

// mayRetry reports whether the failed jobs of a workflow run that has ended are run again by themselves.
func (s *session) mayRetry(run jobs.WorkflowRun) bool {
	return (run.Conclusion == "failure" || run.Conclusion == "timed_out") &&
		s.rec.Retries < s.spec.RetryFailedJobs && s.rec.NoRetry == "" && s.rec.Moved == "" && !s.rec.Cancelled
}

// retry runs the failed jobs again. GitHub's refusal ends the trying, not the job.
func (s *session) retry(ctx context.Context) error {
	s.rec.Retries++ // stored with what was asked
	err := s.rerun(ctx, false)
	if err == nil || s.rec.Want != 0 {
		return err
	}
	s.rec.Retries-- // it surely was not done
	var refusal *jobs.Refusal
	if errors.As(err, &refusal) {
		s.rec.NoRetry, err = "It was not run again: "+refusal.Sentence, nil
	}
	return errors.Join(err, s.save(context.WithoutCancel(ctx)))
}
