package jobs

import (
	"context"
	"errors"
	"fmt"
)

// locate finds out what the wish is about. A reason means that nothing can be started there.
func (w *wish) locate(ctx context.Context) (reason string, err error) {
	e := w.e
	if e.Comment.Number == 0 {
		return w.locateCommit(ctx, e.Comment.SHA)
	}
	pull, err := w.p.Pulls.PullRequest(ctx, e.Installation, e.Repository, e.Comment.Number)
	if err != nil {
		return "", fmt.Errorf("ask for #%d: %w", e.Comment.Number, err)
	}
	w.pull = &pull
	w.about = Event{Kind: EventPullRequest, Action: "synchronize", Delivery: w.key, Installation: e.Installation, Repository: e.Repository,
		Sender: e.Sender, PullRequest: &pull}
	if pull.Merged {
		return w.locateMerged(ctx)
	}
	trust := w.facts
	if trust.Approval, err = w.p.approvalOf(ctx, w.about); err != nil {
		return "", err
	}
	w.describe(DecideTrust(w.about, trust, nil))
	if pull.State != "open" {
		return fmt.Sprintf("#%d is closed; only `/status`, `/why` and `/help` answer here.", pull.Number), nil
	}
	return w.saw(ctx)
}

// describe fills in what a run here would be.
func (w *wish) describe(trust Trust) {
	run := Describe(w.about)
	run.Actor, run.Trust = w.e.Sender, trust
	run.Asked = &Asked{By: w.e.Sender, Command: w.decision.Command}
	if w.e.Comment != nil {
		run.Asked.URL = w.e.Comment.URL
	}
	w.decision.Run = run
}

// saw refuses when the head is not the one that the writer of a comment can have seen: it moved since, or it is not known
// when it moved.
func (w *wish) saw(ctx context.Context) (reason string, err error) {
	head := w.pull.HeadSHA
	key := RefKey(w.e.Repository.ID, PullRef(w.pull.Number))
	ref, _, err := w.p.Refs.Get(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		_, err = w.p.Refs.Create(ctx, key, RefRecord{SHA: head, Since: w.p.Now(), Decided: w.p.Now()})
		if err != nil && !errors.Is(err, ErrExists) {
			return "", fmt.Errorf("note the head of #%d: %w", w.pull.Number, err)
		}
		return fmt.Sprintf("Slipway sees #%d for the first time and can't know which commit you saw. It is at `%s`: write the command again to mean that.", w.pull.Number, head), nil
	case err != nil:
		return "", fmt.Errorf("read the head of #%d: %w", w.pull.Number, err)
	case ref.SHA != head, !ref.Since.IsZero() && !w.e.Comment.Created.After(ref.Since):
		return fmt.Sprintf("The pull request moved to `%s` since you wrote this: look at that, and write the command again to mean it.", head), nil
	}
	return "", nil
}

// locateMerged places the wish on the commit that the pull request became.
func (w *wish) locateMerged(ctx context.Context) (reason string, err error) {
	if w.pull.MergeSHA == "" {
		w.describe(Trust{Untrusted, "GitHub names no merge commit"})
		return fmt.Sprintf("#%d is merged, but GitHub names no merge commit.", w.pull.Number), nil
	}
	return "", w.place(ctx, w.pull.BaseRef, w.pull.MergeSHA)
}

// place puts the wish on a commit of a branch.
func (w *wish) place(ctx context.Context, branch, sha string) error {
	w.about = Event{Kind: EventPush, Delivery: w.key, Installation: w.e.Installation, Repository: w.e.Repository, Sender: w.e.Sender,
		Ref: "refs/heads/" + branch, After: sha}
	w.describe(Trust{Trusted, "the commit is on a branch of the repository"})
	var err error
	w.stale, err = w.p.atHead(ctx, w.decision.Run)
	return err
}

func (w *wish) locateCommit(ctx context.Context, sha string) (reason string, err error) {
	branch := w.e.Repository.DefaultBranch
	head, found, err := w.p.Commits.Head(ctx, w.e.Installation, w.e.Repository, "refs/heads/"+branch)
	if err != nil {
		return "", fmt.Errorf("ask what %s is at: %w", branch, err)
	}
	if found && head != sha {
		status, _, err := w.p.Commits.Compare(ctx, w.e.Installation, w.e.Repository, sha, head)
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) {
			return "", fmt.Errorf("look for %s on %s: %w", Abbreviate(sha), branch, err)
		}
		found = status == "ahead" || status == "identical"
	}
	if !found {
		w.about = Event{Kind: EventPush, Repository: w.e.Repository, Installation: w.e.Installation, Sender: w.e.Sender, After: sha}
		w.describe(Trust{Untrusted, "the commit is not on the default branch"})
		return fmt.Sprintf("`%s` is not a commit of %s: give commands on the pull request it belongs to.", Abbreviate(sha), branch), nil
	}
	return "", w.place(ctx, branch, sha)
}

// elsewhere places the wish on the head of a branch of the repository, or on a commit of the default branch.
func (w *wish) elsewhere(ctx context.Context, ref string) (reason string, err error) {
	w.pull = nil
	if fullSHA.MatchString(ref) {
		return w.locateCommit(ctx, ref)
	}
	head, found, err := w.p.Commits.Head(ctx, w.e.Installation, w.e.Repository, "refs/heads/"+ref)
	if err != nil {
		return "", fmt.Errorf("ask what %s is at: %w", ref, err)
	}
	if !found {
		return fmt.Sprintf("There is no branch `%s`: name a branch, or a whole SHA of %s.", Cut(ref, 100), w.e.Repository.DefaultBranch), nil
	}
	return "", w.place(ctx, ref, head)
}
