package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// What stands on a commit: its runs, and the wishes that change them.

// commitRef is the name under which the newest run of a commit is kept among the refs.
func commitRef(sha string) string { return "commit/" + sha }

// newest is the newest attempt of the run that stands on the wish's commit, or ErrNotFound.
func (w *wish) newest(ctx context.Context) (Run, error) {
	return w.p.standing(ctx, w.e.Repository.ID, w.about.SHA())
}

func (p *Planner) standing(ctx context.Context, repository int64, sha string) (Run, error) {
	ref, _, err := p.Refs.Get(ctx, RefKey(repository, commitRef(sha)))
	if err != nil || ref.Run == "" {
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Run{}, fmt.Errorf("look for the run of %s: %w", Abbreviate(sha), err)
		}
		return Run{}, ErrNotFound
	}
	run, err := p.find(ctx, ref.Run)
	if err != nil {
		return run, err
	}
	return p.newestAttempt(ctx, run)
}

// active are the runs under way for the wish's pull request or commit, oldest first.
func (w *wish) active(ctx context.Context) ([]Run, error) {
	var found []Run
	err := w.p.Runs.All(ctx, func(_ string, run Run, _ uint64) error {
		here := run.SHA == w.about.SHA() || w.pull != nil && !w.pull.Merged && run.PullRequest == w.pull.Number
		if run.Repository.ID == w.e.Repository.ID && here && !run.State.Over() {
			found = append(found, run)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list active runs: %w", err)
	}
	slices.SortFunc(found, func(a, b Run) int { return a.Created.Compare(b.Created) })
	return found, nil
}

// cancel stops what is queued or running here.
func (w *wish) cancel(ctx context.Context, names []string) (Decision, error) {
	active, err := w.active(ctx)
	if err != nil {
		return w.decision, err
	}
	if len(active) == 0 {
		return w.refuse("Nothing is queued or running here.")
	}
	reason := "cancelled by " + w.e.Sender.Login
	if len(names) == 0 {
		for _, run := range active {
			w.decision.Stops = append(w.decision.Stops, Stopping{Run: run.ID, Reason: reason})
		}
		return w.acted("", "stopping %s", plural(len(active), "run"))
	}
	for _, name := range names {
		stopping := len(w.decision.Stops)
		for _, run := range active {
			if j := run.Job(name); j != nil && !j.State.Over() {
				w.decision.Stops = append(w.decision.Stops, Stopping{Run: run.ID, Job: name, Reason: reason})
			}
		}
		if len(w.decision.Stops) == stopping {
			w.decision.Stops = nil
			return w.refuse("No job `%s` is queued or running here; nothing was stopped.", name)
		}
	}
	return w.acted("", "stopping %s", plural(len(names), "job"))
}

// retry does again what failed.
func (w *wish) retry(ctx context.Context, names []string) (Decision, error) {
	run, err := w.newest(ctx)
	if errors.Is(err, ErrNotFound) {
		return w.refuse("There is no run on `%s`.", Abbreviate(w.about.SHA()))
	}
	if err != nil {
		return w.decision, err
	}
	if !run.State.Over() {
		return w.refuse("Run %s is still under way; retry when it is over, or `/cancel` it first.", run.ID)
	}
	for _, name := range names {
		j := run.Job(name)
		if j == nil || j.Unplanned {
			return w.refuse("Run %s has no job `%s`; nothing was started.", run.ID, name)
		}
		if j.State != JobFailed && j.State != JobCancelled {
			return w.refuse("Job `%s` did not fail, it is %s; nothing was started.", name, j.State)
		}
	}
	if len(names) == 0 {
		if names = failed(run); len(names) == 0 {
			return w.refuse("Nothing failed in run %s.", run.ID)
		}
	}
	return w.repeat(ctx, run, dependents(run, names...))
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

// repeat decides to do the named jobs of a run once more.
func (w *wish) repeat(ctx context.Context, run Run, names []string) (Decision, error) {
	if run.Outcome != OutcomeRun {
		return w.refuse("Run %s started nothing that could be done again: %s.", run.ID, run.Reason)
	}
	if run.attempt() >= maxAttempts {
		return w.refuse("Run %s was repeated %d times; push again.", run.ID, maxAttempts)
	}
	first, _, err := w.p.Decisions.Get(ctx, run.Delivery)
	if errors.Is(err, ErrNotFound) {
		return w.refuse("What was decided about run %s is no longer kept; push again.", run.ID)
	}
	if err != nil {
		return w.decision, fmt.Errorf("read the decision %s: %w", run.Delivery, err)
	}
	d := &w.decision
	approved := d.Run.Approved
	d.Run, d.Plan, d.Stale, d.Shown = run.again(), first.Plan, first.Stale, true
	for _, environment := range approved {
		if !slices.Contains(d.Run.Approved, environment) {
			d.Run.Approved = append(slices.Clone(d.Run.Approved), environment)
		}
	}
	d.Again = &Again{Run: run.ID, Jobs: names}
	d.Outcome = OutcomeRun
	d.Reason = fmt.Sprintf("attempt %d, asked for by %s: %s", d.Run.Attempt, w.e.Sender.Login, plural(len(names), "job"))
	return *d, nil
}

// approve lets rollouts to an environment go on that wait for it.
func (w *wish) approve(ctx context.Context, environment string) (Decision, error) {
	run, err := w.newest(ctx)
	if errors.Is(err, ErrNotFound) {
		return w.refuse("There is no run on `%s`.", Abbreviate(w.about.SHA()))
	}
	if err != nil {
		return w.decision, err
	}
	return w.approveRun(ctx, run, environment)
}

// approveRun notes an approval of what of a run waits for an environment, "" for all that wait, and goes on when there are
// enough.
func (w *wish) approveRun(ctx context.Context, run Run, environment string) (Decision, error) {
	var waits, environments []string
	for _, j := range run.Jobs {
		if j.State != JobHeld || environment != "" && !slices.Contains(j.Awaits, environment) {
			continue
		}
		waits = append(waits, j.Name)
		environments = append(environments, j.Awaits...)
	}
	slices.Sort(environments)
	environments = slices.Compact(environments)
	if len(environments) == 0 {
		if environment == "" {
			return w.refuse("Nothing waits for approval here.")
		}
		return w.refuse("Nothing waits for an approval of `%s` here.", environment)
	}
	if !run.State.Over() {
		return w.refuse("Run %s is still under way; approve when it is over.", run.ID)
	}
	if environment != "" {
		environments = []string{environment}
	}
	var done []string
	for _, name := range environments {
		count, need, refusal, err := w.approval(ctx, run, name)
		if err != nil {
			return w.decision, err
		}
		if refusal != "" {
			return w.refuse("%s", refusal)
		}
		if count < need {
			return w.acted(fmt.Sprintf("`%s` has %d of %s.", name, count, plural(need, "approval")), "%d of %s of %s", count, plural(need, "approval"), name)
		}
		done = append(done, name)
	}
	w.decision.Run.Approved = done
	return w.repeat(ctx, run, dependents(run, waits...))
}

// approval notes one approval of an environment for the run's commit and counts those there are.
func (w *wish) approval(ctx context.Context, run Run, environment string) (count, need int, refusal string, err error) {
	grant := w.p.Rules.Grant(run.RunInfo)
	at := slices.IndexFunc(grant.Environments, func(e EnvironmentGrant) bool { return e.Name == environment })
	if at < 0 {
		return 0, 0, fmt.Sprintf("The operator grants this repository no environment `%s`.", environment), nil
	}
	rule := grant.Environments[at].Approvals
	policy := CommandPolicy{Users: rule.Users, Teams: rule.Teams}
	if len(rule.Users)+len(rule.Teams) == 0 {
		policy.Role = "write"
	}
	var teams []string
	for _, team := range policy.Teams {
		in, err := w.p.People.InTeam(ctx, w.e.Installation, w.e.Repository, team, w.e.Sender)
		if err != nil {
			return 0, 0, "", fmt.Errorf("ask whether %s is in %s: %w", w.e.Sender.Login, team, err)
		}
		if in {
			teams = append(teams, team)
		}
	}
	if ok, why := MayAsk("approve", w.e.Sender, w.facts, policy, teams); !ok {
		return 0, 0, fmt.Sprintf("%s for %s.", why, environment), nil
	}
	a := Approval{Repository: w.e.Repository.ID, SHA: run.SHA, Environment: environment, By: w.e.Sender, Permission: w.facts.Permission, Cause: w.key, Time: w.p.Now()}
	given, err := w.p.approve(ctx, EnvironmentApprovalKey(a.Repository, environment, run.SHA), a)
	if err != nil {
		return 0, 0, "", err
	}
	w.decision.Approval = &a
	who := map[int64]bool{}
	for _, g := range given {
		who[g.By.ID] = true
	}
	return len(who), max(rule.Count, 1), "", nil
}
