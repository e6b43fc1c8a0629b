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

// People answers what planning asks GitHub about teams.
type People interface {
	// InTeam reports whether an account is a member of ORG/SLUG now.
	InTeam(ctx context.Context, installation int64, repo Repository, team string, actor Actor) (bool, error)
}

// CommandKey is the key of the decision about one command: its comment and its place in it (invariant 2).
func CommandKey(c Comment, place int) string { return fmt.Sprintf("%s-%d", ReplyKey(c), place) }

// comment decides about a comment with commands: about each by itself, so that a crash between two loses and doubles
// neither, and then what the writer is shown.
func (p *Planner) comment(ctx context.Context, e Event, d Delivery, decision Decision) (Decision, error) {
	ignore := func(format string, args ...any) (Decision, error) {
		decision.Outcome, decision.Reason = OutcomeIgnored, fmt.Sprintf(format, args...)
		return decision, nil
	}
	switch {
	case len(e.Commands) == 0:
		return ignore("the comment holds no command")
	case e.Sender.Type != "User":
		return ignore("%s is not a person: commands of bots are not carried out", e.Sender.Login)
	case e.Sender.ID != e.Comment.Author.ID:
		return ignore("%s is not who wrote the comment", e.Sender.Login)
	}
	observing, err := p.observing(ctx, e.Repository, d)
	if err != nil {
		return decision, err
	}
	if observing != "" {
		decision.Outcome, decision.Reason = OutcomeObserve, fmt.Sprintf("%s; the comment holds %s", observing, plural(len(e.Commands), "command"))
		return decision, nil
	}
	facts, err := p.Pulls.Permission(ctx, e.Installation, e.Repository, e.Sender)
	if err != nil {
		return decision, fmt.Errorf("ask what %s may do: %w", e.Sender.Login, err)
	}
	if !roleAtLeast(facts, "write") && !p.asks.take(e.Repository.ID, e.Sender.ID, p.Now()) {
		return ignore("%s wrote %d comments with commands within the hour already", e.Sender.Login, readersShare)
	}
	reply := Reply{Installation: e.Installation, Repository: e.Repository, Comment: *e.Comment, Created: decision.Time}
	var reasons, texts []string
	ours := 0
	decision.Outcome = OutcomeRefused
	for _, c := range e.Commands {
		one, key := e, CommandKey(*e.Comment, c.Place)
		one.Commands = []Command{c}
		part, err := p.settle(ctx, key, func() (Decision, error) { return p.command(ctx, one, facts, key) })
		if err != nil {
			return decision, fmt.Errorf("decide about %.40q: %w", c.Text, err)
		}
		if err := p.materialise(ctx, part); err != nil {
			return decision, fmt.Errorf("start what was decided about %.40q: %w", c.Text, err)
		}
		decision.Parts = append(decision.Parts, key)
		reasons = append(reasons, fmt.Sprintf("/%s: %s", c.Name, part.Reason))
		switch part.Outcome {
		case OutcomeIgnored: // meant for another bot
			continue
		case OutcomeRefused:
			reply.Refused = true
		default:
			decision.Outcome = OutcomeActed
		}
		ours++
		if part.Answer == "" && e.Comment.Number == 0 { // where no reaction may be shown, words must do
			part.Answer = part.Reason + "."
		}
		if part.Answer != "" {
			texts = append(texts, quoted(c.Text)+part.Answer)
		}
		if part.Run.ID != "" {
			reply.Awaits = append(reply.Awaits, Await{Run: part.Run.ID})
		}
		for _, s := range part.Stops {
			reply.Awaits = append(reply.Awaits, Await{Run: s.Run, End: true})
		}
	}
	decision.Reason = Cut(strings.Join(reasons, "; "), 1000)
	if ours == 0 {
		decision.Outcome = OutcomeIgnored
		return decision, nil
	}
	reply.Text = strings.Join(texts, "\n\n---\n\n")
	decision.Reply = &reply
	return decision, nil
}

// quoted is a line as a Markdown quote that mentions nobody.
func quoted(line string) string {
	return "> `" + strings.ReplaceAll(line, "`", "'") + "`\n\n"
}

// A wish is what one person asked for, on its way to a decision.
type wish struct {
	p        *Planner
	e        Event
	key      string // of the decision
	decision Decision
	facts    TrustFacts

	// Where it was asked.
	pull  *PullRequest // as it is now; nil on a commit
	about Event        // what a run here would be for
	stale string       // the commit is behind its branch
}

func (w *wish) refuse(format string, args ...any) (Decision, error) {
	sentence := fmt.Sprintf(format, args...)
	w.decision.Run.ID, w.decision.Shown, w.decision.Again = "", false, nil
	w.decision.Outcome, w.decision.Reason, w.decision.Answer = OutcomeRefused, sentence, sentence
	return w.decision, nil
}

