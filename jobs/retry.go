package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// Again says that a run repeats an earlier one. What succeeded there and is not named is taken over with its outputs.
type Again struct {
	Run  string   `json:"run"`            // the earlier run, which is over
	Jobs []string `json:"jobs,omitempty"` // to be done again, with what needs them
}

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

// retry does again what failed.
func (i *interaction) retry(ctx context.Context, names []string) (Decision, error) {
	runs, err := i.here(ctx)
	if err != nil {
		return i.decision, err
	}
	if len(runs) == 0 {
		return i.refuse("There is no run on `%s`.", Abbreviate(i.about.SHA()))
	}
	run := runs[0]
	for _, r := range runs { // the commit's own run first, then what was asked for
		if r.State.Over() && len(failed(r)) > 0 && (len(names) == 0 || r.Job(names[0]) != nil) {
			run = r
			break
		}
	}
	if !run.State.Over() {
		return i.refuse("Run %s is still under way; retry when it is over, or `/cancel` it first.", run.ID)
	}
	for _, name := range names {
		j := run.Job(name)
		if j == nil || j.Unplanned {
			return i.refuse("Run %s has no job `%s`; nothing was started.", run.ID, name)
		}
		if j.State != JobFailed && j.State != JobCancelled {
			return i.refuse("Job `%s` did not fail, it is %s; nothing was started.", name, j.State)
		}
	}
	if len(names) == 0 {
		if names = failed(run); len(names) == 0 {
			return i.refuse("Nothing failed in run %s.", run.ID)
		}
	}
	return i.repeat(ctx, run, dependents(run, names...))
}

// repeat decides to do the named jobs of a run once more.
func (i *interaction) repeat(ctx context.Context, run Run, names []string) (Decision, error) {
	if run.Outcome != OutcomeRun {
		return i.refuse("Run %s started nothing that could be done again: %s.", run.ID, run.Reason)
	}
	if run.attempt() >= maxAttempts {
		return i.refuse("Run %s was repeated %d times; push again.", run.ID, maxAttempts)
	}
	first, _, err := i.p.Decisions.Get(ctx, run.Delivery)
	if errors.Is(err, ErrNotFound) {
		return i.refuse("What was decided about run %s is no longer kept; push again.", run.ID)
	}
	if err != nil {
		return i.decision, fmt.Errorf("read the decision %s: %w", run.Delivery, err)
	}
	d := &i.decision
	// A pull request's run is repeated with the trust it had, so it must have it still.
	if run.PullRequest > 0 && trustRank(d.Run.Trust.Level) < trustRank(run.Trust.Level) {
		return i.refuse("Run %s was %s, and that does not hold any more: %s.", run.ID, run.Trust.Level, d.Run.Trust.Reason)
	}
	approved := d.Run.Approved
	d.Run, d.Plan, d.Stale, d.Shown = run.again(), first.Plan, first.Stale, true
	for _, environment := range approved {
		if !slices.Contains(d.Run.Approved, environment) {
			d.Run.Approved = append(slices.Clone(d.Run.Approved), environment)
		}
	}
	d.Again = &Again{Run: run.ID, Jobs: names}
	d.Outcome = OutcomeRun
	d.Reason = fmt.Sprintf("attempt %d, asked for by %s: %s", d.Run.Attempt, i.e.Sender.Login, plural(len(names), "job"))
	return *d, nil
}

// planAnew plans a run again that started nothing the last time: it was held, faulty or had nothing to do.
func (i *interaction) planAnew(ctx context.Context, run Run) (Decision, error) {
	if i.pull == nil {
		i.about = Event{Kind: run.Event, Delivery: i.key, Installation: i.e.Installation, Repository: i.e.Repository, Sender: run.Actor,
			Ref: run.Ref, After: run.SHA, Changes: Changes{Why: "it is planned again"}}
		i.decision.Run = run.RunInfo
		var err error
		if i.stale, _, err = i.p.judge(ctx, i.about); err != nil {
			return i.decision, err
		}
	}
	next := run.again()
	d, err := i.plan(ctx, nil)
	if err != nil || d.Outcome == OutcomeRefused {
		return d, err
	}
	d.Run.ID, d.Run.Root, d.Run.Attempt, d.Run.Asked = next.ID, next.Root, next.Attempt, nil
	return d, nil
}

// failed are the jobs of a run that failed or were cancelled.
func failed(run Run) []string {
	var names []string
	for _, j := range run.Jobs {
		if j.State == JobFailed || j.State == JobCancelled {
			names = append(names, j.Name)
		}
	}
	return names
}

// planned are the jobs of a run that were for its event.
func planned(run Run) []string {
	var names []string
	for _, j := range run.Jobs {
		if !j.Unplanned {
			names = append(names, j.Name)
		}
	}
	return names
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
			j.Attempt, j.Earlier = before.Attempt+1, before.Earlier
			if !before.Started.IsZero() {
				j.Earlier = cmp.Or(before.ReusedFrom, earlier.ID)
			}
		default:
			*j = *before
			j.Reused, j.ReusedFrom = true, cmp.Or(before.ReusedFrom, earlier.ID)
		}
	}
	return r
}
