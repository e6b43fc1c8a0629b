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
	ignore := func(format string, args ...any) (Decision, error) {
		decision.Outcome, decision.Reason = OutcomeIgnored, fmt.Sprintf(format, args...)
		return decision, nil
	}
	if e.Sender.Type != "User" {
		return ignore("%s is not a person: clicks of bots are not carried out", e.Sender.Login)
	}
	run, job, round, err := p.clicked(ctx, e)
	if errors.Is(err, ErrNotFound) {
		return ignore("the check belongs to no run that is kept here")
	}
	if err != nil {
		return decision, err
	}
	observing, err := p.observing(ctx, e.Repository, d)
	if err != nil {
		return decision, err
	}
	if observing != "" {
		decision.Outcome, decision.Reason = OutcomeObserve, observing
		return decision, nil
	}
	newest, err := p.newestAttempt(ctx, run)
	if err != nil {
		return decision, err
	}
	w := &wish{p: p, e: e, key: d.GUID, decision: decision}
	w.decision.Command = strings.TrimSpace(string(e.Kind) + " " + e.Check.Button)
	switch {
	case !run.State.Over() && e.Kind == EventButton && e.Check.Button == ButtonApprove && underway(run, job) != nil:
	case newest.ID != run.ID && !newest.State.Over():
		return w.acted("", "run %s, attempt %d, is under way already", newest.ID, newest.attempt())
	case !newest.State.Over():
		return decision, &Later{After: clickAgain, Reason: fmt.Sprintf("run %s is still under way", newest.ID)}
	}
	if w.facts, err = p.Pulls.Permission(ctx, e.Installation, e.Repository, e.Sender); err != nil {
		return decision, fmt.Errorf("ask what %s may do: %w", e.Sender.Login, err)
	}
	if !roleAtLeast(w.facts, "write") || w.facts.PermissionOf != e.Sender.ID {
		return w.refuse("%s has no write permission on %s", e.Sender.Login, e.Repository.FullName())
	}
	command := commandOf(e, newest)
	if ok, why, err := w.may(ctx, command); err != nil || !ok {
		if err != nil {
			return decision, err
		}
		return w.refuse("%s", why)
	}
	// What a click lets through or takes back was meant for the moment (invariant 8).
	if age := p.Now().Sub(d.Received); age > CommandLife && command != "retry" {
		return w.refuse("the click came %s ago, and is carried out within %s", age.Round(time.Minute), CommandLife)
	}
	if j := underway(newest, job); j != nil && command == "approve" && !newest.State.Over() {
		if j.Round != round {
			return w.refuse("that check is about a wait that is over; the newest one has a button of its own")
		}
		return w.letGoOn(ctx, newest, *j, j.Awaits, d.Received)
	}
	return w.press(ctx, newest, job)
}

