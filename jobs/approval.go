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

// An Approval is somebody's word that a pull request's exact commit may be built, or that an exact commit may go to an
// environment. It is void for every other commit.
type Approval struct {
	Repository  int64     `json:"repository"`
	PullRequest int       `json:"pull_request,omitempty"`
	BaseRef     string    `json:"base_ref,omitempty"` // the pull request's base at that moment; another voids it
	SHA         string    `json:"sha"`
	Environment string    `json:"environment,omitempty"`
	By          Actor     `json:"by"`
	Permission  string    `json:"permission"` // the approver's on the repository at that moment
	Cause       string    `json:"cause"`      // key of the decision: the comment's command or the click's delivery
	Time        time.Time `json:"time"`
}

// Approvals are all there are for one commit of a pull request, or for one commit and environment.
type Approvals struct {
	Given []Approval `json:"given"`
}

// ApprovalKey is the key of the Approvals of a pull request's head.
func ApprovalKey(repository int64, pull int, sha string) string {
	return fmt.Sprintf("%d.pull-%d.%s", repository, pull, sha)
}

// EnvironmentApprovalKey is the key of the Approvals for a commit to go to an environment.
func EnvironmentApprovalKey(repository int64, environment, sha string) string {
	return fmt.Sprintf("%d.environment-%s.%s", repository, digest(environment), sha)
}

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
	all, err := Upsert(ctx, p.Approvals, key, func(all *Approvals) error {
		if slices.ContainsFunc(all.Given, func(b Approval) bool { return b.Cause == a.Cause }) {
			return ErrUnchanged
		}
		all.Given = append(all.Given, a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("note the approval of %s: %w", a.By.Login, err)
	}
	return all.Given, nil
}

var fullSHA = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// okToTest lets the exact head of a stranger's pull request be built.
func (i *interaction) okToTest(ctx context.Context, args []string) (Decision, error) {
	if i.pull == nil || i.pull.Merged {
		return i.refuse("There is no open pull request to test here.")
	}
	standing, err := i.newest(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return i.decision, err
	}
	line := fmt.Sprintf("`/ok-to-test %s`", i.pull.HeadSHA)
	switch {
	case err == nil && standing.State != RunHeld && standing.Outcome == OutcomeRun && standing.Trust.Level == Trusted,
		err != nil && i.decision.Run.Trust.Level == Trusted:
		return i.refuse("Nothing here waits for that.")
	case len(args) == 0:
		return i.refuse("Say which commit you looked at. To let the newest be built, write this line:\n\n```\n/ok-to-test %s\n```", i.pull.HeadSHA)
	case len(args) != 1 || !fullSHA.MatchString(strings.ToLower(args[0])):
		return i.refuse("Name the whole SHA of the commit, as in %s.", line)
	case strings.ToLower(args[0]) != i.pull.HeadSHA:
		return i.refuse("The pull request is at another commit by now. Look at it; if it is fine, write %s.", line)
	}
	return i.approvePull(ctx)
}

// approvePull starts what an approval of the pull request's head allows, and notes it. It is never more than that, whoever
// approves: no secret and no credential was promised.
func (i *interaction) approvePull(ctx context.Context) (Decision, error) {
	standing, err := i.newest(ctx)
	reason := i.decision.Run.Trust.Reason
	switch {
	case err == nil && standing.Outcome == OutcomeRun:
		return i.refuse("This commit is approved already; run %s stands on it.", standing.ID)
	case err == nil:
		reason = standing.Trust.Reason
	case !errors.Is(err, ErrNotFound):
		return i.decision, err
	}
	a := Approval{
		Repository: i.e.Repository.ID, PullRequest: i.pull.Number, BaseRef: i.pull.BaseRef, SHA: i.pull.HeadSHA,
		By: i.e.Sender, Permission: i.facts.Permission, Cause: i.key, Time: i.p.Now(),
	}
	i.decision.Run.Trust = Trust{Approved, fmt.Sprintf("%s, but %s approved this commit", reason, a.By.Login)}
	i.decision.Run.Asked = nil // it is the pull request's own run, held until now
	i.about.Action = standing.Action
	d, err := i.plan(ctx, nil)
	if err == nil && d.Outcome == OutcomeNothing {
		return i.refuse("Nothing would be built: %s.", d.Reason)
	}
	if err != nil || d.Outcome != OutcomeRun {
		return d, err
	}
	if _, err := i.p.approve(ctx, ApprovalKey(a.Repository, a.PullRequest, a.SHA), a); err != nil {
		return d, err
	}
	d.Approval = &a
	return d, nil
}

// approve lets rollouts to an environment go on that wait for it.
func (i *interaction) approve(ctx context.Context, environment string) (Decision, error) {
	runs, err := i.here(ctx)
	if err != nil {
		return i.decision, err
	}
	for _, run := range runs {
		if slices.ContainsFunc(run.Jobs, func(j Job) bool { return j.State == JobHeld && slices.Contains(j.Approvals, environment) }) {
			return i.approveRun(ctx, run, environment)
		}
	}
	active, err := i.active(ctx)
	if err != nil {
		return i.decision, err
	}
	for _, run := range active {
		for _, j := range run.Jobs {
			if j.Parked && slices.Contains(j.Approvals, environment) {
				return i.approveOnGitHub(ctx, run, j, []string{environment}, i.p.Now())
			}
		}
	}
	return i.refuse("Nothing waits for an approval of `%s` here.", environment)
}

// approveRun notes an approval of what of a run waits for an environment, "" for all that wait, and goes on when there are
// enough.
func (i *interaction) approveRun(ctx context.Context, run Run, environment string) (Decision, error) {
	var waits, environments []string
	for _, j := range run.Jobs {
		if j.State != JobHeld || environment != "" && !slices.Contains(j.Approvals, environment) {
			continue
		}
		waits = append(waits, j.Name)
		environments = append(environments, j.Approvals...)
	}
	slices.Sort(environments)
	environments = slices.Compact(environments)
	if len(environments) == 0 {
		if environment == "" {
			return i.refuse("Nothing waits for approval here.")
		}
		return i.refuse("Nothing waits for an approval of `%s` here.", environment)
	}
	if !run.State.Over() {
		return i.refuse("Run %s is still under way; approve when it is over.", run.ID)
	}
	if environment != "" {
		environments = []string{environment}
	}
	var done, short []string
	for _, name := range environments { // each is noted, also when another lacks some
		count, need, refusal, err := i.approval(ctx, run, name)
		if err != nil {
			return i.decision, err
		}
		if refusal != "" {
			return i.refuse("%s", refusal)
		}
		if count < need {
			short = append(short, fmt.Sprintf("`%s` has %d of %s", name, count, plural(need, "approval")))
		}
		done = append(done, name)
	}
	if len(short) > 0 {
		said := strings.Join(short, ", ")
		return i.acted(said+".", "%s", said)
	}
	i.decision.Run.Approved = done
	return i.repeat(ctx, run, dependents(run, waits...))
}

// approveOnGitHub orders a job under way to let what waits on GitHub for the named environments go on, in the name of who asked.
// Where the operator has an environment of that name, its own rule about approvals holds as well: GitHub lets the App in, whoever
// asked for it.
func (i *interaction) approveOnGitHub(ctx context.Context, run Run, j Job, environments []string, asked time.Time) (Decision, error) {
	grant := i.p.Rules.Grant(run.RunInfo)
	var short []string
	for _, name := range environments {
		if !slices.ContainsFunc(grant.Environments, func(e EnvironmentGrant) bool { return e.Name == name && e.Approvals.Needed() }) {
			continue
		}
		count, need, refusal, err := i.approval(ctx, run, name)
		switch {
		case err != nil:
			return i.decision, err
		case refusal != "":
			return i.refuse("%s", refusal)
		case count < need:
			short = append(short, fmt.Sprintf("`%s` has %d of %s", name, count, plural(need, "approval")))
		}
	}
	if len(short) > 0 {
		said := strings.Join(short, ", ")
		return i.acted(said+".", "%s", said)
	}
	order := Order{Do: OrderApprove, Names: environments, By: i.e.Sender, Cause: i.key, Time: asked}
	i.decision.Orders = []JobOrder{{Run: run.ID, Job: j.Name, Order: order}}
	return i.acted("", "%s lets %s go on to %s", i.e.Sender.Login, j.Name, strings.Join(environments, ", "))
}

// approval notes one approval of an environment for the run's commit and counts those there are.
func (i *interaction) approval(ctx context.Context, run Run, environment string) (count, need int, refusal string, err error) {
	grant := i.p.Rules.Grant(run.RunInfo)
	at := slices.IndexFunc(grant.Environments, func(e EnvironmentGrant) bool { return e.Name == environment })
	if at < 0 {
		return 0, 0, fmt.Sprintf("The operator grants this repository no environment `%s`.", environment), nil
	}
	rule := grant.Environments[at].Approvals
	policy := CommandPolicy{Users: rule.Users, Teams: rule.Teams}
	if len(rule.Users)+len(rule.Teams) == 0 {
		policy.Role = "write"
	}
	ok, why, err := i.fits(ctx, "approve", policy)
	if err != nil {
		return 0, 0, "", err
	}
	if !ok {
		return 0, 0, fmt.Sprintf("%s for %s.", why, environment), nil
	}
	a := Approval{Repository: i.e.Repository.ID, SHA: run.SHA, Environment: environment, By: i.e.Sender, Permission: i.facts.Permission, Cause: i.key, Time: i.p.Now()}
	given, err := i.p.approve(ctx, EnvironmentApprovalKey(a.Repository, environment, run.SHA), a)
	if err != nil {
		return 0, 0, "", err
	}
	i.decision.Approval = &a
	who := map[int64]bool{}
	for _, g := range given {
		who[g.By.ID] = true
	}
	return len(who), max(rule.Count, 1), "", nil
}
