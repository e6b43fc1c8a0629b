package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// A town is everything between the queue and the outside, on a queue in memory: real reconcilers, and a GitHub, a
// pipeline and kinds that do what the test says.
type town struct {
	t   testing.TB
	q   *queue.Queue
	log *slog.Logger

	mu         sync.Mutex
	heads      map[string]string // ref to SHA
	history    []string          // SHAs from oldest to newest, for Compare
	pulls      map[int]jobs.PullRequest
	perms      map[int64]string
	plan       func(jobs.PlanInput) jobs.Plan
	down       error  // what GitHub answers while it is set
	limited    string // what holds calls to GitHub back
	listed     string // a login that the operator lists for every command
	unreadable error  // what it answers about files
	asked      int    // calls to GitHub
	reported   map[string]jobs.RunState
	reports    int                      // how often runs were to be reported
	refuses    func(jobs.Run) error     // why a run can't be reported now; may be nil
	depth      func(jobs.KindName, int) // told by each sweep how many jobs of a kind wait; set before the first replica; may be nil
	teamsAsked int                      // how often GitHub was asked about teams
	mode       jobs.Mode
	declared   []jobs.DeclaredCommand
	schedules  []jobs.ScheduleEntry
	granted    jobs.Grant
	resolve    func(jobs.Run, jobs.Job) jobs.Resolution

	reactions map[int64][]string // by comment
	answers   map[int64][]string

	sweep time.Duration

	build func(context.Context, jobs.Task) (jobs.Result, error)
	halt  func(jobs.Task, jobs.Stop) (jobs.Result, error) // set before the first replica: builds have something at work outside
}

func newTown(t testing.TB) *town { return newTownOn(t, queue.Memory()) }

