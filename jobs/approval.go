package jobs

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// approvalOf is somebody's word for the head of an event's pull request, or nil.
func (p *Planner) approvalOf(ctx context.Context, e Event) (*Approval, error) {
	given, _, err := p.Approvals.Get(ctx, ApprovalKey(e.Repository.ID, e.PullRequest.Number, e.PullRequest.HeadSHA))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for an approval of #%d: %w", e.PullRequest.Number, err)
	}
	for i := range given.Given {
		if given.Given[i].binds(e) {
			return &given.Given[i], nil
		}
	}
	return nil, nil
}

// void takes back the approvals of a pull request's head that were given before it was retargeted: they stay void when it is
// pointed back. The payload's time has whole seconds; a doubt takes back.
func (p *Planner) void(ctx context.Context, e Event) error {
	_, err := Change(ctx, p.Approvals, ApprovalKey(e.Repository.ID, e.PullRequest.Number, e.PullRequest.HeadSHA), func(given *Approvals) error {
		before := len(given.Given)
		given.Given = slices.DeleteFunc(given.Given, func(a Approval) bool { return !a.Time.After(e.Time.Add(time.Second)) })
		if len(given.Given) == before {
			return ErrUnchanged
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("take back what was approved of #%d: %w", e.PullRequest.Number, err)
	}
	return nil
}

// approve writes an approval down, once for its cause, and returns all there are.
func (p *Planner) approve(ctx context.Context, key string, a Approval) ([]Approval, error) {
	for {
		given, revision, err := p.Approvals.Get(ctx, key)
		switch {
		case errors.Is(err, ErrNotFound):
			given.Given = []Approval{a}
			_, err = p.Approvals.Create(ctx, key, given)
		case err != nil:
		case slices.ContainsFunc(given.Given, func(b Approval) bool { return b.Cause == a.Cause }):
			return given.Given, nil
		default:
			given.Given = append(given.Given, a)
			_, err = p.Approvals.Update(ctx, key, given, revision)
		}
		if errors.Is(err, ErrExists) || errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("note the approval of %s: %w", a.By.Login, err)
		}
		return given.Given, nil
	}
}

var fullSHA = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// okToTest lets the exact head of a stranger's pull request be built.
func (w *wish) okToTest(ctx context.Context, args []string) (Decision, error) {
	if w.pull == nil || w.pull.Merged {
		return w.refuse("There is no open pull request to test here.")
	}
	standing, err := w.newest(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return w.decision, err
	}
	line := fmt.Sprintf("`/ok-to-test %s`", w.pull.HeadSHA)
	switch {
	case err == nil && standing.State != RunHeld && standing.Outcome == OutcomeRun && standing.Trust.Level == Trusted,
		err != nil && w.decision.Run.Trust.Level == Trusted:
		return w.refuse("Nothing here waits for that.")
	case len(args) == 0:
		return w.refuse("Say which commit you looked at. To let the newest be built, write this line:\n\n```\n/ok-to-test %s\n```", w.pull.HeadSHA)
	case len(args) != 1 || !fullSHA.MatchString(strings.ToLower(args[0])):
		return w.refuse("Name the whole SHA of the commit, as in %s.", line)
	case strings.ToLower(args[0]) != w.pull.HeadSHA:
		return w.refuse("The pull request is at another commit by now. Look at it; if it is fine, write %s.", line)
	}
	return w.approvePull(ctx)
}

// approvePull starts what an approval of the pull request's head allows, and notes it. It is never more than that, whoever
// approves: no secret and no credential was promised.
func (w *wish) approvePull(ctx context.Context) (Decision, error) {
	standing, err := w.newest(ctx)
	reason := w.decision.Run.Trust.Reason
	switch {
	case err == nil && standing.Outcome == OutcomeRun:
		return w.refuse("This commit is approved already; run %s stands on it.", standing.ID)
	case err == nil:
		reason = standing.Trust.Reason
	case !errors.Is(err, ErrNotFound):
		return w.decision, err
	}
	a := Approval{
		Repository: w.e.Repository.ID, PullRequest: w.pull.Number, BaseRef: w.pull.BaseRef, SHA: w.pull.HeadSHA,
		By: w.e.Sender, Permission: w.facts.Permission, Cause: w.key, Time: w.p.Now(),
	}
	w.decision.Run.Trust = Trust{Approved, fmt.Sprintf("%s, but %s approved this commit", reason, a.By.Login)}
	w.decision.Run.Asked = nil // it is the pull request's own run, held until now
	w.about.Action = standing.Action
	d, err := w.plan(ctx, nil)
	if err == nil && d.Outcome == OutcomeNothing {
		return w.refuse("Nothing would be built: %s.", d.Reason)
	}
	if err != nil || d.Outcome != OutcomeRun {
		return d, err
	}
	if _, err := w.p.approve(ctx, ApprovalKey(a.Repository, a.PullRequest, a.SHA), a); err != nil {
		return d, err
	}
	d.Approval = &a
	return d, nil
}
