package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// maxAttempts bounds how often one run is repeated.
const maxAttempts = 100

// AttemptID is the ID of the n-th attempt of a run: the run itself, or what repeats it. Two people who ask for the same
// attempt at the same moment get the same run.
func AttemptID(root string, n int) string {
	if n <= 1 {
		return root
	}
	return RunID(fmt.Sprintf("%s attempt %d", root, n))
}

// root is the first of the runs that this one repeats.
func (r RunInfo) root() string {
	if r.Root != "" {
		return r.Root
	}
	return r.ID
}

// attempt is which one this is, from 1.
func (r RunInfo) attempt() int { return max(r.Attempt, 1) }

// again is what a run that repeats this one is.
func (r RunInfo) again() RunInfo {
	next := r
	next.Root, next.Attempt = r.root(), r.attempt()+1
	next.ID = AttemptID(next.Root, next.Attempt)
	return next
}

// find looks for a run among the active ones and in the archive.
func (p *Planner) find(ctx context.Context, id string) (Run, error) {
	run, _, err := p.Runs.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		run, _, err = p.Archive.Get(ctx, id)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("look for run %s: %w", id, err)
	}
	return run, err
}

// newestAttempt is the last of the runs that repeat the given one, or that one itself.
func (p *Planner) newestAttempt(ctx context.Context, run Run) (Run, error) {
	for run.attempt() < maxAttempts {
		next, err := p.find(ctx, run.again().ID)
		if errors.Is(err, ErrNotFound) {
			return run, nil
		}
		if err != nil {
			return run, err
		}
		run = next
	}
	return run, nil
}

// unfinished are the jobs of a run that did not succeed, as far as they were planned.
func unfinished(run Run) []string {
	var names []string
	for _, j := range run.Jobs {
		if !j.Unplanned && j.State != JobSucceeded {
			names = append(names, j.Name)
		}
	}
	return names
}

// dependents are the named jobs and all that need them, as far as they were planned.
func dependents(run Run, names ...string) []string {
	again := slices.Clone(names)
	for grown := true; grown; {
		grown = false
		for _, j := range run.Jobs {
			if j.Unplanned || slices.Contains(again, j.Name) {
				continue
			}
			if slices.ContainsFunc(j.Needs, func(need string) bool { return slices.Contains(again, need) }) {
				again, grown = append(again, j.Name), true
			}
		}
	}
	return again
}

// nextRun makes the run of a decision that asks for another attempt, from its plan, which is that of the first attempt:
// what is to be done again waits as it did at first, all else is taken over as it ended.
func nextRun(d Decision, earlier Run) Run {
	d.Outcome = OutcomeRun
	r := NewRun(d)
	for i := range r.Jobs {
		j := &r.Jobs[i]
		before := earlier.Job(j.Name)
		switch {
		case j.State != JobWaiting || before == nil || before.Unplanned:
		case slices.Contains(d.Again.Jobs, j.Name):
			j.Attempt = before.Attempt + 1
		default:
			*j = *before
			j.Taken, j.From = true, cmp.Or(before.From, earlier.ID)
		}
	}
	return r
}
