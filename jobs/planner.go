package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Pulls answers what planning asks GitHub about pull requests. No answer is an error, never a yes.
type Pulls interface {
	PullRequest(ctx context.Context, installation int64, repo Repository, number int) (PullRequest, error)
	PullFiles(ctx context.Context, installation int64, repo Repository, number int) (Changes, error)
	Permission(ctx context.Context, installation int64, repo Repository, actor Actor) (TrustFacts, error)
}

// Commits answers what planning asks GitHub about commits.
type Commits interface {
	// File reads a file at a full SHA; found is false when there is none.
	File(ctx context.Context, installation int64, repo Repository, sha, path string) (data []byte, found bool, err error)
	// Compare tells how head stands to base (ahead, behind, identical, diverged) and what differs.
	Compare(ctx context.Context, installation int64, repo Repository, base, head string) (status string, changes Changes, err error)
	// Head is the commit a ref such as refs/heads/main is at now.
	Head(ctx context.Context, installation int64, repo Repository, ref string) (sha string, found bool, err error)
}

// Rules are the operator's policy.
type Rules interface {
	Mode(repo Repository) Mode
	Grant(run RunInfo) Grant
	DefaultImage(repo Repository) string
	// Command says who may give a command.
	Command(name string) CommandPolicy
}

// Pipelines turns a pipeline file into a plan, purely.
type Pipelines interface {
	Plan(in PlanInput) Plan
	// NeedsChanges reports whether the plan depends on which files changed; asking GitHub costs a call.
	NeedsChanges(in PlanInput) bool
	// Commands are the commands that a pipeline file declares; those with faults are left out.
	Commands(file []byte, path string) []DeclaredCommand
	// Schedules are the moments that a pipeline file waits for; those with faults are left out.
	Schedules(file []byte, path string) []ScheduleEntry
}

// An Index is the list of all runs.
type Index interface {
	AppendRun(ctx context.Context, entry RunEntry) error
}

// NotHandled is what decoding answers for a delivery that is not an event we act on. It is no fault.
type NotHandled struct{ Reason string }

func (n *NotHandled) Error() string { return n.Reason }

// Gone says that GitHub no longer lets the App at a repository: removed, deleted, suspended. Asking again is no use.
type Gone struct{ Reason string }

func (g *Gone) Error() string { return g.Reason }

// PipelinePath is where a repository keeps its pipeline file.
const PipelinePath = ".slipway.yaml"

// patience is how long a delivery is planned again when GitHub does not answer. Redelivery ends after as long, too.
const patience = 72 * time.Hour

// A Planner turns a stored delivery into a stored decision, and the decision into a run. Only the leader plans.
type Planner struct {
	Decode    func(Delivery) (Event, error)
	Pulls     Pulls
	Commits   Commits
	People    People
	Rules     Rules
	Pipelines Pipelines
	Suggest   func(word string, names []string) string // which of the names a word was probably meant to be, or ""
	Bots      []string                                 // logins of bots that may send pull requests
	Decisions Records[Decision]
	Runs      Set[Run]
	Archive   Records[Run]
	Refs      Records[RefRecord]
	Index     Index
	Meta      Records[Start]
	Approvals Records[Approvals]
	Replies   Records[Reply]
	Causes    Records[Cause]
	// Timetables are where schedules are kept; nil leaves them alone.
	Timetables Records[Timetable]
	Decided    func(Outcome)                   // told of every decision made; may be nil
	Held       func(installation int64) string // what of GitHub's limits holds an installation's calls back, or ""; may be nil
	Now        func() time.Time
	Log        *slog.Logger

	asks questions
}

// A Cause is what a request's very content caused: the same content under another GUID is no new cause.
type Cause struct {
	Delivery string `json:"delivery"`
}

// Handle decides about a delivery, once and for ever, and makes its run exist. It may be called again at any time.
func (p *Planner) Handle(ctx context.Context, d Delivery) error {
	decision, err := p.settle(ctx, d.GUID, func() (Decision, error) {
		earlier, err := p.cause(ctx, d)
		if err != nil || earlier == "" {
			if err == nil {
				return p.decide(ctx, d)
			}
			return Decision{}, err
		}
		return Decision{Delivery: d.GUID, Time: p.Now(), Outcome: OutcomeIgnored,
			Reason: fmt.Sprintf("the very same request came before, as delivery %s", earlier)}, nil
	})
	if err != nil {
		return err
	}
	if err := p.materialise(ctx, decision); err != nil {
		return fmt.Errorf("start what was decided on %s: %w", d.GUID, err)
	}
	return nil
}

