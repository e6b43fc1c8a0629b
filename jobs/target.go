package jobs

import (
	"context"
	"errors"
	"fmt"
)

// locate finds out what a comment is about. A reason means that nothing can be started there; i.only is the same reason, unless
// writing the command again is all it takes.
func (i *interaction) locate(ctx context.Context) (reason string, err error) {
	e := i.e
	if e.Comment.Number == 0 {
		i.only, err = i.locateCommit(ctx, e.Comment.SHA)
		return i.only, err
	}
	pull, err := i.p.Pulls.PullRequest(ctx, e.Installation, e.Repository, e.Comment.Number)
	if err != nil {
		return "", fmt.Errorf("ask for #%d: %w", e.Comment.Number, err)
	}
	i.pull = &pull
	i.about = Event{Kind: EventPullRequest, Action: "synchronize", Delivery: i.key, Installation: e.Installation, Repository: e.Repository,
		Sender: e.Sender, PullRequest: &pull}
	if pull.Merged {
		i.only, err = i.locateMerged(ctx)
		return i.only, err
	}
	trust := i.facts
	if trust.Approval, err = i.p.approvalOf(ctx, i.about); err != nil {
		return "", err
	}
	i.describe(DecideTrust(i.about, trust, nil))
	if pull.State != "open" {
		i.only = fmt.Sprintf("#%d is closed; only `/status`, `/why` and `/help` answer here.", pull.Number)
		return i.only, nil
	}
	return i.checkHeadSeen(ctx)
}

// describe fills in what a run here would be.
func (i *interaction) describe(trust Trust) {
	run := Describe(i.about)
	run.Actor, run.Trust = i.e.Sender, trust
	run.Asked = &Asked{By: i.e.Sender, Command: i.decision.Command}
	if i.e.Comment != nil {
		run.Asked.URL = i.e.Comment.URL
	}
	i.decision.Run = run
}

// checkHeadSeen refuses when the head is not the one that the writer of a comment can have seen: it moved since, or it is not known
// when it moved.
func (i *interaction) checkHeadSeen(ctx context.Context) (reason string, err error) {
	head := i.pull.HeadSHA
	key := RefKey(i.e.Repository.ID, PullRef(i.pull.Number))
	ref, _, err := i.p.Refs.Get(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		_, err = i.p.Refs.Create(ctx, key, RefRecord{SHA: head, Since: i.p.Now(), Decided: i.p.Now()})
		if err != nil && !errors.Is(err, ErrExists) {
			return "", fmt.Errorf("note the head of #%d: %w", i.pull.Number, err)
		}
		return fmt.Sprintf("Slipway had not seen #%d before and can't tell which commit your comment is about. The head is `%s`: comment again to run the command on it.", i.pull.Number, head), nil
	case err != nil:
		return "", fmt.Errorf("read the head of #%d: %w", i.pull.Number, err)
	case ref.SHA != head, !ref.Since.IsZero() && !i.e.Comment.Created.After(ref.Since):
		return fmt.Sprintf("The pull request moved to `%s` after your comment. Review it, then comment again.", head), nil
	}
	return "", nil
}

// locateMerged targets the commit that the pull request became.
func (i *interaction) locateMerged(ctx context.Context) (reason string, err error) {
	if i.pull.MergeSHA == "" {
		i.describe(Trust{Untrusted, "GitHub names no merge commit"})
		return fmt.Sprintf("#%d is merged, but GitHub names no merge commit.", i.pull.Number), nil
	}
	return "", i.targetBranch(ctx, "refs/heads/"+i.pull.BaseRef, i.pull.MergeSHA)
}

// targetBranch targets a commit of a branch or tag.
func (i *interaction) targetBranch(ctx context.Context, ref, sha string) error {
	i.about = Event{Kind: EventPush, Delivery: i.key, Installation: i.e.Installation, Repository: i.e.Repository, Sender: i.e.Sender,
		Ref: ref, After: sha}
	i.describe(Trust{Trusted, "the commit was pushed to the repository itself"})
	var err error
	i.stale, err = i.p.atHead(ctx, i.decision.Run)
	return err
}

// maxTargets bounds the branches and tags of a commit that are looked for one that is still there, a call to GitHub each.
const maxTargets = 5

// locateCommit targets a commit of the default branch, or else that of another branch or a tag whose run stands on the commit. What
// stands there for pull requests only, such as a fork's, is spoken of on them.
func (i *interaction) locateCommit(ctx context.Context, sha string) (reason string, err error) {
	found, err := i.onDefault(ctx, sha)
	if err != nil || found {
		return "", err
	}
	pushed, err := i.p.pushed(ctx, i.e.Repository.ID, sha)
	if err != nil {
		return "", err
	}
	for _, ref := range pushed[:min(len(pushed), maxTargets)] {
		if err := i.targetBranch(ctx, ref, sha); err != nil || i.stale == "" {
			return "", err
		}
	}
	if len(pushed) > 0 { // behind on all of them
		return "", i.targetBranch(ctx, pushed[0], sha)
	}
	i.about = Event{Kind: EventPush, Repository: i.e.Repository, Installation: i.e.Installation, Sender: i.e.Sender, After: sha}
	i.describe(Trust{Untrusted, "no push to the repository is known that brought the commit"})
	return fmt.Sprintf("`%s` is not a commit of %s, and no run of another branch or a tag stands on it: give commands on the pull request it belongs to.",
		Abbreviate(sha), i.e.Repository.DefaultBranch), nil
}

// onDefault targets a commit of the default branch, and reports whether it is one.
func (i *interaction) onDefault(ctx context.Context, sha string) (found bool, err error) {
	branch := i.e.Repository.DefaultBranch
	head, found, err := i.p.Commits.Head(ctx, i.e.Installation, i.e.Repository, "refs/heads/"+branch)
	if err != nil {
		return false, fmt.Errorf("ask what %s is at: %w", branch, err)
	}
	if found && head != sha {
		status, _, err := i.p.Commits.Compare(ctx, i.e.Installation, i.e.Repository, sha, head)
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) {
			return false, fmt.Errorf("look for %s on %s: %w", Abbreviate(sha), branch, err)
		}
		found = status == "ahead" || status == "identical"
	}
	if !found {
		return false, nil
	}
	return true, i.targetBranch(ctx, "refs/heads/"+branch, sha)
}

// targetRef targets the head of a branch of the repository, or a commit of the default branch.
func (i *interaction) targetRef(ctx context.Context, ref string) (reason string, err error) {
	i.pull = nil
	if fullSHA.MatchString(ref) {
		found, err := i.onDefault(ctx, ref)
		if err != nil || found {
			return "", err
		}
		return fmt.Sprintf("`%s` is not a commit of %s: name a branch, or a whole SHA of %[2]s.", Abbreviate(ref), i.e.Repository.DefaultBranch), nil
	}
	head, found, err := i.p.Commits.Head(ctx, i.e.Installation, i.e.Repository, "refs/heads/"+ref)
	if err != nil {
		return "", fmt.Errorf("ask what %s is at: %w", ref, err)
	}
	if !found {
		return fmt.Sprintf("There is no branch `%s`: name a branch, or a whole SHA of %s.", Cut(ref, 100), i.e.Repository.DefaultBranch), nil
	}
	return "", i.targetBranch(ctx, "refs/heads/"+ref, head)
}
