package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// clickAgain is when a click on a run that is still under way is looked at again.
const clickAgain = 10 * time.Second

// click decides about a click on one of our checks: a button, or Re-run.
func (p *Planner) click(ctx context.Context, e Event, d Delivery, decision Decision) (Decision, error) {
	if e.Sender.Type != "User" {
		return decision.conclude(OutcomeIgnored, "%s is not a person: clicks of bots are not carried out", e.Sender.Login), nil
	}
	run, job, round, err := p.clicked(ctx, e)
	if errors.Is(err, ErrNotFound) {
		return decision.conclude(OutcomeIgnored, "the check belongs to no run that is kept here"), nil
	}
	if err != nil {
		return decision, err
	}
	observing, err := p.observing(ctx, e.Repository, d)
	if err != nil {
		return decision, err
	}
	if observing != "" {
		return decision.conclude(OutcomeObserve, "%s", observing), nil
	}
	newest, err := p.newestAttempt(ctx, run)
	if err != nil {
		return decision, err
	}
	i := &interaction{p: p, e: e, key: d.GUID, decision: decision}
	i.decision.Command = strings.TrimSpace(string(e.Kind) + " " + e.Check.Button)
	switch {
	case !run.State.Over() && e.Kind == EventButton && e.Check.Button == ButtonApprove && underway(run, job) != nil:
	case newest.ID != run.ID && !newest.State.Over():
		return i.acted("", "run %s, attempt %d, is under way already", newest.ID, newest.attempt())
	case !newest.State.Over():
		return decision, &Later{After: clickAgain, Reason: fmt.Sprintf("run %s is still under way", newest.ID)}
	}
	if i.facts, err = p.Pulls.Permission(ctx, e.Installation, e.Repository, e.Sender); err != nil {
		return decision, fmt.Errorf("ask what %s may do: %w", e.Sender.Login, err)
	}
	if !roleAtLeast(i.facts, "write") || i.facts.PermissionOf != e.Sender.ID {
		return i.refuse("%s has no write permission on %s", e.Sender.Login, e.Repository.FullName())
	}
	command := commandOf(e, newest)
	if ok, why, err := i.may(ctx, command); err != nil || !ok {
		if err != nil {
			return decision, err
		}
		return i.refuse("%s", why)
	}
	// What a click lets through or takes back was meant for the moment (invariant 8).
	if age := p.Now().Sub(d.Received); age > CommandLife && command != "retry" {
		return i.refuse("the click came %s ago, and is carried out within %s", Duration(age.Round(time.Minute)), Duration(CommandLife))
	}
	if j := underway(newest, job); j != nil && command == "approve" && !newest.State.Over() {
		if j.Round != round {
			return i.refuse("this check's approval is no longer pending; use the button on the newest check")
		}
		return i.approveOnGitHub(ctx, newest, *j, j.Approvals, d.Received)
	}
	return i.applyClick(ctx, newest, job)
}

// underway is the job, or with "" the run's only one, when it waits on GitHub for an approval.
func underway(run Run, job string) *Job {
	for i := range run.Jobs {
		if j := &run.Jobs[i]; j.Parked && !j.State.Over() && len(j.Approvals) > 0 && (job == "" || j.Name == job) {
			return j
		}
	}
	return nil
}

// commandOf is the command that a click stands for: who may give it, may click.
func commandOf(e Event, run Run) string {
	button, _, _ := strings.Cut(e.Check.Button, ":")
	switch {
	case button == ButtonApprove && run.State == RunHeld:
		return "ok-to-test"
	case button == ButtonApprove:
		return "approve"
	case button == ButtonRollback:
		return "rollback"
	}
	return "retry"
}

// clicked is the run, the job and its round that a clicked check stands for. The job is "" for the whole run.
func (p *Planner) clicked(ctx context.Context, e Event) (run Run, job string, round int, err error) {
	if e.Check.Suite != 0 && e.Check.ID == 0 {
		run, err = p.standing(ctx, e.Repository.ID, e.Check.SHA, "")
		return run, "", 0, err
	}
	id, check, ok := strings.Cut(e.Check.ExternalID, "/")
	if !ok {
		return run, "", 0, ErrNotFound
	}
	run, err = p.find(ctx, id)
	if err == nil && (run.Repository.ID != e.Repository.ID || run.SHA != e.Check.SHA) {
		err = ErrNotFound // not what we wrote there
	}
	check, number, later := strings.Cut(check, "#")
	if later {
		if round, _ = strconv.Atoi(number); round < 1 {
			err = ErrNotFound
		}
	}
	_, job, _ = strings.Cut(check, " / ")
	return run, job, round, err
}