func newTownOn(t testing.TB, q *queue.Queue) *town {
	t.Cleanup(func() {
		if err := q.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	town := &town{
		t: t, q: q, log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		heads: map[string]string{}, pulls: map[int]jobs.PullRequest{}, perms: map[int64]string{9: "write"}, mode: jobs.ModeRun, sweep: 500 * time.Millisecond,
		reported: map[string]jobs.RunState{}, reactions: map[int64][]string{}, answers: map[int64][]string{},
		resolve: func(jobs.Run, jobs.Job) jobs.Resolution { return jobs.Resolution{Spec: []byte(`{}`)} },
		plan: func(jobs.PlanInput) jobs.Plan {
			return jobs.Plan{Pipeline: "the test's", Jobs: []jobs.PlannedJob{{Name: "image", Kind: jobs.KindBuild, Planned: true, Spec: json.RawMessage(`{}`)}}}
		},
		build: func(_ context.Context, task jobs.Task) (jobs.Result, error) {
			fmt.Fprintln(task.Log, "building")
			return jobs.Result{Conclusion: jobs.Success, Summary: "built"}, nil
		},
	}
	if _, err := queue.Set[jobs.Start](q, queue.Meta).Create(t.Context(), jobs.StartKey, jobs.Start{Since: time.Now().Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	return town
}

// replica starts a leader and a runner and returns what stops them in good order.
func (w *town) replica(name string) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	runs := queue.Set[jobs.Run](w.q, queue.Runs)
	scheduler := &jobs.Scheduler{
		Runs: runs, Archive: queue.Set[jobs.Run](w.q, queue.Archive), Hints: w.q.Hints(), Share: 2, Now: time.Now, Log: w.log,
		Resolve: func(run jobs.Run, job jobs.Job) jobs.Resolution { return w.resolve(run, job) },
	}
	leader := &jobs.Leader{
		Name: name, Leases: w.q.Leases(), Deliveries: w.q, Planner: w.planner(), Scheduler: scheduler,
		Sweeper:  &jobs.Sweeper{Runs: runs, Leases: w.q.Leases(), Hints: w.q.Hints(), Depth: w.depth, Now: time.Now, Log: w.log},
		Reporter: w, Replies: queue.Set[jobs.Reply](w.q, queue.Replies), Replier: w, Runs: runs, Sweep: w.sweep, Log: w.log,
	}
	var build jobs.Kind = kindFunc(func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		w.mu.Lock()
		build := w.build
		w.mu.Unlock()
		return build(ctx, task)
	})
	if w.halt != nil {
		build = stopper{build, w.halt}
	}
	kind := jobs.Slot{Kind: build, Count: 2}
	runner := &jobs.Runner{
		Name: name, Kinds: map[jobs.KindName]jobs.Slot{jobs.KindBuild: kind}, Runs: runs, Results: queue.Set[jobs.Result](w.q, queue.Results),
		Refs: queue.Set[jobs.RefRecord](w.q, queue.Refs), Watches: queue.Set[jobs.Watch](w.q, queue.Watches), Hints: w.q.Hints(), Leases: w.q.Leases(), Logs: w.q.Logs(),
		Grants: func(jobs.RunInfo) jobs.Grant { return jobs.Grant{} }, Mask: jobs.NewMask([]string{"hunter22"}), Now: time.Now, Log: w.log,
	}
	var wg sync.WaitGroup
	wg.Go(func() { leader.Run(ctx) })
	wg.Go(func() { runner.Run(ctx) })
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	w.t.Cleanup(stop)
	return stop
}

func (w *town) planner() *jobs.Planner {
	return &jobs.Planner{
		Decode: func(d jobs.Delivery) (e jobs.Event, err error) {
			if d.Event == "star" {
				return e, &jobs.NotHandled{Reason: "star events are not handled yet"}
			}
			err = json.Unmarshal(d.Body, &e)
			return e, err
		},
		Pulls: w, Commits: w, Rules: w, Pipelines: w,
		Decisions: queue.Set[jobs.Decision](w.q, queue.Decisions), Runs: queue.Set[jobs.Run](w.q, queue.Runs),
		Archive: queue.Set[jobs.Run](w.q, queue.Archive), Refs: queue.Set[jobs.RefRecord](w.q, queue.Refs), Index: w.q,
		Meta: queue.Set[jobs.Start](w.q, queue.Meta), Now: time.Now, Log: w.log,
		RateLimited: func(int64) string {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.limited
		},
		People: w, Repositories: w, Actions: w, Suggest: func(string, []string) string { return "" },
		Approvals: queue.Set[jobs.Approvals](w.q, queue.Approvals), Replies: queue.Set[jobs.Reply](w.q, queue.Replies),
		Watches: queue.Set[jobs.Watch](w.q, queue.Watches), Workflows: queue.Set[jobs.WorkflowRun](w.q, queue.Workflows),
		Causes: queue.Set[jobs.Cause](w.q, queue.Causes), Timetables: queue.Set[jobs.Timetable](w.q, queue.Schedules),
	}
}

func (w *town) Workflows(jobs.PlanInput) []jobs.WorkflowRef { return nil }

// Repository finds any repository by its name, but for one.
func (w *town) Repository(_ context.Context, name string) (int64, jobs.Repository, error) {
	if name != "acme/shop" {
		return 0, jobs.Repository{}, &jobs.Refusal{Sentence: "the App is not installed on " + name}
	}
	return 3, jobs.Repository{ID: 5, Owner: "acme", Name: "shop", DefaultBranch: "main"}, nil
}

func (w *town) WorkflowFile(_ context.Context, _ int64, _ jobs.Repository, ref jobs.WorkflowRef) (jobs.WorkflowFile, error) {
	return jobs.WorkflowFile{WorkflowRef: ref, Problem: "there are no workflows in this town"}, nil
}

func (w *town) BotLogin(context.Context) (string, error) { return "slipway[bot]", nil }

// A stopper is a kind with something at work outside.
type stopper struct {
	jobs.Kind
	stop func(jobs.Task, jobs.Stop) (jobs.Result, error)
}

func (s stopper) Stop(_ context.Context, task jobs.Task, stop jobs.Stop) (jobs.Result, error) {
	return s.stop(task, stop)
}

type kindFunc func(context.Context, jobs.Task) (jobs.Result, error)

func (f kindFunc) Run(ctx context.Context, task jobs.Task) (jobs.Result, error) { return f(ctx, task) }

// deliver stores an event as the webhook would.
func (w *town) deliver(guid string, e jobs.Event) {
	w.t.Helper()
	if e.Repository.ID == 0 {
		e.Repository = jobs.Repository{ID: 5, Owner: "acme", Name: "shop", DefaultBranch: "main"}
	}
	e.Installation, e.Delivery = 3, guid
	if e.Kind == jobs.EventRequest { // names no more than its repository
		e.Installation, e.Repository = 0, jobs.Repository{}
	}
	if e.Sender.ID == 0 {
		e.Sender = jobs.Actor{ID: 9, Login: "alice", Type: "User"}
	}
	body, err := json.Marshal(e)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.q.Accept(w.t.Context(), jobs.Delivery{GUID: guid, Event: string(e.Kind), Received: time.Now(), Body: body}); err != nil {
		w.t.Fatal(err)
	}
}

// push moves main on by one commit and returns its event.
func (w *town) push(sha string) jobs.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	sha = strings.Repeat(sha, 40)
	e := jobs.Event{Kind: jobs.EventPush, Ref: "refs/heads/main", Before: w.heads["refs/heads/main"], After: sha}
	w.heads["refs/heads/main"] = sha
	w.history = append(w.history, sha)
	return e
}

// pull opens or moves a pull request and returns its event.
func (w *town) pull(number int, sha string, headRepo int64) jobs.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	pr := jobs.PullRequest{Number: number, State: "open", HeadRef: "feat", HeadSHA: strings.Repeat(sha, 40), HeadRepo: headRepo, BaseRef: "main", BaseSHA: strings.Repeat("0", 40)}
	w.pulls[number] = pr
	return jobs.Event{Kind: jobs.EventPullRequest, Action: "synchronize", PullRequest: &pr}
}

// decision waits for a delivery's decision.
func (w *town) decision(guid string) (d jobs.Decision) {
	w.t.Helper()
	w.await("a decision on "+guid, func() (ok bool) {
		var err error
		d, _, err = queue.Set[jobs.Decision](w.q, queue.Decisions).Get(w.t.Context(), guid)
		return err == nil
	})
	return d
}

