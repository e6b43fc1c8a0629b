package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// planEvent decides about an event of a repository we may act for.
func (p *Planner) planEvent(ctx context.Context, e Event, d Delivery, decision Decision) (Decision, error) {
	var facts TrustFacts
	if e.Kind == EventPullRequest {
		reason, err := p.refreshPull(ctx, &e, &facts)
		if err != nil {
			return decision, err
		}
		decision.Run = Describe(e)
		if reason != "" {
			return decision.conclude(OutcomeNothing, "%s", reason), nil
		}
	} else if reason, err := p.resolveCommit(ctx, &e); err != nil || reason != "" {
		if err != nil {
			return decision, err
		}
		return decision.conclude(OutcomeNothing, "%s", reason), nil
	} else if e.Kind != EventPush {
		decision.Run = Describe(e)
	}
	decision.Run.Trust = DecideTrust(e, facts, p.Bots)
	side := e.sideAction()
	if side != "" {
		decision.Run.Asked = &Asked{By: e.Sender, Command: side}
	}
	if e.Kind == EventPullRequest && side == "" && e.Action != "edited" {
		reason, err := p.existingRun(ctx, decision.Run)
		switch {
		case err != nil:
			return decision, err
		case reason != "" && e.Action == "ready_for_review":
			return p.planReadyForReview(ctx, e, d, decision)
		case reason != "":
			return decision.conclude(OutcomeNothing, "%s", reason), nil
		}
	}
	var err error
	if decision.Stale, decision.Judged, err = p.judge(ctx, e); err != nil {
		return decision, err
	}
	in, err := p.input(ctx, e, decision, nil)
	if err != nil {
		return decision, err
	}
	if decision.Plan, err = p.planHead(ctx, in); err != nil {
		return decision, err
	}
	if in.HasFile && decision.Run.Event == EventPush && decision.Run.OnDefaultBranch() {
		decision.Plan.Schedule = p.Pipelines.Schedules(in.File, in.Path)
	}
	observing, err := p.observing(ctx, e.Repository, d)
	if err != nil {
		return decision, err
	}
	conclude(&decision, observing)
	if side != "" && decision.Outcome != OutcomeRun { // the pull request's own run says what is held or faulty
		decision.Shown = false
	}
	if decision.Shown {
		decision.Run.ID = RunID(d.GUID)
	}
	return decision, nil
}

// resolveCommit fills in the commit of an event that names only a ref. A reason means that there is nothing to do.
func (p *Planner) resolveCommit(ctx context.Context, e *Event) (reason string, err error) {
	switch e.Kind {
	case EventMergeGroup:
		if e.Action != "checks_requested" {
			return fmt.Sprintf("the merge group was %s", e.Action), nil
		}
		return "", nil
	case EventRelease, EventSchedule:
		head, found, err := p.Commits.Head(ctx, e.Installation, e.Repository, e.Ref)
		if err != nil {
			return "", fmt.Errorf("ask what %s is at: %w", short(e.Ref), err)
		}
		if !found {
			return fmt.Sprintf("%s is gone", short(e.Ref)), nil
		}
		e.After = head
		return "", nil
	}
	if e.After == "" {
		return short(e.Ref) + " was deleted", nil
	}
	if strings.HasPrefix(e.Branch(), "gh-readonly-queue/") {
		return fmt.Sprintf("%s belongs to the merge queue, whose own event decides", e.Branch()), nil
	}
	return "", nil
}

