package jobs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// A RefRecord is what we know of a branch or pull request: its newest run and commit.
type RefRecord struct {
	SHA     string    `json:"sha"`
	Since   time.Time `json:"since,omitzero"` // when it became that, by GitHub's clock
	Run     string    `json:"run,omitempty"`  // newest run, empty when that commit started none
	Outcome Outcome   `json:"outcome"`        // of the decision behind it
	Decided time.Time `json:"decided"`
	// On a commit's record only: the newest run of each ref, and the last runs that people asked for (at most 20).
	Stands map[string]Stand `json:"stands,omitempty"`
	Asked  []string         `json:"asked,omitempty"`
}

// A Stand is the newest run of one ref on a commit.
type Stand struct {
	Run     string    `json:"run"`
	Decided time.Time `json:"decided"`
	Trusted bool      `json:"trusted,omitempty"`
}

// RefKey is the key of the RefRecord of a ref such as refs/heads/main or refs/pull/7/head. Refs hold characters that
// keys may not, so the key is a hash beside the repository's ID.
func RefKey(repository int64, ref string) string {
	h := fnv.New128a()
	h.Write([]byte(ref))
	return fmt.Sprintf("%d.%x", repository, h.Sum(nil))
}

// judge reports whether a pushed commit is behind its branch: by the branch's record when that suffices, else by asking GitHub.
// known is the recorded commit it was compared with.
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

// atHead asks GitHub whether the run's branch or tag is at its commit; if not, the reason says where it is.
func (p *Planner) atHead(ctx context.Context, run RunInfo) (reason string, err error) {
	head, found, err := p.Commits.Head(ctx, run.Installation, run.Repository, run.Ref)
	switch {
	case err != nil:
		return "", fmt.Errorf("ask what %s is at: %w", short(run.Ref), err)
	case !found:
		return short(run.Ref) + " is deleted by now", nil
	case head != run.SHA:
		return fmt.Sprintf("%s is at %s by now", short(run.Ref), Abbreviate(head)), nil
	}
	return "", nil
}

// moveRefs notes what a decision means for its ref and its commit.
func (p *Planner) moveRefs(ctx context.Context, d Decision) (superseded string, err error) {
	if d.Run.SHA == "" || d.Command != "" && d.Run.ID == "" { // what was asked for and started nothing moves nothing
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

// observedKey is where it is noted which commit of a ref was decided about without effect, beside the ref's record.
func observedKey(repository int64, ref string) string { return RefKey(repository, "observed "+ref) }

// noteObserved notes that a commit was decided about when the decision leaves no trace in its ref's record: this server only
// observed, or there was nothing to show. Otherwise the commit would look as if GitHub had sent nothing about it.
func (p *Planner) noteObserved(ctx context.Context, d Decision) error {
	switch {
	case d.Run.SHA == "", d.Run.Event != EventPush && d.Run.Event != EventPullRequest:
		return nil
	case d.Outcome == OutcomeObserve, d.Outcome == OutcomeNothing && d.Run.ID == "":
	default:
		return nil
	}
	key, next := observedKey(d.Run.Repository.ID, d.Run.Ref), RefRecord{SHA: d.Run.SHA, Outcome: d.Outcome, Decided: d.Time}
	_, err := Upsert(ctx, p.Refs, key, func(ref *RefRecord) error {
		if !d.Time.After(ref.Decided) {
			return ErrUnchanged
		}
		*ref = next
		return nil
	})
	if err != nil {
		return fmt.Errorf("note that %s was looked at: %w", short(d.Run.Ref), err)
	}
	return nil
}
