package jobs_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

var workflows = jobs.WorkflowKey(5, 77)

// follow is a job that waits for workflow run 77 to end, as a kind would.
func follow(w *town) func(context.Context, jobs.Task) (jobs.Result, error) {
	known := queue.Set[jobs.WorkflowRun](w.q, queue.Workflows)
	return func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		if err := task.Watch(ctx, jobs.WorkflowTopic(5, 77)); err != nil {
			return jobs.Result{}, err
		}
		run, _, err := known.Get(ctx, workflows)
		switch {
		case err != nil && !errors.Is(err, jobs.ErrNotFound):
			return jobs.Result{}, err
		case run.Over():
			return jobs.Result{Conclusion: jobs.Success, Summary: run.Conclusion}, nil
		}
		return jobs.Result{}, &jobs.Later{After: time.Hour, Reason: "hello is " + run.Status, Progress: &jobs.Result{Details: "it is " + run.Status}}
	}
}

func news(status, conclusion string) jobs.Event {
	at := time.Now()
	return jobs.Event{Kind: jobs.EventWorkflow, Workflow: &jobs.WorkflowRun{
		ID: 77, Attempt: 1, Event: "workflow_dispatch", Status: status, Conclusion: conclusion, Updated: at, Actor: jobs.Actor{ID: 1, Login: "slipway[bot]", Type: "Bot"},
	}}
}

func parked(title string) func(jobs.Run) bool {
	return func(r jobs.Run) bool {
		j := r.Jobs[0]
		return j.Parked && j.State == jobs.JobQueued && j.Waiting == title
	}
}

func TestAParkedJobIsWokenByNews(t *testing.T) {
	w := newTown(t)
	w.build = follow(w)
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.active("guid-push-1", parked("hello is "))
	w.deliver("guid-news-1", news("in_progress", ""))
	run := w.active("guid-push-1", parked("hello is in_progress"))
	results := queue.Set[jobs.Result](w.q, queue.Results)
	if result, _, err := results.Get(t.Context(), run.Jobs[0].ResultKey); err != nil || result.Details != "it is in_progress" {
		t.Errorf("how it stands is %+v, %v", result, err)
	}
	w.deliver("guid-news-2", news("completed", "success"))
	if end := w.finished("guid-push-1"); end.State != jobs.RunSucceeded || end.Jobs[0].Summary != "success" {
		t.Errorf("%+v", end)
	}
	if d := w.decision("guid-news-2"); d.Outcome != jobs.OutcomeNoted {
		t.Errorf("decided %s: %s", d.Outcome, d.Reason)
	}
	w.await("the last of the results to be the only one", func() bool { // the one before goes after the run was stored
		left := 0
		if err := results.All(t.Context(), func(string, jobs.Result, uint64) error { left++; return nil }); err != nil {
			t.Fatal(err)
		}
		return left == 1
	})
}

func TestNewsBeforeAnybodyWaitsAreKept(t *testing.T) {
	w := newTown(t)
	w.build = follow(w)
	w.replica("one")
	w.deliver("guid-news-1", news("completed", "success"))
	w.decision("guid-news-1")
	other := news("completed", "success")
	other.Workflow.ID, other.Workflow.Actor.Type = 78, "User"
	w.deliver("guid-news-2", other)
	if d := w.decision("guid-news-2"); d.Outcome != jobs.OutcomeIgnored {
		t.Errorf("decided %s: %s", d.Outcome, d.Reason)
	}
	if _, _, err := queue.Set[jobs.WorkflowRun](w.q, queue.Workflows).Get(t.Context(), jobs.WorkflowKey(5, 78)); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("what nobody follows is kept: %v", err)
	}
	w.deliver("guid-push-1", w.push("a"))
	if end := w.finished("guid-push-1"); end.Jobs[0].Summary != "success" || end.Jobs[0].Claims != 1 {
		t.Errorf("%+v", end.Jobs[0])
	}
}

func TestParkedJobsTakeNobodysShare(t *testing.T) {
	w := newTown(t)
	park := follow(w)
	w.build = func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		if task.Run.SHA == strings.Repeat("f", 40) {
			return jobs.Result{Conclusion: jobs.Success}, nil
		}
		return park(ctx, task)
	}
	w.replica("one") // with a share of two, and two workers
	for _, sha := range []string{"a", "b", "c"} {
		w.deliver("guid-push-"+sha, w.push(sha))
		w.active("guid-push-"+sha, parked("hello is "))
	}
	w.deliver("guid-push-f", w.push("f"))
	if end := w.finished("guid-push-f"); end.State != jobs.RunSucceeded {
		t.Errorf("%+v", end)
	}
}

func TestWhatIsOutsideIsStopped(t *testing.T) {
	w := newTown(t)
	w.build = follow(w)
	var stops atomic.Int32
	w.halt = func(_ jobs.Task, stop jobs.Stop) (jobs.Result, error) {
		if stops.Add(1) == 1 {
			return jobs.Result{}, errors.New("GitHub did not answer")
		}
		summary := stop.Reason
		if stop.Superseded {
			summary += ", left alone"
		}
		return jobs.Result{Conclusion: jobs.Cancelled, Summary: summary}, nil
	}
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "a", 5))
	w.active("guid-pull-1", parked("hello is "))
	w.deliver("guid-pull-2", w.pull(7, "b", 5))
	end := w.finished("guid-pull-1")
	if j := end.Jobs[0]; end.State != jobs.RunCancelled || !strings.HasSuffix(j.Summary, ", left alone") || stops.Load() != 2 {
		t.Errorf("%s: %s after %d calls", end.State, j.Summary, stops.Load())
	}
}