// planReadyForReview plans a draft that became ready for review: jobs that drafts skip become the next attempt of the head's run, so
// that one required check covers both.
func (p *Planner) planReadyForReview(ctx context.Context, e Event, d Delivery, decision Decision) (Decision, error) {
	run, err := p.standing(ctx, e.Repository.ID, decision.Run.SHA, decision.Run.Ref)
	if errors.Is(err, ErrNotFound) {
		return decision.conclude(OutcomeNothing, "the run on this commit is no longer kept"), nil
	}
	if err != nil {
		return decision, err
	}
	if run.Outcome != OutcomeRun || trustRank(decision.Run.Trust.Level) < trustRank(run.Trust.Level) {
		return decision.conclude(OutcomeNothing, "run %s stands on this commit already", run.ID), nil
	}
	if !run.State.Over() {
		return decision, &Later{After: clickAgain, Reason: fmt.Sprintf("run %s is still under way", run.ID)}
	}
	first, _, err := p.Decisions.Get(ctx, run.Delivery)
	if errors.Is(err, ErrNotFound) {
		return decision.conclude(OutcomeNothing, "what was decided about run %s is no longer kept", run.ID), nil
	}
	if err != nil {
		return decision, fmt.Errorf("read the decision %s: %w", run.Delivery, err)
	}
	in, err := p.input(ctx, e, decision, nil)
	if err != nil {
		return decision, err
	}
	plan := p.Pipelines.Plan(in)
	var names []string
	for i, j := range plan.Jobs {
		if before := run.Job(j.Name); j.Planned && (before == nil || before.Unplanned) {
			names = append(names, j.Name)
		} else if at := slices.IndexFunc(first.Plan.Jobs, func(f PlannedJob) bool { return f.Name == j.Name }); at >= 0 {
			plan.Jobs[i] = first.Plan.Jobs[at] // as it ran
		}
	}
	if len(names) == 0 {
		return decision.conclude(OutcomeNothing, "run %s stands on this commit already", run.ID), nil
	}
	if observing, err := p.observing(ctx, e.Repository, d); err != nil || observing != "" {
		decision.Outcome, decision.Reason = OutcomeObserve, observing
		return decision, err
	}
	decision.Run, decision.Plan, decision.Shown, decision.Outcome = run.again(), plan, true, OutcomeRun
	decision.Again = &Again{Run: run.ID, Jobs: names}
	decision.Reason = fmt.Sprintf("ready for review: %s more", plural(len(names), "job"))
	return decision, nil
}

// planHead plans an event. Another base, a reopening or an approval asks about the head as it stands: what starts on a new
// head starts then, too, so that a list of types never lets a pull request pass unchecked.
func (p *Planner) planHead(ctx context.Context, in PlanInput) (Plan, error) {
	plan := p.Pipelines.Plan(in)
	action := in.Event.Action
	if in.Event.Kind != EventPullRequest || in.Ask != nil || action == "opened" || action == "synchronize" && in.Trust.Level != Approved || in.Event.sideAction() != "" {
		return plan, nil
	}
	for _, other := range []string{"synchronize", "opened"} {
		if plan.Selected() || plan.Faulty() || plan.SkipReason != "" {
			break
		}
		in.Event.Action, in.Workflows = other, nil // other jobs may name other workflows
		in, err := p.withWorkflows(ctx, in)
		if err != nil {
			return plan, err
		}
		if next := p.Pipelines.Plan(in); next.Selected() {
			return next, nil
		}
	}
	return plan, nil
}

// sideAction describes a change of label or draft state. Head and base stay, so what it starts is a separate run and does not
// replace the head's.
func (e Event) sideAction() string {
	switch e.Action {
	case "labeled":
		return "added the label " + e.Label
	case "unlabeled":
		return "took away the label " + e.Label
	case "converted_to_draft":
		return "made it a draft"
	}
	return ""
}

// refreshPull replaces what the payload said of a pull request by what is true now. A reason means that there is nothing
// to do: events are ordered by state, never by arrival.
func (p *Planner) refreshPull(ctx context.Context, e *Event, facts *TrustFacts) (reason string, err error) {
	if e.PullRequest == nil {
		return "the payload names no pull request", nil
	}
	said := *e.PullRequest
	now, err := p.Pulls.PullRequest(ctx, e.Installation, e.Repository, said.Number)
	if err != nil {
		return "", fmt.Errorf("ask for #%d: %w", said.Number, err)
	}
	switch {
	case now.State != "open" && e.Action == "closed":
		return fmt.Sprintf("#%d was closed", said.Number), p.dropFromCommit(ctx, *e)
	case now.State != "open":
		return fmt.Sprintf("#%d is closed by now", said.Number), nil
	case e.Action == "closed":
		return fmt.Sprintf("#%d is open again by now", said.Number), nil
	case now.HeadSHA != said.HeadSHA:
		return fmt.Sprintf("#%d is at %s by now; the delivery of that push decides", said.Number, Abbreviate(now.HeadSHA)), nil
	}
	if e.Action == "edited" { // another base voids what was approved for the one before
		if err := p.void(ctx, *e); err != nil {
			return "", err
		}
	}
	e.PullRequest, e.Message = &now, now.Message
	if now.HeadRepo == e.Repository.ID {
		if *facts, err = p.Pulls.Permission(ctx, e.Installation, e.Repository, e.Sender); err != nil {
			return "", fmt.Errorf("ask what %s may do: %w", e.Sender.Login, err)
		}
	}
	facts.Approval, err = p.approvalOf(ctx, *e)
	return "", err
}

