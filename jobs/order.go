package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// judge tells whether a pushed commit is behind its branch, which what was decided before, or else GitHub, knows. known
// is the commit it was held against.
func (p *Planner) judge(ctx context.Context, e Event) (stale, known string, err error) {
	if e.Branch() == "" {
		return "", "", nil
	}
	ref, _, err := p.Refs.Get(ctx, RefKey(e.Repository.ID, e.Ref))
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return "", "", fmt.Errorf("read what %s stands at: %w", e.Branch(), err)
	case ref.SHA == e.After || ref.SHA == e.Before && !e.Forced:
		return "", ref.SHA, nil
	}
	if ref.SHA != "" && !e.Forced {
		status, _, err := p.Commits.Compare(ctx, e.Installation, e.Repository, ref.SHA, e.After)
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) {
			return "", "", fmt.Errorf("compare %s with the branch's newest: %w", Abbreviate(e.After), err)
		}
		switch status {
		case "ahead", "identical":
			return "", ref.SHA, nil
		case "behind":
			return fmt.Sprintf("%s is at %s by now", e.Branch(), Abbreviate(ref.SHA)), ref.SHA, nil
		}
	}
	// First seen, forced or diverged: only the branch itself can tell.
	stale, err = p.atHead(ctx, Describe(e))
	return stale, ref.SHA, err
}

// atHead asks GitHub whether the run's branch is at its commit; if not, the reason says where it is.
func (p *Planner) atHead(ctx context.Context, run RunInfo) (reason string, err error) {
	head, found, err := p.Commits.Head(ctx, run.Installation, run.Repository, run.Ref)
	switch {
	case err != nil:
		return "", fmt.Errorf("ask what %s is at: %w", run.Branch, err)
	case !found:
		return run.Branch + " is deleted by now", nil
	case head != run.SHA:
		return fmt.Sprintf("%s is at %s by now", run.Branch, Abbreviate(head)), nil
	}
	return "", nil
}

// moveRefs notes what a decision means for its ref and its commit.
func (p *Planner) moveRefs(ctx context.Context, d Decision) (superseded string, err error) {
	if d.Run.SHA == "" || d.Command != "" && d.Run.ID == "" { // a wish that started nothing moves nothing
		return "", nil
	}
	switch {
	case d.Run.Asked != nil: // it stands beside the ref's own run
		err = p.noteRef(ctx, RefKey(d.Run.Repository.ID, d.Run.Ref), RefRecord{SHA: d.Run.SHA, Decided: d.Time})
	case d.Again != nil:
		err = p.nextAttempt(ctx, d)
	default:
		superseded, err = p.moveRef(ctx, d)
	}
	if err == nil && d.Run.ID != "" {
		err = p.standOn(ctx, d.Run, d.Time)
	}
	return superseded, err
}

// noteRef creates a ref's record where there is none, so that what is newest can be asked.
func (p *Planner) noteRef(ctx context.Context, key string, record RefRecord) error {
	_, err := p.Refs.Create(ctx, key, record)
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("note where a ref stands: %w", err)
	}
	return nil
}

