package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// A Sweeper finds what fell between two steps: claims whose holder died, and hints that were lost. Only the leader
// sweeps.
type Sweeper struct {
	Runs   Set[Run]
	Leases Leases
	Hints  Hints
	// Grace is how long after a claim its lease may still be missing: the holder writes the claim first. It is also
	// how long a hint may lie unanswered before it is offered again. 0 means DefaultClaimTTL.
	Grace time.Duration
	Depth func(kind KindName, n int) // told how many jobs of a kind wait for a worker; may be nil
	Now   func() time.Time
	Log   *slog.Logger
}

// Sweep looks at every active run once and calls touch for each, so that scheduler and reporter look at it too.
func (s *Sweeper) Sweep(ctx context.Context, touch func(run string)) error {
	var active []Run
	err := s.Runs.All(ctx, func(_ string, run Run, _ uint64) error {
		active = append(active, run)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list active runs: %w", err)
	}
	s.depth(active)
	var faults []error
	for _, run := range active {
		for _, j := range run.Jobs {
			switch j.State {
			case JobRunning:
				faults = append(faults, s.claim(ctx, run, j))
			case JobOffered:
				// The subject holds one hint at most, so saying it again costs nothing.
				faults = append(faults, s.Hints.Offer(ctx, Hint{Kind: j.Kind, Run: run.ID, Job: j.Name}))
			}
		}
		touch(run.ID)
	}
	return errors.Join(faults...)
}

// depth tells how many jobs of each kind wait for a worker: what an autoscaler wants to know.
func (s *Sweeper) depth(active []Run) {
	if s.Depth == nil {
		return
	}
	waiting := map[KindName]int{KindBuild: 0, KindDeploy: 0, KindDispatch: 0, KindAwait: 0}
	for _, run := range active {
		for _, j := range run.Jobs {
			if !j.Parked && (j.State == JobQueued || j.State == JobOffered) {
				waiting[j.Kind]++
			}
		}
	}
	for kind, n := range waiting {
		s.Depth(kind, n)
	}
}

// claim takes a job from a holder whose lease ran out.
func (s *Sweeper) claim(ctx context.Context, run Run, j Job) error {
	grace := s.Grace
	if grace == 0 {
		grace = DefaultClaimTTL
	}
	if j.Claim == nil || s.Now().Sub(j.Claim.Time) < grace {
		return nil
	}
	switch _, err := s.Leases.Holder(ctx, ClaimKey(j.Claim.Token)); {
	case err == nil:
		return nil
	case !errors.Is(err, ErrNotFound):
		return fmt.Errorf("look at the claim on %s of %s: %w", j.Name, run.ID, err)
	}
	s.Log.WarnContext(ctx, "a worker is gone", "run", run.ID, "job", j.Name, "worker", j.Claim.Worker, "troubles", j.Troubles+1)
	_, err := Change(ctx, s.Runs, run.ID, func(now *Run) error {
		err := s.orphan(now, j.Name, *j.Claim)
		if errors.Is(err, ErrNotYours) {
			return ErrUnchanged
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("take %s of %s back: %w", j.Name, run.ID, err)
	}
	return nil
}

// orphan returns a job whose worker died to the queue. Perhaps the job killed it: each death counts, and the last that an attempt may
// cost is its end.
func (s *Sweeper) orphan(run *Run, job string, claim Claim) error {
	j, err := run.claimedBy(job, claim.Token)
	if err != nil {
		return err
	}
	stopped := run.stopOf(j) != nil && !j.Outside
	if n := j.Troubles + 1; n < maxTroubles || stopped {
		// Not at the same moment as the others that died with it: one of them may be what killed it.
		wait := troubleBackoff(min(n, maxTroubles))
		return run.HandBack(job, claim.Token, "its worker "+claim.Worker+" died", s.Now().Add(wait/2+rand.N(wait)), true)
	}
	return run.Finish(job, claim.Token, Result{Conclusion: Failure, Summary: fmt.Sprintf(
		"its worker died while it ran, the last of %d internal errors in Slipway. Retry later, or ask its operator: it may need more memory.",
		maxTroubles)}, j.ResultKey, s.Now())
}