// existingRun tells of a run that stands on this very head of the pull request, so that reopening it or marking it ready
// does the work once.
func (p *Planner) existingRun(ctx context.Context, run RunInfo) (reason string, err error) {
	ref, _, err := p.Refs.Get(ctx, RefKey(run.Repository.ID, run.Ref))
	if errors.Is(err, ErrNotFound) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("look for an earlier run of %s: %w", short(run.Ref), err)
	}
	if ref.SHA == run.SHA && ref.Run != "" && (ref.Outcome == OutcomeRun || ref.Outcome == OutcomeHeld && run.Trust.Level == Untrusted) {
		// It left the commit if the pull request was closed meanwhile.
		standing := run
		standing.ID = ref.Run
		return fmt.Sprintf("run %s stands on this commit already", ref.Run), p.standOn(ctx, standing, ref.Decided)
	}
	return "", nil
}

// input gathers what planning looks at.
func (p *Planner) input(ctx context.Context, e Event, decision Decision, ask *Ask) (PlanInput, error) {
	run := decision.Run
	in := PlanInput{
		Event: e, Trust: run.Trust, Run: run, Path: PipelinePath, SHA: run.SHA, Stale: decision.Stale, Ask: ask,
		Grant: p.Rules.Grant(run), DefaultImage: p.Rules.DefaultImage(e.Repository), Changes: e.Changes,
	}
	if run.Trust.Level != Trusted && e.PullRequest != nil {
		in.SHA = e.PullRequest.BaseSHA // never the stranger's own file
	}
	read := func(path string) ([]byte, bool, error) {
		data, found, err := p.Commits.File(ctx, e.Installation, e.Repository, in.SHA, path)
		if err != nil {
			err = fmt.Errorf("read %s at %s: %w", path, Abbreviate(in.SHA), err)
		}
		return data, found, err
	}
	var err error
	if in.File, in.HasFile, err = read(PipelinePath); err != nil {
		return in, err
	}
	if !in.HasFile {
		if _, in.HasDockerfile, err = read("Dockerfile"); err != nil {
			return in, err
		}
		return p.withWorkflows(ctx, in)
	}
	if !in.Changes.Known && p.Pipelines.NeedsChanges(in) {
		if in.Changes, err = p.changes(ctx, e); err != nil {
			return in, err
		}
	}
	return p.withWorkflows(ctx, in)
}

// withWorkflows reads the workflow files that the plan depends on.
func (p *Planner) withWorkflows(ctx context.Context, in PlanInput) (PlanInput, error) {
	if in.Trust.Level != Trusted {
		return in, nil
	}
	for _, ref := range p.Pipelines.Workflows(in) {
		file, err := p.workflowFile(ctx, in.Run, ref)
		if err != nil {
			return in, fmt.Errorf("read the workflow %s: %w", ref.Workflow, err)
		}
		in.Workflows = append(in.Workflows, file)
	}
	return in, nil
}

