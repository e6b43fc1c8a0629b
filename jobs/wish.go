package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	w.decision.Outcome, w.decision.Reason, w.decision.Answer = OutcomeRefused, firstLine(sentence), sentence
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
		case other == "" && c.Addressed:
			return w.refuse("%s.", cmp.Or(c.Fault, fmt.Sprintf("There is no command `/%s` here; `/help` lists what there is", c.Name)))
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
	case "dispatch":
		return w.dispatch(ctx, c)
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
	if d.Plan, err = w.p.planHead(ctx, in); err != nil {
		return *d, err
	}
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

// dispatch starts a workflow and follows it, with the inputs as they were written.
func (w *wish) dispatch(ctx context.Context, c Command) (Decision, error) {
	if len(c.Args) != 1 {
		return w.refuse("Write `/dispatch <workflow> [input=value…]`, such as `/dispatch hello.yaml name=Slipway`.")
	}
	return w.start(ctx, Ask{Dispatch: &AskDispatch{Workflow: c.Args[0], Inputs: c.Named}})
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