// leave concludes that it is not for us: nothing is shown on GitHub.
func (w *wish) leave(format string, args ...any) (Decision, error) {
	w.decision.Outcome, w.decision.Reason = OutcomeIgnored, fmt.Sprintf(format, args...)
	return w.decision, nil
}

// acted concludes with what was done; answer may be empty.
func (w *wish) acted(answer, format string, args ...any) (Decision, error) {
	w.decision.Outcome, w.decision.Reason, w.decision.Answer = OutcomeActed, fmt.Sprintf(format, args...), answer
	return w.decision, nil
}

// command decides about one command of a comment.
func (p *Planner) command(ctx context.Context, e Event, facts TrustFacts, key string) (Decision, error) {
	c := e.Commands[0]
	w := &wish{p: p, e: e, key: key, facts: facts, decision: Decision{Delivery: key, Time: p.Now(), Happened: e.Comment.Created, Command: c.Text, Run: Describe(e)}}
	decision, err := w.decide(ctx, c)
	var gone *Gone
	var refusal *Refusal
	switch {
	case errors.As(err, &gone):
		return w.leave("%s", gone.Reason)
	case errors.As(err, &refusal):
		return w.refuse("%s", refusal.Sentence)
	}
	return decision, err
}

func (w *wish) decide(ctx context.Context, c Command) (Decision, error) {
	builtin := slices.ContainsFunc(BuiltinCommands(), func(b [3]string) bool { return b[0] == c.Name })
	if age := w.p.Now().Sub(w.e.Comment.Created); age > CommandLife {
		if !builtin {
			return w.leave("it was written %s ago, and commands are carried out within %s", age.Round(time.Minute), CommandLife)
		}
		return w.refuse("This was written %s ago; commands are carried out within %s. Write it again if you still mean it.",
			age.Round(time.Minute), CommandLife)
	}
	reason, err := w.locate(ctx)
	if err != nil {
		return w.decision, err
	}
	var declared *DeclaredCommand
	if !builtin {
		var other string
		if declared, other, err = w.lookUp(ctx, c.Name); err != nil {
			return w.decision, err
		}
		switch {
		case declared != nil:
		case other == "":
			return w.leave("there is no command /%s here; another bot may know it", c.Name)
		default:
			return w.refuse("There is no command `/%s`; did you mean `/%s`? `/help` lists what there is.", c.Name, other)
		}
	}
	ok, why, err := w.may(ctx, c.Name)
	switch {
	case err != nil:
		return w.decision, err
	case !ok:
		return w.refuse("%s.", why)
	case reason != "" && !slices.Contains(readCommands, c.Name):
		return w.refuse("%s", reason)
	case c.Fault != "":
		return w.refuse("%s.", c.Fault)
	case declared == nil:
		return w.carry(ctx, c)
	}
	args, fault := Bind(declared.Args, c)
	if fault != "" {
		return w.refuse("%s", fault)
	}
	return w.start(ctx, Ask{Command: c.Name, Args: args})
}

// lookUp finds a command that the pipeline declares, or else a name that was probably meant.
func (w *wish) lookUp(ctx context.Context, name string) (declared *DeclaredCommand, other string, err error) {
	commands, err := w.commands(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("read the pipeline's commands: %w", err)
	}
	var names []string
	for _, b := range BuiltinCommands() {
		names = append(names, b[0])
	}
	for i, c := range commands {
		if c.Name == name {
			return &commands[i], "", nil
		}
		names = append(names, c.Name)
	}
	return nil, w.p.Suggest(name, names), nil
}

// may asks whether the writer may give a command.
func (w *wish) may(ctx context.Context, name string) (ok bool, why string, err error) {
	policy := w.p.Rules.Command(name)
	if ok, why = MayAsk(name, w.e.Sender, w.facts, policy, nil); ok || len(policy.Teams) == 0 {
		return ok, why, nil
	}
	var teams []string
	for _, team := range policy.Teams {
		in, err := w.p.People.InTeam(ctx, w.e.Installation, w.e.Repository, team, w.e.Sender)
		if err != nil {
			return false, "", fmt.Errorf("ask whether %s is in %s: %w", w.e.Sender.Login, team, err)
		}
		if in {
			teams = append(teams, team)
		}
	}
	ok, why = MayAsk(name, w.e.Sender, w.facts, policy, teams)
	return ok, why, nil
}

// carry carries out one of the commands every repository has.
func (w *wish) carry(ctx context.Context, c Command) (Decision, error) {
	switch c.Name {
	case "help":
		return w.help(ctx)
	case "status":
		return w.status(ctx)
	case "why":
		return w.why(ctx)
	case "cancel":
		return w.cancel(ctx, c.Args)
	case "retry":
		return w.retry(ctx, c.Args)
	case "ok-to-test":
		return w.okToTest(ctx, c.Args)
	case "approve":
		if len(c.Args) != 1 {
			return w.refuse("Name one environment: `/approve <environment>`.")
		}
		return w.approve(ctx, c.Args[0])
	case "build":
		return w.start(ctx, Ask{Build: true, Jobs: c.Args})
	case "deploy":
		return w.deploy(ctx, c)
	default:
		return w.rollback(ctx, c)
	}
}

