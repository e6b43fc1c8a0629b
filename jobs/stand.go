package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What stands on a commit: its runs, and the wishes that change them.

// commitRef is the name under which the newest run of a commit is kept among the refs.
func commitRef(sha string) string { return "commit/" + sha }

// newest is the newest attempt of the run that stands on the wish's commit for its ref, or ErrNotFound.
func (w *wish) newest(ctx context.Context) (Run, error) {
	run, err := w.p.standing(ctx, w.e.Repository.ID, w.about.SHA(), w.decision.Run.Ref)
	if errors.Is(err, ErrNotFound) && w.pull == nil { // a commit is spoken of whatever brought it
		return w.p.standing(ctx, w.e.Repository.ID, w.about.SHA(), "")
	}
	return run, err
}

// standing is the newest attempt of the run that stands on a commit for a ref, or with "" of the last one that came to
// stand there, or ErrNotFound.
func (p *Planner) standing(ctx context.Context, repository int64, sha, ref string) (Run, error) {
	c, _, err := p.Refs.Get(ctx, RefKey(repository, commitRef(sha)))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Run{}, fmt.Errorf("look for the run of %s: %w", Abbreviate(sha), err)
	}
	id := c.Run
	if ref != "" {
		id = c.Stands[ref].Run
	}
	if err != nil || id == "" {
		return Run{}, ErrNotFound
	}
	run, err := p.find(ctx, id)
	if err != nil {
		return run, err
	}
	return p.newestAttempt(ctx, run)
}

// here are the runs that a wish may be about: the one that stands on the commit, then what was asked for there, newest first.
func (w *wish) here(ctx context.Context) ([]Run, error) {
	var found []Run
	run, err := w.newest(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	} else if err == nil {
		found = append(found, run)
	}
	c, _, err := w.p.Refs.Get(ctx, RefKey(w.e.Repository.ID, commitRef(w.about.SHA())))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("look for the runs of %s: %w", Abbreviate(w.about.SHA()), err)
	}
	for _, id := range slices.Backward(c.Asked) {
		run, err := w.p.find(ctx, id)
		if err == nil {
			run, err = w.p.newestAttempt(ctx, run)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		known := slices.ContainsFunc(found, func(r Run) bool { return r.ID == run.ID })
		if err == nil && !known && run.Ref == w.decision.Run.Ref {
			found = append(found, run)
		}
	}
	return found, nil
}

// Siblings are the runs that stand on a run's commit beside it, for other refs. stands tells whether it stands there itself.
func (p *Planner) Siblings(ctx context.Context, run RunInfo) (others []Run, stands bool, err error) {
	c, _, err := p.Refs.Get(ctx, RefKey(run.Repository.ID, commitRef(run.SHA)))
	if errors.Is(err, ErrNotFound) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look for what stands on %s: %w", Abbreviate(run.SHA), err)
	}
	for ref, stand := range c.Stands {
		if ref == run.Ref {
			stands = stand.Run == run.ID
			continue
		}
		other, err := p.find(ctx, stand.Run)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		others = append(others, other)
	}
	slices.SortFunc(others, func(a, b Run) int { return a.Created.Compare(b.Created) })
	return others, stands, nil
}

// Speaks decides which runs on a commit speak in its one check that people require: those of trusted pull requests and merge
// queues before those of the default branch, these before those of strangers' pull requests, and these before what else was
// pushed. So neither a push nor a stranger's twin of a pull request says anything about it. worst is the worst of those that speak and are over; nil when
// none is.
func Speaks(run Run, others []Run) (speaks bool, worst *Run) {
	top := voice(run)
	for _, o := range others {
		top = max(top, voice(o))
	}
	consider := func(r Run) {
		if voice(r) == top && r.State.Over() && (worst == nil || severity(r) > severity(*worst)) {
			worst = &r
		}
	}
	consider(run) // first: of those that are as bad it speaks for itself
	for _, o := range others {
		consider(o)
	}
	return voice(run) == top, worst
}

// voice orders who may speak for a commit. What is on the default branch already is not a stranger's to speak of.
func voice(r Run) int {
	pull := r.Event == EventPullRequest || r.Event == EventMergeGroup
	switch {
	case pull && r.Trust.Level == Trusted:
		return 3
	case r.OnDefaultBranch():
		return 2
	case pull:
		return 1
	}
	return 0
}