// finished waits until a delivery's run is over, reported and put away.
func (w *town) finished(guid string) (r jobs.Run) {
	w.t.Helper()
	w.await("the end of "+guid, func() bool {
		var err error
		r, _, err = queue.Set[jobs.Run](w.q, queue.Archive).Get(w.t.Context(), jobs.RunID(guid))
		return err == nil
	})
	return r
}

// active waits until a delivery's run is there and answers to the condition.
func (w *town) active(guid string, is func(jobs.Run) bool) (r jobs.Run) {
	w.t.Helper()
	w.await("the run of "+guid, func() bool {
		var err error
		r, _, err = queue.Set[jobs.Run](w.q, queue.Runs).Get(w.t.Context(), jobs.RunID(guid))
		return err == nil && is(r)
	})
	return r
}

func (w *town) await(what string, done func() bool) {
	w.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			w.t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// set changes the town under its lock.
func (w *town) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// ask counts a question to GitHub.
func (w *town) ask() error {
	w.asked++
	return w.down
}

func (w *town) PullRequest(_ context.Context, _ int64, _ jobs.Repository, number int) (jobs.PullRequest, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pulls[number], w.ask()
}

func (w *town) PullFiles(context.Context, int64, jobs.Repository, int) (jobs.Changes, error) {
	return jobs.Changes{Known: true}, nil
}

func (w *town) Permission(_ context.Context, _ int64, _ jobs.Repository, a jobs.Actor) (jobs.TrustFacts, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return jobs.TrustFacts{Permission: w.perms[a.ID], PermissionOf: a.ID}, w.ask()
}

func (w *town) File(context.Context, int64, jobs.Repository, string, string) ([]byte, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unreadable != nil {
		return nil, false, w.unreadable
	}
	return nil, true, w.ask()
}

func (w *town) Compare(_ context.Context, _ int64, _ jobs.Repository, base, head string) (string, jobs.Changes, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := func(sha string) int {
		for i, s := range w.history {
			if s == sha {
				return i
			}
		}
		return -1
	}
	status := "diverged"
	if b, h := at(base), at(head); b >= 0 && h >= 0 {
		status = map[bool]string{true: "ahead", false: "behind"}[h > b]
	}
	return status, jobs.Changes{}, w.ask()
}

func (w *town) Head(_ context.Context, _ int64, _ jobs.Repository, ref string) (string, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sha, ok := w.heads[ref]
	return sha, ok, w.ask()
}

func (w *town) Mode(jobs.Repository) jobs.Mode      { return w.mode }
func (w *town) Grant(jobs.RunInfo) jobs.Grant       { return w.granted }
func (w *town) DefaultImage(jobs.Repository) string { return "" }
func (w *town) Command(name string) jobs.CommandPolicy {
	w.mu.Lock()
	defer w.mu.Unlock()
	policy := jobs.DefaultCommandPolicy(name)
	if w.listed != "" {
		policy.Users = []string{w.listed}
	}
	return policy
}
func (w *town) Commands([]byte, string) []jobs.DeclaredCommand { return w.declared }
func (w *town) Schedules([]byte, string) []jobs.ScheduleEntry  { return w.schedules }
func (w *town) InTeam(context.Context, int64, jobs.Repository, string, jobs.Actor) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.teamsAsked++
	return false, nil
}

func (w *town) React(_ context.Context, reply jobs.Reply, reaction string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reactions[reply.Comment.ID] = append(w.reactions[reply.Comment.ID], reaction)
	return w.down
}

func (w *town) Answer(_ context.Context, reply jobs.Reply) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[reply.Comment.ID] = append(w.answers[reply.Comment.ID], reply.Text)
	return 1, w.down
}

func (w *town) NeedsChanges(jobs.PlanInput) bool { return false }
func (w *town) Plan(in jobs.PlanInput) jobs.Plan { return w.plan(in) }
func (w *town) Report(_ context.Context, r jobs.Run) (time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(w.down, errAway) {
		return 0, &jobs.Later{After: time.Second, Reason: "GitHub is away"}
	}
	w.reports++
	if w.refuses != nil {
		if err := w.refuses(r); err != nil {
			return 0, err
		}
	}
	w.reported[r.ID] = r.State
	return 0, nil
}

var errAway = errors.New("GitHub is away")

// lines reads a whole log.
func (w *town) lines(run string) (all string) {
	w.t.Helper()
	var b strings.Builder
	err := w.q.Logs().Read(w.t.Context(), jobs.LogKey{Run: run, Job: "image", Attempt: 1}, jobs.LogRange{}, func(c jobs.LogChunk) error {
		for i, line := range c.Lines {
			fmt.Fprintf(&b, "%d %s\n", c.First+i, line)
		}
		return nil
	})
	if err != nil && !errors.Is(err, io.EOF) {
		w.t.Fatal(err)
	}
	return b.String()
}

// waitFor waits until the gate is opened, or the work is no longer wanted.
func waitFor(ctx context.Context, gate <-chan struct{}) {
	select {
	case <-gate:
	case <-ctx.Done():
	}
}