func TestAJobAtWorkOutsideIsStoppedToo(t *testing.T) {
	w := newTown(t)
	at := make(chan struct{}, 1)
	w.build = func(ctx context.Context, _ jobs.Task) (jobs.Result, error) {
		at <- struct{}{}
		<-ctx.Done()
		return jobs.Result{}, ctx.Err()
	}
	w.halt = func(_ jobs.Task, stop jobs.Stop) (jobs.Result, error) {
		return jobs.Result{Conclusion: jobs.Cancelled, Summary: "told: " + stop.Reason}, nil
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	<-at
	_, err := jobs.Change(t.Context(), queue.Set[jobs.Run](w.q, queue.Runs), jobs.RunID("guid-push-1"), func(r *jobs.Run) error {
		r.RequestStop(jobs.Stop{Reason: "cancelled by alice", Time: time.Now()})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if end := w.finished("guid-push-1"); end.State != jobs.RunCancelled || end.Jobs[0].Summary != "told: cancelled by alice" {
		t.Errorf("%s: %s", end.State, end.Jobs[0].Summary)
	}
}

func TestAWaitForSomebodysWordIsARoundOfItsOwn(t *testing.T) {
	w := newTown(t)
	w.build = func(_ context.Context, task jobs.Task) (jobs.Result, error) {
		if len(task.Orders) > 0 {
			return jobs.Result{Conclusion: jobs.Success, Summary: task.Orders[0].Do + " by " + task.Orders[0].By.Login}, nil
		}
		return jobs.Result{}, &jobs.Later{After: time.Hour, Reason: "waits", Progress: &jobs.Result{}, Approvals: []string{"production"}}
	}
	w.replica("one")
	e := w.push("a")
	w.deliver("guid-push-1", e)
	run := w.active("guid-push-1", parked("waits"))
	if j := run.Jobs[0]; len(j.Approvals) != 1 || j.Round != 0 {
		t.Errorf("%+v", j)
	}
	click := jobs.Event{Kind: jobs.EventButton, Check: &jobs.CheckClick{ID: 3, ExternalID: run.ID + "/slipway / image", SHA: run.SHA, Button: jobs.ButtonApprove}}
	w.deliver("guid-click-1", click)
	if end := w.finished("guid-push-1"); end.Jobs[0].Summary != "approve by alice" || end.Jobs[0].Round != 1 || len(end.Jobs[0].Approvals) != 0 {
		t.Errorf("%+v", end.Jobs[0])
	}
	if d := w.decision("guid-click-1"); d.Outcome != jobs.OutcomeActed || len(d.Orders) != 1 {
		t.Errorf("%+v", d)
	}
}

func TestARequestIsCarriedOut(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	ask := func(guid string, r jobs.Request) jobs.Decision {
		r.By, r.What, r.Build = "token nightly", "build", &jobs.RequestBuild{}
		w.deliver(guid, jobs.Event{Kind: jobs.EventRequest, Request: &r})
		return w.decision(guid)
	}
	d := ask("guid-ask-1", jobs.Request{Repository: "acme/shop"})
	if d.Outcome != jobs.OutcomeRun || d.Run.SHA != strings.Repeat("a", 40) || d.Run.ID != jobs.RunID("guid-ask-1") || d.Run.Asked == nil {
		t.Errorf("%+v", d)
	}
	if end := w.finished("guid-ask-1"); end.State != jobs.RunSucceeded {
		t.Errorf("%+v", end)
	}
	for guid, r := range map[string]jobs.Request{
		"guid-ask-2": {Repository: "acme/other"},
		"guid-ask-3": {Repository: "acme/shop", Ref: "nowhere"},
	} {
		if d := ask(guid, r); d.Outcome != jobs.OutcomeRefused || d.Run.ID != "" {
			t.Errorf("%+v: %s, %s", r, d.Outcome, d.Reason)
		}
	}
}

func TestWhatWaitedGoesOnHere(t *testing.T) {
	w := newTown(t)
	gate, here := make(chan struct{}), make(chan struct{}, 1)
	w.build = func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		if len(task.Orders) == 0 {
			return jobs.Result{}, &jobs.Later{After: time.Hour, Reason: "waits", Progress: &jobs.Result{}}
		}
		if err := task.Resume(ctx); err != nil {
			return jobs.Result{}, err
		}
		here <- struct{}{}
		waitFor(ctx, gate)
		return jobs.Result{Conclusion: jobs.Success}, nil
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	run := w.active("guid-push-1", parked("waits"))
	_, err := jobs.Change(t.Context(), queue.Set[jobs.Run](w.q, queue.Runs), run.ID, func(r *jobs.Run) error {
		r.Order("image", jobs.Order{Do: jobs.OrderApprove, Cause: "test"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-here
	w.active("guid-push-1", func(r jobs.Run) bool {
		j := r.Jobs[0]
		return j.State == jobs.JobRunning && !j.Parked && j.Waiting == ""
	})
	close(gate)
	if end := w.finished("guid-push-1"); end.State != jobs.RunSucceeded {
		t.Errorf("%+v", end)
	}
}