// cause notes that a delivery is about its content, or tells which other one was: the GUID is not signed, so whoever caught
// a request could send it again under a fresh one. GitHub's own events differ at least in a time.
func (p *Planner) cause(ctx context.Context, d Delivery) (earlier string, err error) {
	var body bytes.Buffer
	if json.Compact(&body, d.Body) != nil { // what comes by GitHub's log has other white space
		body.Reset()
		body.Write(d.Body)
	}
	key := digest(d.Event + "\n" + body.String())
	_, err = p.Causes.Create(ctx, key, Cause{Delivery: d.GUID})
	if err == nil || !errors.Is(err, ErrExists) {
		return "", err
	}
	known, _, err := p.Causes.Get(ctx, key)
	if err != nil || known.Delivery == d.GUID {
		return "", err
	}
	// A click has no time of its own: one that started nothing may be made again, and is no other content then.
	if d.Event == "check_run" || d.Event == "check_suite" {
		before, _, err := p.Decisions.Get(ctx, known.Delivery)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", fmt.Errorf("read the decision %s: %w", known.Delivery, err)
		}
		if err == nil && (before.Outcome == OutcomeRefused || before.Outcome == OutcomeActed) {
			return "", nil
		}
	}
	return known.Delivery, nil
}

// settle returns the stored decision under a key, or decides and stores it: once and for ever.
func (p *Planner) settle(ctx context.Context, key string, decide func() (Decision, error)) (Decision, error) {
	decision, _, err := p.Decisions.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		decision, err = decide()
		if err != nil {
			return decision, fmt.Errorf("decide about %s: %w", key, err)
		}
		_, err = p.Decisions.Create(ctx, key, decision)
		if errors.Is(err, ErrExists) {
			decision, _, err = p.Decisions.Get(ctx, key)
		} else if err == nil {
			level := slog.LevelInfo
			if decision.Outcome == OutcomeIgnored { // above all the echoes of our own checks
				level = slog.LevelDebug
			}
			p.Log.Log(ctx, level, "decided", "delivery", key, "event", decision.Run.Event, "repository", decision.Run.Repository.FullName(),
				"outcome", decision.Outcome, "reason", decision.Reason, "run", decision.Run.ID)
			if p.Decided != nil {
				p.Decided(decision.Outcome)
			}
		}
	}
	if err != nil {
		return decision, fmt.Errorf("store the decision on %s: %w", key, err)
	}
	return decision, nil
}

// decide comes to a decision, or to an error when GitHub does not answer.
func (p *Planner) decide(ctx context.Context, d Delivery) (decision Decision, err error) {
	decision = Decision{Delivery: d.GUID, Time: p.Now()}
	ignore := func(format string, args ...any) (Decision, error) {
		decision.Outcome, decision.Reason = OutcomeIgnored, fmt.Sprintf(format, args...)
		return decision, nil
	}
	var e Event
	defer func() {
		if crash := recover(); crash != nil { // a delivery that crashes planning must not crash it for ever
			p.Log.ErrorContext(ctx, "planning crashed", "delivery", d.GUID, "panic", crash, "stack", string(debug.Stack()))
			decision, err = p.cannot(ctx, e, d, decision, "planning this delivery crashed; the server's log has the details")
		}
	}()
	e, err = p.Decode(d)
	var notHandled *NotHandled
	if errors.As(err, &notHandled) {
		return ignore("%s", notHandled.Reason)
	} else if err != nil {
		return ignore("the payload can't be read as a %s event: %v", d.Event, err)
	}
	decision.Run, decision.Happened = Describe(e), e.Time
	switch mode := p.Rules.Mode(e.Repository); {
	case mode == ModeOff:
		return ignore("the operator's repositories.allow does not list %s", e.Repository.FullName())
	case e.Repository.Archived:
		return ignore("%s is archived", e.Repository.FullName())
	}
	consider := p.consider
	switch {
	case e.Kind == EventCommand:
		consider = p.comment
	case e.Kind.Asks():
		consider = p.click
	}
	decided, err := consider(ctx, e, d, decision)
	var gone *Gone
	var refusal *Refusal
	switch {
	case errors.As(err, &gone):
		return ignore("%s", gone.Reason)
	case errors.As(err, &refusal):
		return p.cannot(ctx, e, d, decision, refusal.Sentence)
	case err != nil && p.Now().Sub(d.Received) > patience:
		return p.cannot(ctx, e, d, decision, "GitHub did not answer for three days: "+firstLine(err.Error()))
	}
	return decided, err
}

