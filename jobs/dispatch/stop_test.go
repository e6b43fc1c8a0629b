package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/dispatch"
)

// stop stops a job until it has a result.
func (w *world) stop(task jobs.Task, stop jobs.Stop) jobs.Result {
	w.Helper()
	for range 200 {
		result, err := w.call(task, &stop)
		var later *jobs.Later
		if err == nil {
			return result
		}
		if !errors.As(err, &later) {
			w.Fatal(err)
		}
		w.clock = w.clock.Add(later.After)
	}
	w.Fatal("does not stop")
	return jobs.Result{}
}

func TestStop(t *testing.T) {
	asked := jobs.Stop{Reason: "cancelled by alice"}
	newer := jobs.Stop{Reason: "superseded by a newer push", Superseded: true}
	const sweeps = `{"workflow": "hello.yaml", "cancel_on_supersede": true}`
	for name, c := range map[string]struct {
		spec    string
		answer  answer
		until   string // how far it has come
		stop    jobs.Stop
		summary string
		gone    bool // whether the workflow run is cancelled
	}{
		"before anything":               {hello("x"), names, "", asked, "cancelled by alice", false},
		"while it waits for its turn":   {hello("x"), limited, "limit is used up", asked, "cancelled by alice", false},
		"at work":                       {hello("x"), names, "running: build", asked, "cancelled by alice; the workflow run was cancelled: https://github.example/runs/101", true},
		"superseded":                    {hello("x"), names, "running: build", newer, "superseded by a newer push; the workflow run goes on: https://github.example/runs/101", false},
		"superseded, and swept":         {sweeps, names, "running: build", newer, "the workflow run was cancelled", true},
		"without an ID":                 {hello("x"), nameless, "looks for", asked, "the workflow run was cancelled", true},
		"without an ID, superseded":     {hello("x"), nameless, "looks for", newer, "superseded by a newer push; the workflow run goes on: https://github.example/runs/101", false},
		"superseded, never to be found": {hello("x"), lostAtAll, "looks for", newer, "it is not known whether hello.yaml was started on main", false},
		"without one ever to be found":  {hello("x"), lostAtAll, "looks for", asked, "it is not known whether hello.yaml was started on main", false},
		"while GitHub's answer is lost": {hello("x"), lost, "looks for", asked, "the workflow run was cancelled", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.github.answer = c.answer
			w.github.review = "production" // so that it does not end by itself
			if c.until == "running: build" {
				w.github.review = ""
			}
			task := w.task("greet", c.spec)
			if c.until != "" {
				_ = w.until(task, c.until)
			}
			w.want(w.stop(task, c.stop), jobs.Cancelled, c.summary)
			w.want(w.stop(task, c.stop), jobs.Cancelled, c.summary) // once more does no harm
			for _, run := range w.github.runs {
				if run.cancelled != c.gone {
					t.Errorf("the workflow run is cancelled: %v", run.cancelled)
				}
			}
			if w.github.calls["dispatch"] > 1 {
				t.Errorf("asked %d times", w.github.calls["dispatch"])
			}
			// The turn is the next one's at once.
			w.github.answer, w.github.review = names, ""
			before := w.clock
			_ = w.until(w.task("next", hello("next")), "queued")
			if w.clock.Sub(before) > 10*time.Second {
				t.Errorf("the next waited %s for its turn", w.clock.Sub(before))
			}
		})
	}
}

func TestStopOfWhatIsOver(t *testing.T) {
	w := newWorld(t)
	task := w.task("greet", hello("greet"))
	_ = w.until(task, "running: build")
	w.clock = w.clock.Add(2 * time.Minute)
	w.want(w.stop(task, jobs.Stop{Reason: "cancelled by alice"}), jobs.Cancelled, "cancelled by alice; the workflow run was over by then")
	if w.github.calls["cancel"] != 0 {
		t.Error("cancelled what is over")
	}
	w = newWorld(t)
	w.deaf = true // and nobody has heard of it
	task = w.task("greet", hello("greet"))
	_ = w.until(task, "queued")
	w.clock = w.clock.Add(2 * time.Minute)
	w.want(w.stop(task, jobs.Stop{Reason: "cancelled by alice"}), jobs.Cancelled, "could not be cancelled (Cannot cancel a workflow run that is completed)")
}