func severity(r Run) int {
	return slices.Index([]RunState{RunNothing, RunSucceeded, RunWaits, RunHeld, RunCancelled, RunFailed}, r.State)
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
	runs, err := w.here(ctx)
	if err != nil {
		return w.decision, err
	}
	if len(runs) == 0 {
		return w.refuse("There is no run on `%s`.", Abbreviate(w.about.SHA()))
	}
	run := runs[0]
	for _, r := range runs { // the commit's own run first, then what was asked for
		if r.State.Over() && len(failed(r)) > 0 && (len(names) == 0 || r.Job(names[0]) != nil) {
			run = r
			break
		}
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
	// A pull request's run is repeated with the trust it had, so it must have it still.
	if run.PullRequest > 0 && trustRank(d.Run.Trust.Level) < trustRank(run.Trust.Level) {
		return w.refuse("Run %s was %s, and that does not hold any more: %s.", run.ID, run.Trust.Level, d.Run.Trust.Reason)
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
	d.Reason = fmt.Sprintf("attempt %d, asked for by %s: %s", d.Run.Attempt, w.e.Sender.Login, plural(len(names), "job"))
	return *d, nil
}

// approve lets rollouts to an environment go on that wait for it.
func (w *wish) approve(ctx context.Context, environment string) (Decision, error) {
	runs, err := w.here(ctx)
	if err != nil {
		return w.decision, err
	}
	for _, run := range runs {
		if slices.ContainsFunc(run.Jobs, func(j Job) bool { return j.State == JobHeld && slices.Contains(j.Awaits, environment) }) {
			return w.approveRun(ctx, run, environment)
		}
	}
	active, err := w.active(ctx)
	if err != nil {
		return w.decision, err
	}
	for _, run := range active {
		for _, j := range run.Jobs {
			if j.Parked && slices.Contains(j.Awaits, environment) {
				return w.letGoOn(ctx, run, j, []string{environment}, w.p.Now())
			}
		}
	}
	return w.refuse("Nothing waits for an approval of `%s` here.", environment)
}

// letGoOn orders a job under way to let what waits on GitHub for the named environments go on, in the name of who asked. Where the operator
// has an environment of that name, its own rule about approvals holds as well: GitHub lets the App in, whoever asked for it.
func (w *wish) letGoOn(ctx context.Context, run Run, j Job, environments []string, asked time.Time) (Decision, error) {
	grant := w.p.Rules.Grant(run.RunInfo)
	var short []string
	for _, name := range environments {
		if !slices.ContainsFunc(grant.Environments, func(e EnvironmentGrant) bool { return e.Name == name && e.Approvals.Needed() }) {
			continue
		}
		count, need, refusal, err := w.approval(ctx, run, name)
		switch {
		case err != nil:
			return w.decision, err
		case refusal != "":
			return w.refuse("%s", refusal)
		case count < need:
			short = append(short, fmt.Sprintf("`%s` has %d of %s", name, count, plural(need, "approval")))
		}
	}
	if len(short) > 0 {
		said := strings.Join(short, ", ")
		return w.acted(said+".", "%s", said)
	}
	order := Order{Do: OrderApprove, Names: environments, By: w.e.Sender, Cause: w.key, Time: asked}
	w.decision.Orders = []Ordering{{Run: run.ID, Job: j.Name, Order: order}}
	return w.acted("", "%s lets %s go on to %s", w.e.Sender.Login, j.Name, strings.Join(environments, ", "))
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
	var done, short []string
	for _, name := range environments { // each is noted, also when another lacks some
		count, need, refusal, err := w.approval(ctx, run, name)
		if err != nil {
			return w.decision, err
		}
		if refusal != "" {
			return w.refuse("%s", refusal)
		}
		if count < need {
			short = append(short, fmt.Sprintf("`%s` has %d of %s", name, count, plural(need, "approval")))
		}
		done = append(done, name)
	}
	if len(short) > 0 {
		said := strings.Join(short, ", ")
		return w.acted(said+".", "%s", said)
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