// cannot concludes that an event can't be planned. Where a check may be required it says so: one that is not there would be
// waited for for ever.
func (p *Planner) cannot(ctx context.Context, e Event, d Delivery, decision Decision, sentence string) (Decision, error) {
	decision.Outcome, decision.Reason = OutcomeIgnored, sentence
	if e.Kind != EventPullRequest && e.Kind != EventMergeGroup || decision.Run.SHA == "" || e.beside() != "" {
		return decision, nil
	}
	if observing, err := p.observing(ctx, e.Repository, d); err != nil || observing != "" {
		return decision, err
	}
	decision.Outcome, decision.Shown = OutcomeFault, true
	decision.Run.ID, decision.Run.Trust = RunID(d.GUID), Trust{Untrusted, "nothing was decided about it"}
	decision.Plan = Plan{Faults: []Fault{{Path: PipelinePath, Message: sentence}}}
	return decision, nil
}

// Describe is what an event says about the run it may start.
func Describe(e Event) RunInfo {
	run := RunInfo{
		Installation: e.Installation, Repository: e.Repository, Event: e.Kind, Action: e.Action, SHA: e.SHA(), Ref: e.Ref,
		Branch: e.Branch(), Tag: e.Tag(), Actor: e.Sender, CommitMessage: Cut(e.Message, 500),
	}
	if pr := e.PullRequest; pr != nil {
		run.Ref, run.Branch = PullRef(pr.Number), pr.HeadRef
		run.PullRequest, run.BaseBranch, run.Fork = pr.Number, pr.BaseRef, pr.HeadRepo != e.Repository.ID
		run.CommitMessage = Cut(pr.Title, 500)
	}
	if g := e.MergeGroup; g != nil {
		run.Ref, run.BaseBranch = g.HeadRef, cutRef(g.BaseRef, "refs/heads/")
	}
	if e.Release != nil {
		run.Prerelease = e.Release.Prerelease
	}
	return run
}

// PullRef is the ref GitHub keeps a pull request's head under.
func PullRef(number int) string { return fmt.Sprintf("refs/pull/%d/head", number) }

