package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

func TestAPushGoesAllTheWay(t *testing.T) {
	w := newTown(t)
	w.build = func(_ context.Context, task jobs.Task) (jobs.Result, error) {
		fmt.Fprint(task.Log, "one\ntwo with hunter22 and ghs_abcdefghijklmnopqrstuvwxyz\nthree without an end")
		return jobs.Result{Conclusion: jobs.Success, Summary: "built", Outputs: map[string]any{"digest": "sha256:1"}}, nil
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	run := w.finished("guid-push-1")
	if run.State != jobs.RunSucceeded || run.Jobs[0].Summary != "built" || run.Jobs[0].Outputs["digest"] != "sha256:1" {
		t.Errorf("%+v", run)
	}
	if w.reported[run.ID] != jobs.RunSucceeded {
		t.Errorf("GitHub was told %q", w.reported[run.ID])
	}
	if got, want := w.lines(run.ID), "1 one\n2 two with *** and ***\n3 three without an end\n4 slipway: success: built\n"; got != want {
		t.Errorf("the log is\n%swant\n%s", got, want)
	}
	result, _, err := queue.Set[jobs.Result](w.q, queue.Results).Get(t.Context(), run.Jobs[0].ResultKey)
	if err != nil || result.Summary != "built" {
		t.Errorf("result %+v, %v", result, err)
	}
}

func TestTheSameDeliveryTwiceIsOneRun(t *testing.T) {
	w := newTown(t)
	var built atomic.Int32
	w.build = func(context.Context, jobs.Task) (jobs.Result, error) {
		built.Add(1)
		return jobs.Result{Conclusion: jobs.Success}, nil
	}
	e := w.push("a")
	w.deliver("guid-push-1", e)
	w.deliver("guid-push-1", e)
	w.replica("one")
	w.finished("guid-push-1")
	// Once more, as after a crash that forgot how far it had read.
	if err := w.planner().Handle(t.Context(), jobs.Delivery{GUID: "guid-push-1", Event: "push", Received: time.Now()}); err != nil {
		t.Fatal(err)
	}
	w.deliver("guid-push-2", w.push("b"))
	w.finished("guid-push-2")
	if built.Load() != 2 {
		t.Errorf("built %d times, want once for each push", built.Load())
	}
	entries, err := w.q.Runs(t.Context(), 0, 10, queue.RunFilter{})
	if err != nil || len(entries) != 2 {
		t.Errorf("%d runs are listed, %v", len(entries), err)
	}
}

func TestTroubleOfOursIsRetried(t *testing.T) {
	w := newTown(t)
	var tries atomic.Int32
	w.build = func(context.Context, jobs.Task) (jobs.Result, error) {
		switch tries.Add(1) {
		case 1:
			return jobs.Result{}, errors.New("connection refused")
		case 2:
			panic("a bug")
		}
		return jobs.Result{Conclusion: jobs.Success}, nil
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	run := w.finished("guid-push-1")
	if j := run.Jobs[0]; run.State != jobs.RunSucceeded || j.Troubles != 2 || j.Claims != 3 || j.Attempt != 1 {
		t.Errorf("run %s, %d troubles, %d claims, attempt %d", run.State, j.Troubles, j.Claims, j.Attempt)
	}
}

func TestARefusalIsFinal(t *testing.T) {
	w := newTown(t)
	w.build = func(context.Context, jobs.Task) (jobs.Result, error) {
		return jobs.Result{}, &jobs.Refusal{Sentence: "the image is not granted", Cause: errors.New("policy")}
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	run := w.finished("guid-push-1")
	if run.State != jobs.RunFailed || run.Jobs[0].Summary != "the image is not granted" || run.Jobs[0].Claims != 1 {
		t.Errorf("%+v", run)
	}
}

func TestAShutdownHandsTheJobBackAtNoCost(t *testing.T) {
	w := newTown(t)
	started := make(chan struct{}, 1)
	w.build = func(ctx context.Context, _ jobs.Task) (jobs.Result, error) {
		started <- struct{}{}
		<-ctx.Done()
		return jobs.Result{}, ctx.Err()
	}
	stop := w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	<-started
	w.set(func() {
		w.build = func(context.Context, jobs.Task) (jobs.Result, error) {
			return jobs.Result{Conclusion: jobs.Success}, nil
		}
	})
	stop()
	w.replica("two")
	run := w.finished("guid-push-1")
	if j := run.Jobs[0]; run.State != jobs.RunSucceeded || j.Troubles != 0 || j.Attempt != 1 || j.Claims != 2 {
		t.Errorf("run %s, %d troubles, attempt %d, %d claims", run.State, j.Troubles, j.Attempt, j.Claims)
	}
}

// TestADeadWorkersJobGoesToAnother leaves a claim in the record that nobody holds, as kill -9 does.
func TestADeadWorkersJobGoesToAnother(t *testing.T) {
	w := newTown(t)
	planner := w.planner()
	e := w.push("a")
	w.deliver("guid-push-1", e)
	d, err := w.q.Delivery(t.Context(), "guid-push-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := planner.Handle(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	_, err = jobs.Change(t.Context(), queue.Set[jobs.Run](w.q, queue.Runs), jobs.RunID("guid-push-1"), func(r *jobs.Run) error {
		if _, err := r.Advance(time.Now(), w.resolve); err != nil {
			return err
		}
		return errors.Join(r.Offer("image"), r.Claim("image", jobs.Claim{Token: "dead", Worker: "gone", Time: time.Now().Add(-jobs.DefaultClaimTTL)}))
	})
	if err != nil {
		t.Fatal(err)
	}
	w.replica("two")
	run := w.finished("guid-push-1")
	if j := run.Jobs[0]; run.State != jobs.RunSucceeded || j.Claims != 2 || j.Troubles != 1 {
		t.Errorf("run %s, %d claims, %d troubles", run.State, j.Claims, j.Troubles)
	}
}

func TestANewerPushSupersedesThePullRequestsRun(t *testing.T) {
	w := newTown(t)
	started := make(chan string, 2)
	w.build = func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		started <- task.Run.SHA
		if strings.HasPrefix(task.Run.SHA, "a") {
			<-ctx.Done()
			return jobs.Result{}, ctx.Err()
		}
		return jobs.Result{Conclusion: jobs.Success}, nil
	}
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "a", 5))
	<-started
	w.deliver("guid-pull-2", w.pull(7, "b", 5))
	first, second := w.finished("guid-pull-1"), w.finished("guid-pull-2")
	if first.State != jobs.RunCancelled || first.Jobs[0].Summary != "superseded by a newer push, bbbbbbbbbbbb" {
		t.Errorf("the older run is %s: %s", first.State, first.Jobs[0].Summary)
	}
	if second.State != jobs.RunSucceeded {
		t.Errorf("the newer run is %s", second.State)
	}
	// Late news of the older head starts nothing.
	late := w.pull(7, "b", 5)
	late.PullRequest = &jobs.PullRequest{Number: 7, State: "open", HeadSHA: strings.Repeat("a", 40), HeadRepo: 5, BaseSHA: strings.Repeat("0", 40)}
	w.deliver("guid-pull-3", late)
	if d := w.decision("guid-pull-3"); d.Outcome != jobs.OutcomeNothing || !strings.Contains(d.Reason, "is at bbbbbbbbbbbb by now") {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
	// Nor does the same head once more.
	w.deliver("guid-pull-4", w.pull(7, "b", 5))
	if d := w.decision("guid-pull-4"); d.Outcome != jobs.OutcomeNothing || !strings.Contains(d.Reason, "stands on this commit already") {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
}

func TestTheDefaultBranchIsNeverCancelledNorTakenBack(t *testing.T) {
	w := newTown(t)
	type answer struct {
		sha    string
		newest bool
	}
	answers := make(chan answer, 4)
	gate := make(chan struct{})
	w.build = func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		if strings.HasPrefix(task.Run.SHA, "b") {
			waitFor(ctx, gate)
		}
		ok, _, err := task.Newest(ctx)
		answers <- answer{task.Run.SHA[:1], ok}
		return jobs.Result{Conclusion: jobs.Success}, err
	}
	w.replica("one")
	a := w.push("a")
	w.deliver("guid-push-a", a)
	if got := <-answers; !got.newest {
		t.Error("a is the newest and was told otherwise")
	}
	b := w.push("b")
	w.deliver("guid-push-b", b)
	w.decision("guid-push-b")
	w.deliver("guid-push-c", w.push("c"))
	if got := <-answers; got != (answer{"c", true}) {
		t.Errorf("got %v, want c to be the newest", got)
	}
	close(gate)
	if got := <-answers; got != (answer{"b", false}) {
		t.Errorf("got %v, want b to be behind", got)
	}
	if run := w.finished("guid-push-b"); run.State != jobs.RunSucceeded {
		t.Errorf("the default branch's run is %s", run.State)
	}
	// A late delivery of an old push is planned as stale.
	w.deliver("guid-push-late", jobs.Event{Kind: jobs.EventPush, Ref: "refs/heads/main", Before: a.After, After: b.After})
	if d := w.decision("guid-push-late"); d.Stale != "main is at cccccccccccc by now" {
		t.Errorf("stale is %q", d.Stale)
	}
	w.finished("guid-push-late")
	if got := <-answers; got.newest {
		t.Error("a stale push was told that it is the newest")
	}
}