// workflowFile reads one. The run's own is read at its commit, like the pipeline file.
func (p *Planner) workflowFile(ctx context.Context, run RunInfo, ref WorkflowRef) (WorkflowFile, error) {
	if ref.Repository != "" || ref.Ref != "" || !strings.Contains(ref.Workflow, ".") {
		return p.Actions.WorkflowFile(ctx, run.Installation, run.Repository, ref)
	}
	file := WorkflowFile{WorkflowRef: ref, Path: ".github/workflows/" + ref.Workflow}
	var found bool
	var err error
	file.Content, found, err = p.Commits.File(ctx, run.Installation, run.Repository, run.SHA, file.Path)
	if err == nil && !found {
		file.Problem = fmt.Sprintf("there is no %s at %s", file.Path, Abbreviate(run.SHA))
	}
	return file, err
}

func (p *Planner) changes(ctx context.Context, e Event) (Changes, error) {
	switch {
	case e.PullRequest != nil:
		changes, err := p.Pulls.PullFiles(ctx, e.Installation, e.Repository, e.PullRequest.Number)
		if err != nil {
			err = fmt.Errorf("ask for the files of #%d: %w", e.PullRequest.Number, err)
		}
		return changes, err
	case e.MergeGroup != nil:
		e.Before = e.MergeGroup.BaseSHA
	case e.Before == "":
		return Changes{Why: short(e.Ref) + " is new"}, nil
	}
	_, changes, err := p.Commits.Compare(ctx, e.Installation, e.Repository, e.Before, e.After)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return Changes{Why: refusal.Sentence}, nil
	} else if err != nil {
		return Changes{}, fmt.Errorf("ask what changed since %s: %w", Abbreviate(e.Before), err)
	}
	return changes, nil
}

// observing tells why nothing may be started for a delivery, or "".
func (p *Planner) observing(ctx context.Context, repo Repository, d Delivery) (string, error) {
	if p.Rules.Mode(repo) != ModeRun {
		return "this server observes: the operator has neither set repositories.mode to run nor listed this one in repositories.run", nil
	}
	start, _, err := p.Meta.Get(ctx, StartKey)
	switch {
	case errors.Is(err, ErrNotFound):
		return "this server observes: its data folder is new, and the operator has not said since when to act (slipway begin)", nil
	case err != nil:
		return "", fmt.Errorf("read since when to act: %w", err)
	case d.Received.Before(start.Since):
		return fmt.Sprintf("it came before %s, since when this server acts", start.Since.Format(time.RFC3339)), nil
	}
	return "", nil
}

// conclude sums a plan up.
func conclude(d *Decision, observing string) {
	pull := d.Run.Event == EventPullRequest || d.Run.Event == EventMergeGroup // a required check must close
	switch {
	case d.Plan.Faulty():
		d.Outcome, d.Shown = OutcomeFault, true
		d.Reason = fmt.Sprintf("%s has %s", PipelinePath, plural(len(d.Plan.Faults), "fault"))
	case d.Plan.SkipReason != "":
		d.Outcome, d.Reason, d.Shown = OutcomeNothing, d.Plan.SkipReason, pull
	case !d.Plan.Selected():
		d.Outcome, d.Reason, d.Shown = OutcomeNothing, nothingReason(d.Plan), pull
	case d.Run.Trust.Level == Untrusted:
		d.Outcome, d.Reason, d.Shown = OutcomeHeld, d.Run.Trust.Reason, true
	default:
		d.Outcome, d.Shown = OutcomeRun, true
		planned := 0
		for _, j := range d.Plan.Jobs {
			if j.Planned {
				planned++
			}
		}
		d.Reason = fmt.Sprintf("%s for %s", plural(planned, "job"), short(d.Run.Ref))
	}
	if observing != "" && d.Outcome != OutcomeNothing {
		d.Reason = fmt.Sprintf("%s; it would have been %s: %s", observing, d.Outcome, d.Reason)
		d.Outcome = OutcomeObserve
	}
	if observing != "" {
		d.Shown = false
	}
}

func nothingReason(plan Plan) string {
	switch len(plan.Jobs) {
	case 0:
		return plan.Pipeline + " has no job for this"
	case 1:
		return fmt.Sprintf("%s: %s", plan.Jobs[0].Name, plan.Jobs[0].Reason)
	}
	return fmt.Sprintf("none of the %d jobs of %s is for this", len(plan.Jobs), plan.Pipeline)
}
