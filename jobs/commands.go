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
	switch {
	case len(e.Commands) == 0:
		return decision.conclude(OutcomeIgnored, "the comment holds no command"), nil
	case e.Sender.Type != "User":
		return decision.conclude(OutcomeIgnored, "%s is not a person: commands of bots are not carried out", e.Sender.Login), nil
	case e.Sender.ID != e.Comment.Author.ID:
		return decision.conclude(OutcomeIgnored, "%s is not who wrote the comment", e.Sender.Login), nil
	}
	observing, err := p.observing(ctx, e.Repository, d)
	if err != nil {
		return decision, err
	}
	if observing != "" {
		return decision.conclude(OutcomeObserve, "%s; the comment holds %s", observing, plural(len(e.Commands), "command")), nil
	}
	facts, err := p.Pulls.Permission(ctx, e.Installation, e.Repository, e.Sender)
	if err != nil {
		return decision, fmt.Errorf("ask what %s may do: %w", e.Sender.Login, err)
	}
	if !roleAtLeast(facts, "write") && !p.asks.take(e.Repository.ID, e.Sender.ID, e.Comment.ID, p.Now()) {
		return decision.conclude(OutcomeIgnored, "%s wrote %d comments with commands within the hour already", e.Sender.Login, readersShare), nil
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

// command decides about one command of a comment.
func (p *Planner) command(ctx context.Context, e Event, facts TrustFacts, key string) (Decision, error) {
	c := e.Commands[0]
	i := &interaction{p: p, e: e, key: key, facts: facts, decision: Decision{Delivery: key, Time: p.Now(), Happened: e.Comment.Created, Command: c.Text, Run: Describe(e)}}
	decision, err := i.decide(ctx, c)
	var gone *Gone
	var refusal *Refusal
	switch {
	case errors.As(err, &gone):
		return i.ignore("%s", gone.Reason)
	case errors.As(err, &refusal):
		return i.refuse("%s", refusal.Sentence)
	}
	return decision, err
}

func (i *interaction) decide(ctx context.Context, c Command) (Decision, error) {
	builtin := slices.ContainsFunc(BuiltinCommands(), func(b [3]string) bool { return b[0] == c.Name })
	if age := i.p.Now().Sub(i.e.Comment.Created); age > CommandLife {
		if !builtin {
			return i.ignore("it was written %s ago, and commands are carried out within %s", Duration(age.Round(time.Minute)), Duration(CommandLife))
		}
		return i.refuse("This was written %s ago; commands are carried out within %s. Write it again if you still mean it.",
			Duration(age.Round(time.Minute)), Duration(CommandLife))
	}
	reason, err := i.locate(ctx)
	if err != nil {
		return i.decision, err
	}
	var declared *DeclaredCommand
	if !builtin {
		var other string
		if declared, other, err = i.lookUp(ctx, c.Name); err != nil {
			return i.decision, err
		}
		switch {
		case declared != nil:
		case other == "" && c.Addressed:
			return i.refuse("%s.", cmp.Or(c.Fault, fmt.Sprintf("There is no command `/%s` here; `/help` lists what there is", c.Name)))
		case other == "":
			return i.ignore("there is no command /%s here; another bot may know it", c.Name)
		default:
			return i.refuse("There is no command `/%s`; did you mean `/%s`? `/help` lists what there is.", c.Name, other)
		}
	}
	ok, why, err := i.may(ctx, c.Name)
	switch {
	case err != nil:
		return i.decision, err
	case !ok:
		return i.refuse("%s.", why)
	case reason != "" && !slices.Contains(readCommands, c.Name):
		return i.refuse("%s", reason)
	case c.Fault != "":
		return i.refuse("%s.", c.Fault)
	case declared == nil:
		return i.runBuiltin(ctx, c)
	}
	args, fault := Bind(declared.Args, c)
	if fault != "" {
		return i.refuse("%s", fault)
	}
	return i.start(ctx, Ask{Command: c.Name, Args: args})
}

// lookUp finds a command that the pipeline declares, or else a name that was probably meant.
func (i *interaction) lookUp(ctx context.Context, name string) (declared *DeclaredCommand, other string, err error) {
	commands, err := i.commands(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("read the pipeline's commands: %w", err)
	}
	var names []string
	for _, b := range BuiltinCommands() {
		names = append(names, b[0])
	}
	for at, c := range commands {
		if c.Name == name {
			return &commands[at], "", nil
		}
		names = append(names, c.Name)
	}
	return nil, i.p.Suggest(name, names), nil
}

// runBuiltin carries out one of the commands every repository has.
func (i *interaction) runBuiltin(ctx context.Context, c Command) (Decision, error) {
	switch c.Name {
	case "help":
		return i.help(ctx)
	case "status":
		return i.status(ctx)
	case "why":
		return i.why(ctx)
	case "cancel":
		return i.cancel(ctx, c.Args)
	case "retry":
		return i.retry(ctx, c.Args)
	case "ok-to-test":
		return i.okToTest(ctx, c.Args)
	case "approve":
		if len(c.Args) != 1 {
			return i.refuse("Name one environment: `/approve <environment>`.")
		}
		return i.approve(ctx, c.Args[0])
	case "build":
		return i.start(ctx, Ask{Build: true, Jobs: c.Args})
	case "deploy":
		return i.deploy(ctx, c)
	case "dispatch":
		return i.dispatch(ctx, c)
	default:
		return i.rollback(ctx, c)
	}
}

// commands are those that the trusted pipeline declares here.
func (i *interaction) commands(ctx context.Context) ([]DeclaredCommand, error) {
	sha := i.about.SHA()
	if i.decision.Run.Trust.Level != Trusted && i.pull != nil {
		sha = i.pull.BaseSHA
	}
	file, found, err := i.p.Commits.File(ctx, i.e.Installation, i.e.Repository, sha, PipelinePath)
	if err != nil || !found {
		return nil, err
	}
	return i.p.Pipelines.Commands(file, PipelinePath), nil
}

// deploy rolls the commit out to an environment, or with ref= another one of the repository.
func (i *interaction) deploy(ctx context.Context, c Command) (Decision, error) {
	ref, named := c.Named["ref"]
	if len(c.Args) < 1 || len(c.Args) > 2 || len(c.Named) > 1 || len(c.Named) == 1 && !named {
		return i.refuse("Write `/deploy <environment> [release] [ref=branch or SHA]`.")
	}
	target := DeployTarget{Environment: c.Args[0]}
	if len(c.Args) == 2 {
		target.Release = c.Args[1]
	}
	if named {
		if reason, err := i.targetRef(ctx, ref); err != nil {
			return i.decision, err
		} else if reason != "" {
			return i.refuse("%s", reason)
		}
	}
	return i.start(ctx, Ask{Deploy: &target})
}

// dispatch starts a workflow and follows it, with the inputs as they were written.
func (i *interaction) dispatch(ctx context.Context, c Command) (Decision, error) {
	if len(c.Args) != 1 {
		return i.refuse("Write `/dispatch <workflow> [input=value…]`, such as `/dispatch hello.yaml name=Slipway`.")
	}
	return i.start(ctx, Ask{Dispatch: &AskDispatch{Workflow: c.Args[0], Inputs: c.Named}})
}

// rollback takes a rollout back. It is about what runs in the environment, not about the commit where it was asked: the
// default branch's pipeline says what is rolled out there.
func (i *interaction) rollback(ctx context.Context, c Command) (Decision, error) {
	usage := "Write `/rollback <environment> [release] [revision=N]`."
	if len(c.Args) < 1 || len(c.Args) > 2 {
		return i.refuse("%s", usage)
	}
	target := DeployTarget{Environment: c.Args[0]}
	if len(c.Args) == 2 {
		target.Release = c.Args[1]
	}
	for name, value := range c.Named {
		if _, err := fmt.Sscanf(value, "%d", &target.Revision); name != "revision" || err != nil || target.Revision < 1 || fmt.Sprint(target.Revision) != value {
			return i.refuse("%s", usage)
		}
	}
	return i.takeBack(ctx, target)
}

func (i *interaction) takeBack(ctx context.Context, target DeployTarget) (Decision, error) {
	branch := i.e.Repository.DefaultBranch
	head, found, err := i.p.Commits.Head(ctx, i.e.Installation, i.e.Repository, "refs/heads/"+branch)
	if err != nil {
		return i.decision, fmt.Errorf("ask what %s is at: %w", branch, err)
	}
	if !found {
		return i.refuse("The default branch %s is gone.", branch)
	}
	i.pull = nil
	if err := i.targetBranch(ctx, "refs/heads/"+branch, head); err != nil {
		return i.decision, err
	}
	i.stale = "" // a rollback is what may go back in time
	return i.start(ctx, Ask{Rollback: &target})
}

// cancel stops what is queued or running here.
func (i *interaction) cancel(ctx context.Context, names []string) (Decision, error) {
	active, err := i.active(ctx)
	if err != nil {
		return i.decision, err
	}
	if len(active) == 0 {
		return i.refuse("Nothing is queued or running here.")
	}
	reason := "cancelled by " + i.e.Sender.Login
	if len(names) == 0 {
		for _, run := range active {
			i.decision.Stops = append(i.decision.Stops, StopRequest{Run: run.ID, Reason: reason})
		}
		return i.acted("", "stopping %s", plural(len(active), "run"))
	}
	for _, name := range names {
		stopping := len(i.decision.Stops)
		for _, run := range active {
			if j := run.Job(name); j != nil && !j.State.Over() {
				i.decision.Stops = append(i.decision.Stops, StopRequest{Run: run.ID, Job: name, Reason: reason})
			}
		}
		if len(i.decision.Stops) == stopping {
			i.decision.Stops = nil
			return i.refuse("No job `%s` is queued or running here; nothing was stopped.", name)
		}
	}
	return i.acted("", "stopping %s", plural(len(names), "job"))
}