// underway is the job, or with "" the run's only one, when it waits on GitHub for an approval.
func underway(run Run, job string) *Job {
	for i := range run.Jobs {
		if j := &run.Jobs[i]; j.Parked && !j.State.Over() && len(j.Awaits) > 0 && (job == "" || j.Name == job) {
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

// press does what the click asks for. The run is over.
func (w *wish) press(ctx context.Context, run Run, job string) (Decision, error) {
	if run.PullRequest > 0 {
		reason, err := w.sameHead(ctx, run)
		if err != nil {
			return w.decision, err
		}
		if reason != "" {
			return w.refuse("%s", reason)
		}
	}
	button, _, _ := strings.Cut(w.e.Check.Button, ":")
	switch {
	case w.e.Kind == EventRerun && run.Outcome != OutcomeRun:
		return w.planAnew(ctx, run)
	case w.e.Kind == EventRerun && job != "" && run.Job(job) != nil:
		return w.repeat(ctx, run, dependents(run, job))
	case w.e.Kind == EventRerun:
		names := unfinished(run)
		if len(names) == 0 || w.e.Check.ID == 0 {
			names = planned(run)
		}
		return w.repeat(ctx, run, names)
	case button == ButtonApprove && run.State == RunHeld && w.pull != nil:
		return w.approvePull(ctx)
	case button == ButtonApprove:
		return w.approveRun(ctx, run, "")
	case button == ButtonRetry:
		names := failed(run)
		if len(names) == 0 {
			return w.refuse("Nothing failed in run %s.", run.ID)
		}
		return w.repeat(ctx, run, dependents(run, names...))
	case button == ButtonRollback:
		return w.takeBackRun(ctx, run)
	}
	return w.refuse("There is no button %q.", w.e.Check.Button)
}

// takeBackRun takes back what a run rolled out, as long as it is what stands on the default branch's head: from there only is
// "the revision before" the one before that run.
func (w *wish) takeBackRun(ctx context.Context, run Run) (Decision, error) {
	branch := w.e.Repository.DefaultBranch
	head, found, err := w.p.Commits.Head(ctx, w.e.Installation, w.e.Repository, "refs/heads/"+branch)
	if err != nil {
		return w.decision, fmt.Errorf("ask what %s is at: %w", branch, err)
	}
	if !found || head != run.SHA || run.Ref != "refs/heads/"+branch {
		return w.refuse("%s moved on since run %s; /rollback says what is to go back", branch, run.ID)
	}
	return w.takeBack(ctx, AskPlace{})
}

// sameHead fills in the run's pull request as it is now. A reason means that the run is not about its head any more.
func (w *wish) sameHead(ctx context.Context, run Run) (reason string, err error) {
	pull, err := w.p.Pulls.PullRequest(ctx, w.e.Installation, w.e.Repository, run.PullRequest)
	if err != nil {
		return "", fmt.Errorf("ask for #%d: %w", run.PullRequest, err)
	}
	w.pull = &pull
	w.about = Event{Kind: EventPullRequest, Action: "synchronize", Delivery: w.key, Installation: w.e.Installation, Repository: w.e.Repository,
		Sender: w.e.Sender, PullRequest: &pull}
	switch {
	case pull.State != "open":
		return fmt.Sprintf("#%d is closed by now.", pull.Number), nil
	case pull.HeadSHA != run.SHA:
		return fmt.Sprintf("#%d is at %s by now.", pull.Number, Abbreviate(pull.HeadSHA)), nil
	case pull.BaseRef != run.BaseBranch:
		return fmt.Sprintf("#%d goes into %s by now.", pull.Number, pull.BaseRef), nil
	}
	// The run is its own sender's, whoever clicks: a click lends no trust.
	w.about.Sender = run.Actor
	var trust TrustFacts
	if pull.HeadRepo == w.e.Repository.ID {
		if trust, err = w.p.Pulls.Permission(ctx, w.e.Installation, w.e.Repository, run.Actor); err != nil {
			return "", fmt.Errorf("ask what %s may do: %w", run.Actor.Login, err)
		}
	}
	if trust.Approval, err = w.p.approvalOf(ctx, w.about); err != nil {
		return "", err
	}
	w.describe(DecideTrust(w.about, trust, w.p.Bots))
	w.decision.Run.Actor = run.Actor
	if run.Asked == nil {
		standing, err := w.newest(ctx)
		if err == nil && standing.root() != run.root() {
			return fmt.Sprintf("run %s stands on this commit by now.", standing.ID), nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", err
		}
	}
	return "", nil
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

// planAnew plans a run again that started nothing the last time: it was held, faulty or had nothing to do.
func (w *wish) planAnew(ctx context.Context, run Run) (Decision, error) {
	if w.pull == nil {
		w.about = Event{Kind: run.Event, Delivery: w.key, Installation: w.e.Installation, Repository: w.e.Repository, Sender: run.Actor,
			Ref: run.Ref, After: run.SHA, Changes: Changes{Why: "it is planned again"}}
		w.decision.Run = run.RunInfo
		var err error
		if w.stale, _, err = w.p.judge(ctx, w.about); err != nil {
			return w.decision, err
		}
	}
	next := run.again()
	d, err := w.plan(ctx, nil)
	if err != nil || d.Outcome == OutcomeRefused {
		return d, err
	}
	d.Run.ID, d.Run.Root, d.Run.Attempt, d.Run.Asked = next.ID, next.Root, next.Attempt, nil
	return d, nil
}
