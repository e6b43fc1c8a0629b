package jobs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// stubbornRuns fail the first update that brings a job to where is says, before or after it takes effect.
type stubbornRuns struct {
	jobs.Set[jobs.Run]
	is    func(jobs.Job) bool
	after bool
	err   error
	done  bool
}

func (s *stubbornRuns) Update(ctx context.Context, key string, run jobs.Run, revision uint64) (uint64, error) {
	fail := !s.done && s.is(run.Jobs[0])
	if fail && !s.after {
		s.done = true
		return 0, s.err
	}
	next, err := s.Set.Update(ctx, key, run, revision)
	if fail && err == nil {
		s.done = true
		return 0, s.err
	}
	return next, err
}

var errNoAnswer = errors.New("no answer from the store")

// stubborn are the ways in which a store may make a worker say the same twice.
var stubborn = map[string]stubbornRuns{
	"another was faster":         {err: jobs.ErrConflict},
	"the store is away":          {err: errNoAnswer},
	"the store's answer is lost": {err: errNoAnswer, after: true},
}

func TestProgressIsKeptWhenTheStoreIsStubborn(t *testing.T) {
	for name, s := range stubborn {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			results := queue.Set[jobs.Result](w.q, queue.Results)
			if _, err := results.Create(t.Context(), "before", jobs.Result{Details: "as it stood"}); err != nil {
				t.Fatal(err)
			}
			s.Set, s.is = queue.Set[jobs.Run](w.q, queue.Runs), func(j jobs.Job) bool { return j.State == jobs.JobQueued }
			w.alone(offered(jobs.Job{Claims: 1, Parked: true, ResultKey: "before"}), noAck, func(context.Context, jobs.Task) (jobs.Result, error) {
				return jobs.Result{}, &jobs.Later{After: time.Hour, Reason: "waits", Progress: &jobs.Result{Details: "news"}}
			}, func(r *jobs.Runner) { r.Runs = deafRuns{&s} })
			run, _, err := s.Get(t.Context(), "r-1")
			if err != nil || !run.Jobs[0].Parked || run.Jobs[0].Waiting != "waits" || !s.done {
				t.Fatalf("%+v, %v", run, err)
			}
			if progress, _, err := results.Get(t.Context(), run.Jobs[0].ResultKey); err != nil || progress.Details != "news" {
				t.Errorf("the progress is %+v, %v", progress, err)
			}
			if _, _, err := results.Get(t.Context(), "before"); !errors.Is(err, jobs.ErrNotFound) {
				t.Errorf("the progress before is still there: %v", err)
			}
		})
	}
}

func TestAFinishedJobIsCountedOnce(t *testing.T) {
	for name, s := range stubborn {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			s.Set, s.is = queue.Set[jobs.Run](w.q, queue.Runs), func(j jobs.Job) bool { return j.State.Over() }
			var counted []jobs.JobState
			w.alone(offered(jobs.Job{}), noAck, func(context.Context, jobs.Task) (jobs.Result, error) {
				return jobs.Result{Conclusion: jobs.Success}, nil
			}, func(r *jobs.Runner) {
				r.Runs = deafRuns{&s}
				r.Finished = func(_ jobs.KindName, state jobs.JobState, _ time.Duration) { counted = append(counted, state) }
			})
			if len(counted) != 1 || counted[0] != jobs.JobSucceeded || !s.done {
				t.Errorf("counted %v", counted)
			}
		})
	}
}

// Whoever has lost the claim must not go on.
func TestALostClaimIsNotResumed(t *testing.T) {
	w := newTown(t)
	runs := queue.Set[jobs.Run](w.q, queue.Runs)
	w.alone(offered(jobs.Job{Parked: true}), noAck, func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		w.loseClaim(ctx, runs, task)
		err := task.Resume(ctx)
		if !errors.Is(err, jobs.ErrClaimLost) {
			t.Errorf("resumed: %v", err)
		}
		return jobs.Result{}, err
	})
	run, _, err := runs.Get(t.Context(), "r-1")
	if err != nil || run.Jobs[0].Claim == nil || run.Jobs[0].Claim.Token != "other" {
		t.Errorf("%+v, %v", run, err)
	}
}

// A watch may miss a change: that a run was stopped is seen nevertheless.
func TestAStopThatNobodyToldOfIsSeen(t *testing.T) {
	w := newTown(t)
	runs := queue.Set[jobs.Run](w.q, queue.Runs)
	w.alone(offered(jobs.Job{}), noAck, func(ctx context.Context, _ jobs.Task) (jobs.Result, error) {
		_, err := jobs.Change(ctx, runs, "r-1", func(r *jobs.Run) error {
			r.RequestStop(jobs.Stop{Reason: "cancelled by alice", Time: time.Now()})
			return nil
		})
		if err != nil {
			return jobs.Result{}, err
		}
		select {
		case <-ctx.Done():
			return jobs.Result{}, ctx.Err()
		case <-time.After(20 * time.Second):
			return jobs.Result{Conclusion: jobs.Success, Summary: "it never heard that it was stopped"}, nil
		}
	}, func(r *jobs.Runner) { r.ClaimTTL = 1500 * time.Millisecond })
	run, _, err := runs.Get(t.Context(), "r-1")
	if j := run.Jobs[0]; err != nil || j.State != jobs.JobCancelled || j.Summary != "cancelled by alice" {
		t.Errorf("%+v, %v", j, err)
	}
}
