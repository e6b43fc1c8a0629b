package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
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
	// Workflows are the workflow files that the plan depends on: those that dispatch jobs name. It is asked only for trusted runs.
	Workflows(in PlanInput) []WorkflowRef
	// Schedules are the moments that a pipeline file waits for; those with faults are left out.
	Schedules(file []byte, path string) []ScheduleEntry
}

// Actions answers what planning asks GitHub about workflows.
type Actions interface {
	// WorkflowFile reads a workflow file. What is not there is the file's Problem, not an error.
	WorkflowFile(ctx context.Context, installation int64, repo Repository, ref WorkflowRef) (WorkflowFile, error)
	// BotLogin is the account that GitHub says started what Slipway dispatched.
	BotLogin(ctx context.Context) (string, error)
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

// patience is how long planning one delivery is retried. GitHub's own log of deliveries goes back as long.
const patience = 72 * time.Hour

// A Planner turns a stored delivery into a stored decision, and the decision into a run. Only the leader plans.
type Planner struct {
	Decode       func(Delivery) (Event, error)
	Pulls        Pulls
	Commits      Commits
	People       People
	Repositories RepositoryFinder
	Actions      Actions
	Rules        Rules
	Pipelines    Pipelines
	Suggest      func(word string, names []string) string // which of the names a word was probably meant to be, or ""
	Bots         []string                                 // logins of bots that may send pull requests
	Decisions    Records[Decision]
	Runs         Set[Run]
	Archive      Records[Run]
	Refs         Records[RefRecord]
	Index        Index
	Meta         Records[Start]
	Approvals    Records[Approvals]
	Replies      Records[Reply]
	Causes       Records[Cause]
	Watches      Records[Watch]
	Workflows    Records[WorkflowRun]
	// Timetables are where schedules are kept; nil leaves them alone.
	Timetables  Records[Timetable]
	Decided     func(Outcome)                   // told of every decision made; may be nil
	RateLimited func(installation int64) string // what of GitHub's limits holds an installation's calls back, or ""; may be nil
	Now         func() time.Time
	Log         *slog.Logger

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
		return Decision{Delivery: d.GUID, Time: p.Now()}.conclude(OutcomeIgnored, "the very same request came before, as delivery %s", earlier), nil
	})
	if err != nil {
		return err
	}
	if err := p.materialise(ctx, decision); err != nil {
		return fmt.Errorf("start what was decided on %s: %w", d.GUID, err)
	}
	return nil
}

// cause records a digest of the delivery's content, or returns the GUID of an earlier delivery with the same content. The
// GUID is not signed, so whoever caught a request could send it again under a fresh one. GitHub's own events differ at least
// in a time.
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
			if decision.Outcome == OutcomeIgnored || decision.Outcome == OutcomeNoted { // above all the echoes of our own checks
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
	var e Event
	defer func() {
		if crash := recover(); crash != nil { // a delivery that crashes planning must not crash it for ever
			p.Log.ErrorContext(ctx, "planning crashed", "delivery", d.GUID, "panic", crash, "stack", string(debug.Stack()))
			decision, err = p.concludeFault(ctx, e, d, decision, "planning this delivery crashed; the server's log has the details")
		}
	}()
	e, err = p.Decode(d)
	var notHandled *NotHandled
	if errors.As(err, &notHandled) {
		return decision.conclude(OutcomeIgnored, "%s", notHandled.Reason), nil
	} else if err != nil {
		return decision.conclude(OutcomeIgnored, "the payload can't be read as a %s event: %v", d.Event, err), nil
	}
	if err == nil && e.Kind == EventRequest {
		err = p.placeRequest(ctx, &e)
	}
	decision.Run, decision.Happened = Describe(e), e.Time
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return p.concludeFault(ctx, e, d, decision, refusal.Sentence)
	} else if err != nil {
		return decision, err
	}
	switch mode := p.Rules.Mode(e.Repository); {
	case mode == ModeOff && e.Kind.News(): // somebody's job may follow a workflow there
	case mode == ModeOff:
		if err := p.unschedule(ctx, e); err != nil {
			return decision, err
		}
		return decision.conclude(OutcomeIgnored, "the operator's repositories.allow does not list %s", e.Repository.FullName()), nil
	case e.Repository.Archived:
		return decision.conclude(OutcomeIgnored, "%s is archived", e.Repository.FullName()), nil
	}
	plan := p.planEvent
	switch {
	case e.Kind == EventCommand:
		plan = p.comment
	case e.Kind == EventRequest:
		plan = p.request
	case e.Kind == EventWorkflow || e.Kind == EventChecked:
		plan = p.handleNews
	case e.Kind.Asks():
		plan = p.click
	}
	decided, err := plan(ctx, e, d, decision)
	var gone *Gone
	switch {
	case errors.As(err, &gone):
		if err := p.unschedule(ctx, e); err != nil {
			return decision, err
		}
		return decision.conclude(OutcomeIgnored, "%s", gone.Reason), nil
	case errors.As(err, &refusal):
		return p.concludeFault(ctx, e, d, decision, refusal.Sentence)
	case err != nil && p.Now().Sub(d.Received) > patience:
		p.Log.WarnContext(ctx, "gave up deciding about a delivery", "delivery", d.GUID, "error", err)
		sentence := "GitHub did not answer for three days; the server's log has the details"
		var later *Later
		if errors.As(err, &later) {
			sentence = "it waited for three days in vain: " + later.Reason
		}
		return p.concludeFault(ctx, e, d, decision, sentence)
	}
	return decided, err
}

// concludeFault concludes that an event can't be planned. It shows a failed check where one may be required: a required check that
// never appears blocks the merge.
func (p *Planner) concludeFault(ctx context.Context, e Event, d Delivery, decision Decision, sentence string) (Decision, error) {
	decision = decision.conclude(OutcomeIgnored, "%s", sentence)
	if e.Kind.Asks() { // it may be asked for again
		decision.Outcome = OutcomeRefused
	}
	if e.Kind != EventPullRequest && e.Kind != EventMergeGroup || decision.Run.SHA == "" || e.sideAction() != "" {
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

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