// applyClick does what the click asks for. The run is over.
func (i *interaction) applyClick(ctx context.Context, run Run, job string) (Decision, error) {
	if run.PullRequest > 0 {
		reason, err := i.sameHead(ctx, run)
		if err != nil {
			return i.decision, err
		}
		if reason != "" {
			return i.refuse("%s", reason)
		}
	}
	button, _, _ := strings.Cut(i.e.Check.Button, ":")
	switch {
	case i.e.Kind == EventRerun && run.Outcome != OutcomeRun:
		return i.planAnew(ctx, run)
	case i.e.Kind == EventRerun && job != "" && run.Job(job) != nil:
		return i.repeat(ctx, run, dependents(run, job))
	case i.e.Kind == EventRerun:
		names := unfinished(run)
		if len(names) == 0 || i.e.Check.ID == 0 {
			names = planned(run)
		}
		return i.repeat(ctx, run, names)
	case button == ButtonApprove && run.State == RunHeld && i.pull != nil:
		return i.approvePull(ctx)
	case button == ButtonApprove:
		return i.approveRun(ctx, run, "")
	case button == ButtonRetry:
		names := failed(run)
		if len(names) == 0 {
			return i.refuse("Nothing failed in run %s.", run.ID)
		}
		return i.repeat(ctx, run, dependents(run, names...))
	case button == ButtonRollback:
		return i.takeBackRun(ctx, run)
	}
	return i.refuse("There is no button %q.", i.e.Check.Button)
}

// takeBackRun takes back what a run rolled out, as long as it is what stands on the default branch's head: from there only is
// "the revision before" the one before that run.
func (i *interaction) takeBackRun(ctx context.Context, run Run) (Decision, error) {
	branch := i.e.Repository.DefaultBranch
	head, found, err := i.p.Commits.Head(ctx, i.e.Installation, i.e.Repository, "refs/heads/"+branch)
	if err != nil {
		return i.decision, fmt.Errorf("ask what %s is at: %w", branch, err)
	}
	if !found || head != run.SHA || run.Ref != "refs/heads/"+branch {
		return i.refuse("%s is no longer at the commit of run %s; use `/rollback <environment>`", branch, run.ID)
	}
	return i.takeBack(ctx, DeployTarget{})
}

// sameHead fills in the run's pull request as it is now. A reason means that the run is not about its head any more.
func (i *interaction) sameHead(ctx context.Context, run Run) (reason string, err error) {
	pull, err := i.p.Pulls.PullRequest(ctx, i.e.Installation, i.e.Repository, run.PullRequest)
	if err != nil {
		return "", fmt.Errorf("ask for #%d: %w", run.PullRequest, err)
	}
	i.pull = &pull
	i.about = Event{Kind: EventPullRequest, Action: "synchronize", Delivery: i.key, Installation: i.e.Installation, Repository: i.e.Repository,
		Sender: i.e.Sender, PullRequest: &pull}
	switch {
	case pull.State != "open":
		return fmt.Sprintf("#%d is closed by now.", pull.Number), nil
	case pull.HeadSHA != run.SHA:
		return fmt.Sprintf("#%d is at %s by now.", pull.Number, Abbreviate(pull.HeadSHA)), nil
	case pull.BaseRef != run.BaseBranch:
		return fmt.Sprintf("#%d goes into %s by now.", pull.Number, pull.BaseRef), nil
	}
	// The run is its own sender's, whoever clicks: a click lends no trust.
	i.about.Sender = run.Actor
	var trust TrustFacts
	if pull.HeadRepo == i.e.Repository.ID {
		if trust, err = i.p.Pulls.Permission(ctx, i.e.Installation, i.e.Repository, run.Actor); err != nil {
			return "", fmt.Errorf("ask what %s may do: %w", run.Actor.Login, err)
		}
	}
	if trust.Approval, err = i.p.approvalOf(ctx, i.about); err != nil {
		return "", err
	}
	i.describe(DecideTrust(i.about, trust, i.p.Bots))
	i.decision.Run.Actor = run.Actor
	if run.Asked == nil {
		standing, err := i.newest(ctx)
		if err == nil && standing.root() != run.root() {
			return fmt.Sprintf("run %s stands on this commit by now.", standing.ID), nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", err
		}
	}
	return "", nil
}