// consider decides about an event of a repository we may act for.
func (p *Planner) consider(ctx context.Context, e Event, d Delivery, decision Decision) (Decision, error) {
	nothing := func(format string, args ...any) (Decision, error) {
		decision.Outcome, decision.Reason = OutcomeNothing, fmt.Sprintf(format, args...)
		return decision, nil
	}
	var facts TrustFacts
	if e.Kind == EventPullRequest {
		reason, err := p.current(ctx, &e, &facts)
		if err != nil {
			return decision, err
		}
		decision.Run = Describe(e)
		if reason != "" {
			return nothing("%s", reason)
		}
	} else if reason, err := p.arrived(ctx, &e); err != nil || reason != "" {
		if err != nil {
			return decision, err
		}
		return nothing("%s", reason)
	} else if e.Kind != EventPush {
		decision.Run = Describe(e)
	}
	decision.Run.Trust = DecideTrust(e, facts, p.Bots)
	beside := e.beside()
	if beside != "" {
		decision.Run.Asked = &Asked{By: e.Sender, Command: beside}
	}
	if e.Kind == EventPullRequest && beside == "" && e.Action != "edited" {
		reason, err := p.already(ctx, decision.Run)
		switch {
		case err != nil:
			return decision, err
		case reason != "" && e.Action == "ready_for_review":
			return p.further(ctx, e, decision)
		case reason != "":
			return nothing("%s", reason)
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
	decision.Plan = p.planHead(in)
	if in.HasFile && decision.Run.Event == EventPush && decision.Run.OnDefaultBranch() {
		decision.Plan.Schedule = p.Pipelines.Schedules(in.File, in.Path)
	}
	observing, err := p.observing(ctx, e.Repository, d)
	if err != nil {
		return decision, err
	}
	conclude(&decision, observing)
	if beside != "" && decision.Outcome != OutcomeRun { // the pull request's own run says what is held or faulty
		decision.Shown = false
	}
	if decision.Shown {
		decision.Run.ID = RunID(d.GUID)
	}
	return decision, nil
}

// arrived fills in the commit of an event that names only a ref. A reason means that there is nothing to do.
func (p *Planner) arrived(ctx context.Context, e *Event) (reason string, err error) {
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

// further decides about a draft that is ready for review: what waited for that becomes the next attempt of the run that
// stands on the head, so that the one required check speaks of both.
func (p *Planner) further(ctx context.Context, e Event, decision Decision) (Decision, error) {
	nothing := func(format string, args ...any) (Decision, error) {
		decision.Outcome, decision.Reason = OutcomeNothing, fmt.Sprintf(format, args...)
		return decision, nil
	}
	run, err := p.standing(ctx, e.Repository.ID, decision.Run.SHA, decision.Run.Ref)
	if errors.Is(err, ErrNotFound) {
		return nothing("the run on this commit is no longer kept")
	}
	if err != nil {
		return decision, err
	}
	if run.Outcome != OutcomeRun || trustRank(decision.Run.Trust.Level) < trustRank(run.Trust.Level) {
		return nothing("run %s stands on this commit already", run.ID)
	}
	if !run.State.Over() {
		return decision, &Later{After: clickAgain, Reason: fmt.Sprintf("run %s is still under way", run.ID)}
	}
	first, _, err := p.Decisions.Get(ctx, run.Delivery)
	if errors.Is(err, ErrNotFound) {
		return nothing("what was decided about run %s is no longer kept", run.ID)
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
		return nothing("run %s stands on this commit already", run.ID)
	}
	decision.Run, decision.Plan, decision.Shown, decision.Outcome = run.again(), plan, true, OutcomeRun
	decision.Again = &Again{Run: run.ID, Jobs: names}
	decision.Reason = fmt.Sprintf("ready for review: %s more", plural(len(names), "job"))
	return decision, nil
}

// planHead plans an event. Another base, a reopening or an approval asks about the head as it stands: what starts on a new
// head starts then, too, so that a list of types never lets a pull request pass unchecked.
func (p *Planner) planHead(in PlanInput) Plan {
	plan := p.Pipelines.Plan(in)
	action := in.Event.Action
	if in.Event.Kind != EventPullRequest || in.Ask != nil || action == "opened" || action == "synchronize" && in.Trust.Level != Approved || in.Event.beside() != "" {
		return plan
	}
	for _, other := range []string{"synchronize", "opened"} {
		if plan.Selected() || plan.Faulty() || plan.SkipReason != "" {
			break
		}
		in.Event.Action = other
		if next := p.Pipelines.Plan(in); next.Selected() {
			return next
		}
	}
	return plan
}

// beside tells what was done to a pull request when that changes neither its head nor its base: what it starts stands beside
// the run of the head.
func (e Event) beside() string {
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

// current replaces what the payload said of a pull request by what is true now. A reason means that there is nothing
// to do: events are ordered by state, never by arrival.
func (p *Planner) current(ctx context.Context, e *Event, facts *TrustFacts) (reason string, err error) {
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
		return fmt.Sprintf("#%d was closed", said.Number), p.leave(ctx, *e)
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
	if facts.Approval, err = p.approvalOf(ctx, *e); err != nil {
		return "", err
	}
	approval := facts.Approval
	if now.HeadRepo == e.Repository.ID {
		if *facts, err = p.Pulls.Permission(ctx, e.Installation, e.Repository, e.Sender); err != nil {
			return "", fmt.Errorf("ask what %s may do: %w", e.Sender.Login, err)
		}
		facts.Approval = approval
	}
	return "", nil
}

// already tells of a run that stands on this very head of the pull request, so that reopening it or marking it ready
// does the work once.
func (p *Planner) already(ctx context.Context, run RunInfo) (reason string, err error) {
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
		_, in.HasDockerfile, err = read("Dockerfile")
		return in, err
	}
	if !in.Changes.Known && p.Pipelines.NeedsChanges(in) {
		in.Changes, err = p.changes(ctx, e)
	}
	return in, err
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

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
