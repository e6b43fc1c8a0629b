package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// maxTroubles is how many errors of ours one attempt may meet before it fails.
const maxTroubles = 10

// troubleBackoff is how long to wait after the n-th error of ours, from 1.
func troubleBackoff(n int) time.Duration { return backoff(n, time.Second, 5*time.Minute) }

// A claimed is a job that this replica works on.
type claimed struct {
	run   Run
	job   Job // as it was claimed
	claim Claim
	lines *logWriter
	log   *slog.Logger
}

// key is where this claim's result or progress is stored.
func (c *claimed) key() string { return ResultKey(c.run.ID, c.job.Name, c.job.Attempt, c.job.Claims) }

// A fate is what becomes of a claimed job: it is lost, parked or handed back, or else ends with the result.
type fate struct {
	lost    bool
	park    *Later
	back    *handBack
	result  Result
	trouble bool // an error of ours is behind it
}

// A handBack is a job's return to the queue.
type handBack struct {
	why   string // clause for people
	after time.Duration
	say   string // in the job's log; may be empty
}

// outcome decides what becomes of a job from what its kind returned and the cause that its context ended for, if it did.
func outcome(job Job, result Result, err, cause error) fate {
	var (
		stopped *stopError
		later   *Later
		refusal *Refusal
	)
	switch {
	case errors.Is(cause, ErrClaimLost) || errors.Is(err, ErrClaimLost):
		return fate{lost: true}
	case err == nil:
		return fate{result: result}
	case errors.As(cause, &stopped) && job.Outside:
		return fate{back: &handBack{why: "it is being stopped"}}
	case errors.As(cause, &stopped):
		return fate{result: Result{Conclusion: Cancelled, Summary: stopped.reason}}
	case errors.Is(cause, ErrShutdown):
		return fate{back: &handBack{why: "its worker was shut down"}}
	case errors.As(err, &later) && later.Progress != nil:
		return fate{park: later}
	case errors.As(err, &later):
		return fate{back: &handBack{why: later.Reason, after: max(later.After, time.Second), say: "waiting: " + later.Reason}}
	case errors.As(err, &refusal):
		result = Result{Conclusion: Failure, Summary: refusal.Sentence}
		if refusal.Cause != nil {
			result.Cause = refusal.Cause.Error()
		}
		return fate{result: result}
	}
	n, why := job.Troubles+1, firstLine(err.Error())
	if n < maxTroubles {
		after := troubleBackoff(n)
		return fate{trouble: true, back: &handBack{
			why: "internal error in Slipway, retrying", after: after, say: fmt.Sprintf("internal error, retrying in %s: %s", after, why)}}
	}
	return fate{trouble: true, result: Result{
		Conclusion: Failure, Cause: why,
		Summary: fmt.Sprintf("Slipway failed %d times with internal errors. Retry later, or ask its operator.", maxTroubles)}}
}

// settle stores what becomes of a claimed job. It goes on trying while the claim is ours; if that fails too, the sweeper will find the
// claim without a holder.
func (r *Runner) settle(ctx context.Context, c *claimed, result Result, err, cause error) error {
	f := outcome(c.job, result, err, cause)
	if f.trouble {
		c.log.WarnContext(ctx, "internal error", "error", err, "troubles", c.job.Troubles+1)
	}
	switch {
	case f.lost:
		c.lines.close(false)
		c.log.WarnContext(ctx, "the claim is lost; whoever has it now goes on")
		return nil
	case f.park != nil:
		return r.park(ctx, c, *f.park)
	case f.back != nil:
		return r.handBack(ctx, c, *f.back, f.trouble)
	}
	return r.finish(ctx, c, f.result)
}

// handBack returns a job to the queue.
func (r *Runner) handBack(ctx context.Context, c *claimed, b handBack, trouble bool) error {
	if b.say != "" {
		c.lines.printf("%s", b.say)
	}
	c.lines.close(false)
	notBefore := time.Time{}
	if b.after > 0 {
		notBefore = r.Now().Add(b.after)
	}
	c.log.InfoContext(ctx, "handed back", "why", b.why, "trouble", trouble, "after", b.after)
	_, _, err := r.store(ctx, c.run.ID, func(now *Run) error {
		return now.HandBack(c.job.Name, c.claim.Token, r.Mask(b.why), notBefore, trouble)
	})
	return err
}

// finish stores a job's result and ends it.
func (r *Runner) finish(ctx context.Context, c *claimed, result Result) error {
	result = r.masked(result).Bound()
	c.lines.printf("%s: %s", result.Conclusion, result.Summary)
	c.lines.close(true)
	if err := r.record(ctx, c, result); err != nil {
		return err
	}
	c.log.InfoContext(ctx, "finished", "conclusion", result.Conclusion, "summary", result.Summary, "cause", result.Cause)
	run, stored, err := r.store(ctx, c.run.ID, func(now *Run) error {
		return now.Finish(c.job.Name, c.claim.Token, result, c.key(), r.Now())
	})
	if !stored {
		return err
	}
	r.forget(ctx, c.job.ResultKey)
	if r.Finished != nil {
		j := run.Job(c.job.Name)
		r.Finished(j.Kind, j.State, j.Finished.Sub(j.Started))
	}
	return nil
}

// park stores the progress of a job whose work goes on elsewhere, and that it needs no worker for now.
func (r *Runner) park(ctx context.Context, c *claimed, later Later) error {
	c.lines.close(false)
	if err := r.record(ctx, c, r.masked(*later.Progress).Bound()); err != nil {
		return err
	}
	later.Reason = r.Mask(later.Reason)
	c.log.DebugContext(ctx, "parked", "why", later.Reason, "for", later.After)
	_, stored, err := r.store(ctx, c.run.ID, func(now *Run) error {
		return now.Park(c.job.Name, c.claim.Token, later, c.key(), r.Now())
	})
	switch {
	case stored:
		r.forget(ctx, c.job.ResultKey)
	case err == nil: // another has the job, and stores its progress
		r.forget(ctx, c.key())
	}
	return err
}

// record stores the result or the progress of a claimed job. One that is there already was stored by an earlier try.
func (r *Runner) record(ctx context.Context, c *claimed, result Result) error {
	err := r.keep(ctx, func() error { _, err := r.Results.Create(ctx, c.key(), result); return err })
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("store the result of %s of %s: %w", c.job.Name, c.run.ID, err)
	}
	return nil
}

// forget deletes a progress record that a newer one replaces. One that is left over expires.
func (r *Runner) forget(ctx context.Context, key string) {
	if key == "" {
		return
	}
	_, revision, err := r.Results.Get(ctx, key)
	if err == nil {
		err = r.Results.Delete(ctx, key, revision)
	}
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrConflict) {
		r.Log.DebugContext(ctx, "delete a previous progress record", "key", key, "error", err)
	}
}

// store changes a run, trying for as long as a claim lives. It returns the run as stored, and whether it was: the claim may have gone
// to another meanwhile.
func (r *Runner) store(ctx context.Context, id string, edit func(*Run) error) (run Run, stored bool, err error) {
	err = r.keep(ctx, func() (err error) {
		run, err = Change(ctx, r.Runs, id, edit)
		return err
	})
	if errors.Is(err, ErrNotYours) || errors.Is(err, ErrNotFound) {
		return run, false, nil
	}
	return run, err == nil, err
}

// keep repeats do while the store is out of reach.
func (r *Runner) keep(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(r.ttl())
	for try := 1; ; try++ {
		err := do()
		if err == nil || errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotYours) || time.Now().After(deadline) {
			return err
		}
		pause(ctx, backoff(try, 50*time.Millisecond, 2*time.Second))
	}
}
