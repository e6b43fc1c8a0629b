package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// onceHints gives one hint, and tells when another is asked for.
type onceHints struct {
	hint  chan jobs.Hint
	acked func(context.Context) error
	again chan struct{}
	taken atomic.Int32
}

func (*onceHints) Offer(context.Context, jobs.Hint) error { return nil }
func (h *onceHints) Take(ctx context.Context, _ jobs.KindName) (jobs.Hint, func(context.Context) error, error) {
	if h.taken.Add(1) == 2 {
		close(h.again)
	}
	select {
	case hint := <-h.hint:
		return hint, h.acked, nil
	case <-ctx.Done():
		return jobs.Hint{}, nil, ctx.Err()
	}
}

// deafRuns tell of no change, as a store that is slow to tell.
type deafRuns struct{ jobs.Set[jobs.Run] }

func (deafRuns) Watch(ctx context.Context) (<-chan string, error) {
	c := make(chan string)
	context.AfterFunc(ctx, func() { close(c) })
	return c, nil
}

// alone lets one worker, to whom the store tells of no change, take up the job "image" of the run, until it asks for more.
func (w *town) alone(run jobs.Run, acked func(context.Context) error, kind kindFunc, change ...func(*jobs.Runner)) {
	w.t.Helper()
	runs := queue.Set[jobs.Run](w.q, queue.Runs)
	if _, err := runs.Create(w.t.Context(), run.ID, run); err != nil {
		w.t.Fatal(err)
	}
	hints := &onceHints{hint: make(chan jobs.Hint, 1), acked: acked, again: make(chan struct{})}
	hints.hint <- jobs.Hint{Kind: jobs.KindBuild, Run: run.ID, Job: "image"}
	runner := &jobs.Runner{
		Name: "one", Kinds: map[jobs.KindName]jobs.Slot{jobs.KindBuild: {Kind: kind, Count: 1}}, Runs: deafRuns{runs},
		Results: queue.Set[jobs.Result](w.q, queue.Results), Refs: queue.Set[jobs.RefRecord](w.q, queue.Refs), Watches: queue.Set[jobs.Watch](w.q, queue.Watches),
		Hints: hints, Leases: w.q.Leases(), Logs: w.q.Logs(), Grants: func(jobs.RunInfo) jobs.Grant { return jobs.Grant{} }, Mask: jobs.NewMask(nil),
		ClaimTTL: 20 * time.Second, Now: time.Now, Log: w.log,
	}
	for _, c := range change {
		c(runner)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() { runner.Run(ctx); close(done) }()
	<-hints.again
	cancel()
	<-done
}

func offered(job jobs.Job) jobs.Run {
	job.Name, job.Kind, job.Attempt, job.State, job.Spec = "image", jobs.KindBuild, 1, jobs.JobOffered, []byte(`{}`)
	return jobs.Run{RunInfo: jobs.RunInfo{ID: "r-1"}, State: jobs.RunActive, Jobs: []jobs.Job{job}}
}

func TestAStopRightAfterTheClaimIsSeen(t *testing.T) {
	w := newTown(t)
	stop := func(ctx context.Context) error { // while the worker acks its hint
		_, err := jobs.Change(ctx, queue.Set[jobs.Run](w.q, queue.Runs), "r-1", func(r *jobs.Run) error {
			r.RequestStop(jobs.Stop{Reason: "cancelled by alice", Time: time.Now()})
			return nil
		})
		return err
	}
	w.alone(offered(jobs.Job{}), stop, func(ctx context.Context, _ jobs.Task) (jobs.Result, error) {
		select {
		case <-ctx.Done():
			return jobs.Result{}, ctx.Err()
		case <-time.After(2 * time.Minute):
			t.Error("the job never heard that it was stopped")
			return jobs.Result{Conclusion: jobs.Success}, nil
		}
	})
}

func noAck(context.Context) error { return nil }

// loseClaim does what the sweeper and another worker do to a job whose lease ran out.
func (w *town) loseClaim(ctx context.Context, runs jobs.Set[jobs.Run], task jobs.Task) {
	_, err := jobs.Change(ctx, runs, task.Run.ID, func(r *jobs.Run) error {
		return errors.Join(r.HandBack(task.Job, task.Claim, "its worker died", time.Time{}, true), r.Offer(task.Job),
			r.Claim(task.Job, jobs.Claim{Token: "other", Worker: "two", Time: time.Now()}))
	})
	if err != nil {
		w.t.Error(err)
	}
}

func TestALostClaimRemovesNothing(t *testing.T) {
	w := newTown(t)
	runs, results := queue.Set[jobs.Run](w.q, queue.Runs), queue.Set[jobs.Result](w.q, queue.Results)
	key := jobs.ResultKey("r-1", "image", 1, 1)
	if _, err := results.Create(t.Context(), key, jobs.Result{Details: "as it stood"}); err != nil {
		t.Fatal(err)
	}
	w.alone(offered(jobs.Job{Claims: 1, Parked: true, ResultKey: key}), noAck, func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		w.loseClaim(ctx, runs, task)
		return jobs.Result{}, &jobs.Later{After: time.Hour, Reason: "waits", Progress: &jobs.Result{Details: "news"}}
	})
	left := 0
	err := results.All(t.Context(), func(k string, _ jobs.Result, _ uint64) error {
		if left++; k != key {
			t.Errorf("%s is left behind", k)
		}
		return nil
	})
	if err != nil || left != 1 {
		t.Errorf("%d results are kept, want the one that the record points to, %v", left, err)
	}
}