// TestPushesDecidedOutOfOrderKeepTheNewest plans the newer push first.
func TestPushesDecidedOutOfOrderKeepTheNewest(t *testing.T) {
	w := newTown(t)
	zero, a, b := w.push("0"), w.push("a"), w.push("b")
	handle := func(guid string, e jobs.Event) {
		w.deliver(guid, e)
		d, err := w.q.Delivery(t.Context(), guid)
		if err == nil {
			err = w.planner().Handle(t.Context(), d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.set(func() { w.heads["refs/heads/main"] = zero.After })
	handle("guid-push-0", zero)
	w.set(func() { w.heads["refs/heads/main"] = b.After })
	handle("guid-push-b", b)
	handle("guid-push-a", a)
	ref, _, err := queue.Set[jobs.RefRecord](w.q, queue.Refs).Get(t.Context(), jobs.RefKey(5, "refs/heads/main"))
	if err != nil || ref.SHA != b.After {
		t.Errorf("main stands at %.1s, %v; want b", ref.SHA, err)
	}
}

func TestWhoGetsWhat(t *testing.T) {
	fork := func(w *town) jobs.Event { return w.pull(7, "a", 6) }
	for name, c := range map[string]struct {
		event  func(*town) jobs.Event
		change func(*town)
		want   jobs.Outcome
		reason string
		shown  bool
	}{
		"a fork is held":    {fork, nil, jobs.OutcomeHeld, "fork", true},
		"a reader is held":  {func(w *town) jobs.Event { return w.pull(7, "a", 5) }, func(w *town) { w.perms[9] = "read" }, jobs.OutcomeHeld, "no write", true},
		"a writer runs":     {func(w *town) jobs.Event { return w.pull(7, "a", 5) }, nil, jobs.OutcomeRun, "1 job for #7", true},
		"observing":         {func(w *town) jobs.Event { return w.push("a") }, func(w *town) { w.mode = jobs.ModeObserve }, jobs.OutcomeObserve, "would have been run", false},
		"not allowed":       {func(w *town) jobs.Event { return w.push("a") }, func(w *town) { w.mode = jobs.ModeOff }, jobs.OutcomeIgnored, "repositories.allow", false},
		"before the start":  {func(w *town) jobs.Event { return w.push("a") }, func(w *town) { w.begin(time.Now().Add(time.Hour)) }, jobs.OutcomeObserve, "since when", false},
		"a new data folder": {func(w *town) jobs.Event { return w.push("a") }, func(w *town) { w.begin(time.Time{}) }, jobs.OutcomeObserve, "slipway begin", false},
		"a deleted branch":  {func(w *town) jobs.Event { return jobs.Event{Kind: jobs.EventPush, Ref: "refs/heads/x"} }, nil, jobs.OutcomeNothing, "x was deleted", false},
		"a closed one": {func(w *town) jobs.Event {
			e := w.pull(7, "a", 5)
			e.Action = "closed"
			w.pulls[7] = jobs.PullRequest{Number: 7, State: "closed"}
			return e
		}, nil, jobs.OutcomeNothing, "#7 was closed", false},
		"closed by now": {func(w *town) jobs.Event {
			e := w.pull(7, "a", 5)
			w.pulls[7] = jobs.PullRequest{State: "closed"}
			return e
		}, nil, jobs.OutcomeNothing, "closed by now", false},
		"not handled": {func(*town) jobs.Event { return jobs.Event{Kind: "star"} }, nil, jobs.OutcomeIgnored, "not handled yet", false},
		"a pull request where nothing matches": {func(w *town) jobs.Event { return w.pull(7, "a", 5) }, func(w *town) {
			w.plan = func(jobs.PlanInput) jobs.Plan {
				return jobs.Plan{Jobs: []jobs.PlannedJob{{Name: "x", Reason: "no path matches"}}}
			}
		}, jobs.OutcomeNothing, "x: no path matches", true},
		"a push where nothing matches": {func(w *town) jobs.Event { return w.push("a") }, func(w *town) {
			w.plan = func(jobs.PlanInput) jobs.Plan { return jobs.Plan{} }
		}, jobs.OutcomeNothing, "has no job for this", false},
		"a broken file": {func(w *town) jobs.Event { return w.push("a") }, func(w *town) {
			w.plan = func(jobs.PlanInput) jobs.Plan {
				return jobs.Plan{Faults: []jobs.Fault{{Line: 3, Message: "unknown key"}}}
			}
		}, jobs.OutcomeFault, "1 fault", true},
		"a bug in planning": {func(w *town) jobs.Event { return w.push("a") }, func(w *town) {
			w.plan = func(jobs.PlanInput) jobs.Plan { panic("a bug") }
		}, jobs.OutcomeIgnored, "crashed", false},
		"a bug in planning a pull request": {func(w *town) jobs.Event { return w.pull(7, "a", 5) }, func(w *town) {
			w.plan = func(jobs.PlanInput) jobs.Plan { panic("a bug") }
		}, jobs.OutcomeFault, "crashed", true},
		"a file that can't be read": {func(w *town) jobs.Event { return w.pull(7, "a", 5) }, func(w *town) {
			w.unreadable = &jobs.Refusal{Sentence: ".slipway.yaml is a folder"}
		}, jobs.OutcomeFault, "is a folder", true},
		"an App that was removed": {func(w *town) jobs.Event { return w.push("a") }, func(w *town) { w.down = &jobs.Gone{Reason: "the App was removed from acme/shop"} }, jobs.OutcomeIgnored, "removed", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			if c.change != nil {
				c.change(w)
			}
			w.replica("one")
			w.deliver("guid-event-1", c.event(w))
			d := w.decision("guid-event-1")
			if d.Outcome != c.want || !strings.Contains(d.Reason, c.reason) || d.Shown != c.shown {
				t.Errorf("%s, shown %t: %s\nwant %s, shown %t: …%s…", d.Outcome, d.Shown, d.Reason, c.want, c.shown, c.reason)
			}
			if d.Shown {
				w.finished("guid-event-1")
			}
		})
	}
}

// begin replaces the Start record; the zero time removes it.
func (w *town) begin(since time.Time) {
	w.t.Helper()
	meta := queue.Set[jobs.Start](w.q, queue.Meta)
	_, revision, err := meta.Get(w.t.Context(), jobs.StartKey)
	if err == nil && since.IsZero() {
		err = meta.Delete(w.t.Context(), jobs.StartKey, revision)
	} else if err == nil {
		_, err = meta.Update(w.t.Context(), jobs.StartKey, jobs.Start{Since: since}, revision)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestAnUntrustedPipelineComesFromTheBase(t *testing.T) {
	w := newTown(t)
	inputs := make(chan jobs.PlanInput, 1)
	plan := w.plan
	w.plan = func(in jobs.PlanInput) jobs.Plan { inputs <- in; return plan(in) }
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "a", 6))
	if in := <-inputs; in.SHA != strings.Repeat("0", 40) || in.Run.SHA != strings.Repeat("a", 40) || !in.Run.Fork {
		t.Errorf("planned %.3s with the file at %.3s", in.Run.SHA, in.SHA)
	}
	if run := w.finished("guid-pull-1"); run.State != jobs.RunHeld || run.Jobs[0].State != jobs.JobSkipped {
		t.Errorf("%+v", run)
	}
}

func TestGitHubAwayIsWaitedFor(t *testing.T) {
	w := newTown(t)
	w.down = errAway
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.await("a question to GitHub", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.asked > 0 })
	w.set(func() { w.down = nil })
	w.finished("guid-push-1")
}

func TestTheLeaderIsFollowedByAnother(t *testing.T) {
	w := newTown(t)
	stop := w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	w.replica("two")
	stop()
	w.deliver("guid-push-2", w.push("b"))
	if run := w.finished("guid-push-2"); run.State != jobs.RunSucceeded {
		t.Errorf("run is %s", run.State)
	}
}

func TestARepositoryGetsItsShareOnly(t *testing.T) {
	w := newTown(t)
	gate := make(chan struct{})
	started := make(chan int64, 8)
	w.build = func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		started <- task.Run.Repository.ID
		if task.Run.Repository.ID == 5 {
			waitFor(ctx, gate)
		}
		return jobs.Result{Conclusion: jobs.Success}, nil
	}
	w.plan = func(jobs.PlanInput) jobs.Plan {
		var p jobs.Plan
		for i := range 6 {
			p.Jobs = append(p.Jobs, jobs.PlannedJob{Name: fmt.Sprintf("j%d", i), Kind: jobs.KindBuild, Planned: true, Spec: json.RawMessage(`{}`)})
		}
		return p
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	<-started
	<-started
	run := w.active("guid-push-1", func(r jobs.Run) bool { return true })
	out := 0
	for _, j := range run.Jobs {
		if j.State == jobs.JobRunning || j.State == jobs.JobOffered {
			out++
		}
	}
	if out != 2 {
		t.Errorf("%d jobs of one repository are out, want its share of 2", out)
	}
	close(gate)
	if run := w.finished("guid-push-1"); run.State != jobs.RunSucceeded {
		t.Errorf("run is %s", run.State)
	}
}