// nextAttempt makes the repeated run the one that a newer push to the pull request supersedes.
func (p *Planner) nextAttempt(ctx context.Context, d Decision) error {
	_, err := Change(ctx, p.Refs, RefKey(d.Run.Repository.ID, d.Run.Ref), func(ref *RefRecord) error {
		if ref.SHA != d.Run.SHA || ref.Run == d.Run.ID || ref.Decided.After(d.Time) {
			return ErrUnchanged
		}
		ref.Run, ref.Decided = d.Run.ID, d.Time
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("note the next attempt on %s: %w", short(d.Run.Ref), err)
	}
	return nil
}

// Bounds of what is kept of one commit.
const (
	maxStands = 50 // refs; what is beyond posts no check of the whole
	maxAsked  = 20
)

// standOn notes a run as the newest of its ref on its commit, or as one that somebody asked for there.
func (p *Planner) standOn(ctx context.Context, run RunInfo, decided time.Time) error {
	return p.commit(ctx, run.Repository.ID, run.SHA, func(c *RefRecord) bool {
		if run.Asked != nil {
			if slices.Contains(c.Asked, run.ID) {
				return false
			}
			c.Asked = append(c.Asked, run.ID)
			c.Asked = c.Asked[max(len(c.Asked)-maxAsked, 0):]
			return true
		}
		known, ok := c.Stands[run.Ref]
		if ok && (known.Run == run.ID || known.Decided.After(decided)) {
			return false
		}
		trusted := run.Trust.Level == Trusted
		if !ok && len(c.Stands) >= maxStands && !(trusted && c.makeRoom()) {
			return false
		}
		if c.Stands == nil {
			c.Stands = map[string]Stand{}
		}
		c.Stands[run.Ref] = Stand{run.ID, decided, trusted}
		if !c.Decided.After(decided) {
			c.Run, c.Decided = run.ID, decided
		}
		return true
	})
}

// makeRoom drops the oldest that is not trusted, so that strangers can't keep others from standing on a commit. It reports
// whether there was one.
func (r *RefRecord) makeRoom() bool {
	oldest := ""
	for ref, s := range r.Stands {
		if !s.Trusted && (oldest == "" || s.Decided.Before(r.Stands[oldest].Decided)) {
			oldest = ref
		}
	}
	delete(r.Stands, oldest)
	return oldest != ""
}

// leave takes a closed pull request's run from its commit: it says nothing about the commit any more.
func (p *Planner) leave(ctx context.Context, e Event) error {
	return p.commit(ctx, e.Repository.ID, e.PullRequest.HeadSHA, func(c *RefRecord) bool {
		ref := PullRef(e.PullRequest.Number)
		_, ok := c.Stands[ref]
		delete(c.Stands, ref)
		return ok
	})
}

// commit changes what is kept of a commit; change reports whether it did.
func (p *Planner) commit(ctx context.Context, repository int64, sha string, change func(*RefRecord) bool) error {
	key := RefKey(repository, commitRef(sha))
	for {
		c, revision, err := p.Refs.Get(ctx, key)
		switch {
		case errors.Is(err, ErrNotFound):
			c = RefRecord{SHA: sha}
			if !change(&c) {
				return nil
			}
			_, err = p.Refs.Create(ctx, key, c)
		case err != nil:
		case !change(&c):
			return nil
		default:
			_, err = p.Refs.Update(ctx, key, c, revision)
		}
		if errors.Is(err, ErrExists) || errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("note what stands on %s: %w", Abbreviate(sha), err)
		}
		return nil
	}
}

// moveRef notes that the decision's commit is its ref's newest. A pull request's older run is stopped first. When
// another decision on the pull request was later, the reason is returned why this one's run must not start.
func (p *Planner) moveRef(ctx context.Context, d Decision) (superseded string, err error) {
	if d.Stale != "" || d.Run.SHA == "" || d.Outcome == OutcomeIgnored || d.Outcome == OutcomeObserve ||
		d.Run.Event == EventPullRequest && d.Run.ID == "" {
		return "", nil
	}
	key := RefKey(d.Run.Repository.ID, d.Run.Ref)
	next := RefRecord{SHA: d.Run.SHA, Run: d.Run.ID, Outcome: d.Outcome, Decided: d.Time}
	if d.Run.Action == "synchronize" { // its writer knew the head before
		next.Since = d.Happened
	}
	for {
		ref, revision, err := p.Refs.Get(ctx, key)
		if ref.SHA == next.SHA && err == nil {
			next.Since = ref.Since
		}
		if errors.Is(err, ErrNotFound) {
			_, err = p.Refs.Create(ctx, key, next)
		} else if err == nil {
			var move bool
			if move, superseded, err = p.mayMove(ctx, ref, d); err == nil && !move {
				return superseded, nil
			} else if err == nil {
				_, err = p.Refs.Update(ctx, key, next, revision)
			}
		}
		if errors.Is(err, ErrExists) || errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("note that %s is at %s: %w", short(d.Run.Ref), Abbreviate(d.Run.SHA), err)
		}
		return "", nil
	}
}

// mayMove decides whether a ref's record gives way to a decision, and stops a pull request's older run if so.
func (p *Planner) mayMove(ctx context.Context, ref RefRecord, d Decision) (move bool, superseded string, err error) {
	switch {
	case ref.Run == d.Run.ID && ref.SHA == d.Run.SHA:
		return false, "", nil
	case d.Run.Event == EventPullRequest && ref.Decided.After(d.Time):
		return false, fmt.Sprintf("superseded by run %s on %s", ref.Run, Abbreviate(ref.SHA)), nil
	case d.Run.Event == EventPullRequest:
		if ref.Run != "" {
			reason := fmt.Sprintf("superseded by a newer push, %s", Abbreviate(d.Run.SHA))
			err = p.stop(ctx, ref.Run, Stop{Reason: reason, Time: p.Now(), Superseded: true})
		}
		return err == nil, "", err
	case d.Run.Branch != "" && ref.SHA != d.Judged && ref.SHA != d.Run.SHA:
		// Another push was decided at the same moment: which of the two is newer only the branch can tell.
		behind, err := p.atHead(ctx, d.Run)
		return err == nil && behind == "", "", err
	}
	return !ref.Decided.After(d.Time), "", nil
}

func (p *Planner) stop(ctx context.Context, id string, stop Stop) error {
	_, err := Change(ctx, p.Runs, id, func(run *Run) error {
		if !run.RequestStop(stop) {
			return ErrUnchanged
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("stop run %s: %w", id, err)
	}
	return nil
}