// A stopped job whose Stop can't be done at once is not asked to again and again.
func TestAStoppedJobWaitsAsLongAsItSays(t *testing.T) {
	for name, later := range map[string]*jobs.Later{
		"parked":      {After: time.Hour, Reason: "looks for it", Progress: &jobs.Result{Summary: "looks"}},
		"handed back": {After: time.Hour, Reason: "GitHub's limit is used up"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			w.build = follow(w)
			var stops atomic.Int32
			w.halt = func(jobs.Task, jobs.Stop) (jobs.Result, error) {
				stops.Add(1)
				return jobs.Result{}, later
			}
			w.replica("one")
			w.deliver("guid-pull-1", w.pull(7, "a", 5))
			w.active("guid-pull-1", parked("hello is "))
			w.deliver("guid-pull-2", w.pull(7, "b", 5))
			w.active("guid-pull-1", func(r jobs.Run) bool {
				j := r.Jobs[0]
				return j.Stopping && j.State == jobs.JobQueued && j.NotBefore.After(time.Now().Add(30*time.Minute))
			})
			if n := stops.Load(); n != 1 {
				t.Errorf("it was called %d times, want once", n)
			}
		})
	}
}

// The button of an earlier wait lets nothing go on that waits since.
func TestAnOldButtonApprovesNothingElse(t *testing.T) {
	w := newTown(t)
	w.build = func(_ context.Context, task jobs.Task) (jobs.Result, error) {
		environment := "staging"
		if len(task.Orders) > 0 {
			environment = "production"
		}
		return jobs.Result{}, &jobs.Later{After: time.Hour, Reason: "waits for " + environment, Progress: &jobs.Result{}, Approvals: []string{environment}}
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	run := w.active("guid-push-1", parked("waits for staging"))
	click := func(guid, round string) jobs.Decision {
		w.deliver(guid, jobs.Event{Kind: jobs.EventButton, Check: &jobs.CheckClick{
			ID: 3, ExternalID: run.ID + "/slipway / image" + round, SHA: run.SHA, Button: jobs.ButtonApprove}})
		return w.decision(guid)
	}
	if d := click("guid-click-1", ""); len(d.Orders) != 1 || d.Orders[0].Names[0] != "staging" {
		t.Errorf("%+v", d)
	}
	w.active("guid-push-1", parked("waits for production"))
	if d := click("guid-click-2", ""); len(d.Orders) > 0 || d.Outcome != jobs.OutcomeRefused {
		t.Errorf("a click on the check of the wait before was decided as: %s", d.Reason)
	}
	if d := click("guid-click-3", "#1"); len(d.Orders) != 1 || d.Orders[0].Names[0] != "production" {
		t.Errorf("%+v", d)
	}
}

// Where the operator has an environment of the same name, those who may approve it there may let it go on at GitHub, and nobody else.
func TestTheOperatorsApprovalsHoldOnGitHubToo(t *testing.T) {
	w := newTown(t)
	w.granted.Environments = []jobs.EnvironmentGrant{{Name: "production", Approvals: jobs.ApprovalRule{Count: 1, Users: []string{"carol"}}}}
	w.perms[10] = "write"
	w.build = func(_ context.Context, task jobs.Task) (jobs.Result, error) {
		if len(task.Orders) > 0 {
			return jobs.Result{Conclusion: jobs.Success, Summary: "let in by " + task.Orders[0].By.Login}, nil
		}
		return jobs.Result{}, &jobs.Later{After: time.Hour, Reason: "waits", Progress: &jobs.Result{}, Approvals: []string{"production"}}
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	run := w.active("guid-push-1", parked("waits"))
	click := func(guid string, who jobs.Actor) {
		w.deliver(guid, jobs.Event{Kind: jobs.EventButton, Sender: who, Check: &jobs.CheckClick{
			ID: 3, ExternalID: run.ID + "/slipway", SHA: run.SHA, Button: jobs.ButtonApprove}})
	}
	click("guid-click-1", jobs.Actor{ID: 9, Login: "alice", Type: "User"})
	if d := w.decision("guid-click-1"); d.Outcome != jobs.OutcomeRefused {
		t.Errorf("alice's click was decided as %s: %s", d.Outcome, d.Reason)
	}
	click("guid-click-2", jobs.Actor{ID: 10, Login: "carol", Type: "User"})
	if end := w.finished("guid-push-1"); end.Jobs[0].Summary != "let in by carol" {
		t.Errorf("%+v", end.Jobs[0])
	}
}

// What is known of a large workflow run fits a record, and news that do not fit in are decided nevertheless.
func TestALargeWorkflowRunFitsItsRecord(t *testing.T) {
	w := newTown(t)
	at := time.Now().UTC().Truncate(time.Second)
	news := func(n int) jobs.WorkflowRun {
		job := jobs.WorkflowJob{ID: int64(30_000_000_000 + n), Attempt: 1, Name: fmt.Sprintf("test (<ubuntu-24.04>, go 1.26, shard %d)", n), Status: "completed",
			Conclusion: "failure", URL: "https://github.com/acme/shop/actions/runs/12345678901/job/30000000000", Started: at, Completed: at}
		for s := range 200 {
			job.Steps = append(job.Steps, jobs.WorkflowStep{Number: s + 1, Name: "Run make test integration", Status: "completed", Conclusion: "success", Started: at, Completed: at})
		}
		return jobs.WorkflowRun{ID: 77, Attempt: 1, Status: "in_progress", Updated: at, Jobs: []jobs.WorkflowJob{job}}
	}
	var run jobs.WorkflowRun
	for n := range 150 {
		run.Learn(news(n))
	}
	if len(run.Jobs) != 100 {
		t.Errorf("%d jobs are known, want 100", len(run.Jobs))
	}
	if _, err := queue.Set[jobs.WorkflowRun](w.q, queue.Workflows).Create(t.Context(), workflows, run); err != nil {
		t.Fatal(err)
	}
	w.replica("one")
	more := news(200)
	w.deliver("guid-job-1", jobs.Event{Kind: jobs.EventWorkflow, Workflow: &more})
	w.decision("guid-job-1")
}