func TestStopAfterACrash(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t)
		task := w.task("greet", hello("greet"))
		_ = w.until(task, "running: build")
		n := 0
		w.github.trap = func(string) {
			if n++; n == at {
				panic(errCrash)
			}
		}
		if _, err := w.call(task, &jobs.Stop{Reason: "cancelled by alice"}); err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		crashed := n >= at
		w.want(w.stop(task, jobs.Stop{Reason: "cancelled by alice"}), jobs.Cancelled, "cancelled by alice; the workflow run ")
		if !w.github.runs[0].cancelled {
			t.Fatalf("goes on after a crash at point %d", at)
		}
		if !crashed {
			break
		}
	}
}

// TestASupersededRunIsNotTakenByTheNext: also when it goes on, and its ID was not known yet, it is nobody else's.
func TestASupersededRunIsNotTakenByTheNext(t *testing.T) {
	for _, answers := range [][2]answer{{nameless, nameless}, {nameless, lostAtAll}, {lost, nameless}, {lost, lost}} {
		for _, stop := range []jobs.Stop{{Reason: "superseded", Superseded: true}, {Reason: "cancelled by alice"}} {
			w := newWorld(t)
			w.github.heads["trunk"] = strings.Repeat("b", 40)
			const elsewhere = `{"workflow": "hello.yaml", "repository": "acme/infra", "inputs": {"who": %q}}`
			first, next := w.task("first", fmt.Sprintf(elsewhere, "first")), w.task("next", fmt.Sprintf(elsewhere, "next"))
			w.github.answer = answers[0]
			_ = w.until(first, "looks for")
			w.stop(first, stop)
			w.github.answer = answers[1]
			result := w.finish(next)
			if r := w.record(next); r.ID != 0 && w.github.find(r.ID).inputs["who"] != "next" {
				t.Errorf("%q, %s: the next follows workflow run %d: %s", answers, stop.Reason, r.ID, result.Summary)
			}
			want := jobs.Success
			if answers[1] == lostAtAll {
				want = jobs.Failure
			}
			w.want(result, want, "")
		}
	}
}

// TestStopWhileAnotherWorkerIsAtIt has one worker stand still at every point in turn, while another one stops the job. Once that has
// said the job's end nothing is started for it any more, and the next job follows its own.
func TestStopWhileAnotherWorkerIsAtIt(t *testing.T) {
	for _, given := range []answer{names, nameless, lost, lostAtAll} {
		for _, stop := range []jobs.Stop{{Reason: "superseded", Superseded: true}, {Reason: "cancelled by alice"}} {
			t.Run(fmt.Sprintf("%q, %s", given, stop.Reason), func(t *testing.T) {
				for at := 1; stopsAt(t, given, stop, at) && !t.Failed(); at++ {
				}
			})
		}
	}
}

// stopsAt plays one of them. It reports whether there was that point.
func stopsAt(t *testing.T, given answer, stop jobs.Stop, at int) bool {
	w := newWorld(t)
	w.github.answer = given
	task := w.task("one", hello("one"))
	n, over, said := 0, false, ""
	once := func() { // one call to stop
		result, err := w.call(task, &stop)
		var later *jobs.Later
		switch {
		case err == nil:
			over, said = true, result.Summary
		case errors.As(err, &later):
			w.clock = w.clock.Add(later.After)
		case !strings.Contains(err.Error(), "another worker"):
			t.Fatal(err)
		}
	}
	sent := 0
	w.github.trap = func(point string) {
		if n++; n == at {
			for range 2 {
				once()
			}
			if over {
				sent = w.github.calls["dispatch"]
			}
		}
	}
	_, _, err := w.step(task)
	if err != nil && !strings.Contains(err.Error(), "another worker") {
		t.Fatal(err)
	}
	found := n >= at
	w.github.trap = func(string) {}
	if over && w.github.calls["dispatch"] != sent {
		t.Errorf("dispatched after it had ended as %q (point %d)", said, at)
	}
	for range 200 {
		if !over {
			once()
		}
	}
	if !over || w.github.calls["dispatch"] > 1 {
		t.Fatalf("over: %v; asked %d times (point %d)", over, w.github.calls["dispatch"], at)
	}
	for _, run := range w.github.runs {
		if run.cancelled == stop.Superseded {
			t.Errorf("%q, and the workflow run is cancelled: %v (point %d)", said, run.cancelled, at)
		}
	}
	w.github.answer = nameless
	next := w.task("two", hello("two"))
	w.want(w.finish(next), jobs.Success, "hello succeeded")
	if r := w.record(next); w.github.find(r.ID).inputs["who"] != "two" {
		t.Errorf("the next follows workflow run %d (point %d)", r.ID, at)
	}
	// Called once more, it starts nothing.
	asked := w.github.calls["dispatch"]
	_, _, _ = w.step(task)
	if w.github.calls["dispatch"] != asked {
		t.Errorf("dispatched again (point %d)", at)
	}
	return found
}

