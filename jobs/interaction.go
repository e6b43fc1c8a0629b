package jobs

import (
	"context"
	"fmt"
)

// An interaction is what one person asked for, by a slash command, a button or the API, on its way to a decision.
type interaction struct {
	p        *Planner
	e        Event
	key      string // of the decision
	decision Decision
	facts    TrustFacts

	// Where it was asked.
	pull  *PullRequest // as it is now; nil on a commit
	about Event        // what a run here would be for
	stale string       // how the commit is behind its branch; "" when it is not
	only  string       // why only /status, /why and /help are answered here; "" when all are
}

// refuse concludes with a sentence for who asked: nothing is done.
func (i *interaction) refuse(format string, args ...any) (Decision, error) {
	sentence := fmt.Sprintf(format, args...)
	i.decision.Run.ID, i.decision.Shown, i.decision.Again = "", false, nil
	i.decision.Outcome, i.decision.Reason, i.decision.Answer = OutcomeRefused, firstLine(sentence), sentence
	return i.decision, nil
}

// ignore concludes that it is not for us: nothing is shown on GitHub.
func (i *interaction) ignore(format string, args ...any) (Decision, error) {
	i.decision = i.decision.conclude(OutcomeIgnored, format, args...)
	return i.decision, nil
}

// acted concludes with what was done; answer may be empty.
func (i *interaction) acted(answer, format string, args ...any) (Decision, error) {
	i.decision = i.decision.conclude(OutcomeActed, format, args...)
	i.decision.Answer = answer
	return i.decision, nil
}

// may asks whether the person may give a command.
func (i *interaction) may(ctx context.Context, name string) (ok bool, why string, err error) {
	return i.fits(ctx, name, i.p.Rules.Command(name))
}

// fits asks whether a policy lets the person give a command. GitHub is asked about teams only when nothing else does.
func (i *interaction) fits(ctx context.Context, name string, policy CommandPolicy) (ok bool, why string, err error) {
	if ok, why = MayAsk(name, i.e.Sender, i.facts, policy, nil); ok || len(policy.Teams) == 0 {
		return ok, why, nil
	}
	var teams []string
	for _, team := range policy.Teams {
		in, err := i.p.People.InTeam(ctx, i.e.Installation, i.e.Repository, team, i.e.Sender)
		if err != nil {
			return false, "", fmt.Errorf("ask whether %s is in %s: %w", i.e.Sender.Login, team, err)
		}
		if in {
			teams = append(teams, team)
		}
	}
	ok, why = MayAsk(name, i.e.Sender, i.facts, policy, teams)
	return ok, why, nil
}

// start plans what was asked for.
func (i *interaction) start(ctx context.Context, ask Ask) (Decision, error) {
	if i.decision.Run.Trust.Level == Untrusted {
		if i.pull == nil {
			return i.refuse("Nothing is started here: %s.", i.decision.Run.Trust.Reason)
		}
		return i.refuse("Nothing is started from this pull request: %s. Once you looked at the commit, `/ok-to-test %s` lets it be built.",
			i.decision.Run.Trust.Reason, i.pull.HeadSHA)
	}
	i.decision.Run.Args = ask.Args
	return i.plan(ctx, &ask)
}

// plan makes the plan of what was asked, or of the pull request itself when ask is nil.
func (i *interaction) plan(ctx context.Context, ask *Ask) (Decision, error) {
	d := &i.decision
	d.Stale = i.stale
	in, err := i.p.input(ctx, i.about, *d, ask)
	if err != nil {
		return *d, err
	}
	if d.Plan, err = i.p.planHead(ctx, in); err != nil {
		return *d, err
	}
	switch {
	case d.Plan.Faulty():
		f := d.Plan.Faults[0]
		return i.refuse("%s has %s; the first is in line %d: %s", PipelinePath, plural(len(d.Plan.Faults), "fault"), f.Line, f.Message)
	case d.Plan.Refusal != "":
		return i.refuse("%s", d.Plan.Refusal)
	case !d.Plan.Selected() && ask != nil:
		return i.refuse("Nothing is to be done: %s.", nothingReason(d.Plan))
	}
	conclude(d, "")
	d.Run.ID, d.Shown = RunID(i.key), true
	return *d, nil
}