// commands are those that the trusted pipeline declares here.
func (w *wish) commands(ctx context.Context) ([]DeclaredCommand, error) {
	sha := w.about.SHA()
	if w.decision.Run.Trust.Level != Trusted && w.pull != nil {
		sha = w.pull.BaseSHA
	}
	file, found, err := w.p.Commits.File(ctx, w.e.Installation, w.e.Repository, sha, PipelinePath)
	if err != nil || !found {
		return nil, err
	}
	return w.p.Pipelines.Commands(file, PipelinePath), nil
}

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

// start plans what was asked for.
func (w *wish) start(ctx context.Context, ask Ask) (Decision, error) {
	if w.decision.Run.Trust.Level == Untrusted {
		if w.pull == nil {
			return w.refuse("Nothing is started here: %s.", w.decision.Run.Trust.Reason)
		}
		return w.refuse("Nothing is started from this pull request: %s. Once you looked at the commit, `/ok-to-test %s` lets it be built.",
			w.decision.Run.Trust.Reason, w.pull.HeadSHA)
	}
	w.decision.Run.Args = ask.Args
	return w.plan(ctx, &ask)
}

// plan makes the plan of what was asked, or of the pull request itself when ask is nil.
func (w *wish) plan(ctx context.Context, ask *Ask) (Decision, error) {
	d := &w.decision
	d.Stale = w.stale
	in, err := w.p.input(ctx, w.about, *d, ask)
	if err != nil {
		return *d, err
	}
	d.Plan = w.p.planHead(in)
	switch {
	case d.Plan.Faulty():
		f := d.Plan.Faults[0]
		return w.refuse("%s has %s; the first is in line %d: %s", PipelinePath, plural(len(d.Plan.Faults), "fault"), f.Line, f.Message)
	case d.Plan.Refusal != "":
		return w.refuse("%s", d.Plan.Refusal)
	case !d.Plan.Selected() && ask != nil:
		return w.refuse("Nothing is to be done: %s.", nothingReason(d.Plan))
	}
	conclude(d, "")
	d.Run.ID, d.Shown = RunID(w.key), true
	return *d, nil
}

// deploy rolls the commit out to an environment, or with ref= another one of the repository.
func (w *wish) deploy(ctx context.Context, c Command) (Decision, error) {
	ref, named := c.Named["ref"]
	if len(c.Args) < 1 || len(c.Args) > 2 || len(c.Named) > 1 || len(c.Named) == 1 && !named {
		return w.refuse("Write `/deploy <environment> [release] [ref=branch or SHA]`.")
	}
	place := AskPlace{Environment: c.Args[0]}
	if len(c.Args) == 2 {
		place.Release = c.Args[1]
	}
	if named {
		if reason, err := w.elsewhere(ctx, ref); err != nil {
			return w.decision, err
		} else if reason != "" {
			return w.refuse("%s", reason)
		}
	}
	return w.start(ctx, Ask{Deploy: &place})
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

// rollback takes a rollout back. It is about what runs in the environment, not about the commit where it was asked: the
// default branch's pipeline says what is rolled out there.
func (w *wish) rollback(ctx context.Context, c Command) (Decision, error) {
	usage := "Write `/rollback <environment> [release] [revision=N]`."
	if len(c.Args) < 1 || len(c.Args) > 2 {
		return w.refuse("%s", usage)
	}
	place := AskPlace{Environment: c.Args[0]}
	if len(c.Args) == 2 {
		place.Release = c.Args[1]
	}
	for name, value := range c.Named {
		if _, err := fmt.Sscanf(value, "%d", &place.Revision); name != "revision" || err != nil || place.Revision < 1 || fmt.Sprint(place.Revision) != value {
			return w.refuse("%s", usage)
		}
	}
	return w.takeBack(ctx, place)
}

func (w *wish) takeBack(ctx context.Context, place AskPlace) (Decision, error) {
	branch := w.e.Repository.DefaultBranch
	head, found, err := w.p.Commits.Head(ctx, w.e.Installation, w.e.Repository, "refs/heads/"+branch)
	if err != nil {
		return w.decision, fmt.Errorf("ask what %s is at: %w", branch, err)
	}
	if !found {
		return w.refuse("The default branch %s is gone.", branch)
	}
	w.pull = nil
	if err := w.place(ctx, branch, head); err != nil {
		return w.decision, err
	}
	w.stale = "" // a rollback is what may go back in time
	return w.start(ctx, Ask{Rollback: &place})
}