// TestWhatIsFollowedByAnotherIsNotCancelled: a claim counts, whatever GitHub named.
func TestWhatIsFollowedByAnotherIsNotCancelled(t *testing.T) {
	w := newWorld(t)
	task := w.task("greet", hello("greet"))
	w.github.trap = func(point string) {
		if point == "create lane" && len(w.github.runs) == 1 { // the claim
			panic(errCrash)
		}
	}
	_, _, _ = w.step(task)
	w.github.trap = func(string) {}
	if _, err := w.lanes.Create(t.Context(), "claim.5.101", dispatch.Lane{Run: "r-0", Job: "other"}); err != nil {
		t.Fatal(err)
	}
	w.want(w.stop(task, jobs.Stop{Reason: "cancelled by alice"}), jobs.Cancelled, "the workflow run is followed by another job and goes on: https://github.example/runs/101")
	if w.github.calls["cancel"] != 0 {
		t.Error("cancelled")
	}
}

// TestWhoStoodStillDoesNotSend: a worker that comes back after its turn has gone to another asks GitHub for nothing.
func TestWhoStoodStillDoesNotSend(t *testing.T) {
	for _, point := range []string{"created lane", "update record", "updated record"} {
		w := newWorld(t)
		w.github.answer = nameless
		one, two := w.task("one", hello("one")), w.task("two", hello("two"))
		stood := false
		w.github.trap = func(at string) {
			if stood || at != point {
				return
			}
			stood = true
			w.clock = w.clock.Add(8 * time.Minute)
			_ = w.until(two, "looks for")
		}
		if result, later, err := w.step(one); err == nil {
			t.Errorf("%s: goes on: %v %v", point, result, later)
		}
		if !stood || w.github.calls["dispatch"] != 1 {
			t.Fatalf("%s: stood still: %v; asked %d times", point, stood, w.github.calls["dispatch"])
		}
		w.want(w.finish(two), jobs.Success, "hello succeeded")
		w.want(w.finish(one), jobs.Success, "hello succeeded")
		for _, task := range []jobs.Task{one, two} {
			if r := w.record(task); w.github.find(r.ID).inputs["who"] != task.Job {
				t.Errorf("%s: %s follows workflow run %d", point, task.Job, r.ID)
			}
		}
	}
}

// TestWhatEndedIsNotStarted: a job that has its end without a workflow run keeps it, whoever comes back.
func TestWhatEndedIsNotStarted(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*jobs.Task)
		want   jobs.Conclusion
	}{
		"no grant any more": {func(t *jobs.Task) { t.Grant = jobs.Grant{} }, jobs.Failure},
		"behind": {func(t *jobs.Task) {
			t.Newest = func(context.Context) (bool, string, error) { return false, "main is at bbbb by now", nil }
		}, jobs.Skipped},
	} {
		w := newWorld(t)
		task := w.task("greet", hello("greet"))
		changed := task
		c.change(&changed)
		stood := false
		w.github.trap = func(point string) {
			if point == "update record" && !stood { // just before it would store that it sends
				stood = true
				w.want(w.finish(changed), c.want, "")
			}
		}
		_, _, _ = w.step(task)
		if !stood || w.github.calls["dispatch"] != 0 {
			t.Errorf("%s: stood still: %v; dispatched %d times", name, stood, w.github.calls["dispatch"])
		}
		if result := w.finish(task); result.Conclusion != c.want || w.github.calls["dispatch"] != 0 {
			t.Errorf("%s: ends as %+v", name, result)
		}
	}
}
