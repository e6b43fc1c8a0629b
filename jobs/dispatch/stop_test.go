package dispatch_test

import (
	"errors"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
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
		"without an ID, superseded":     {hello("x"), nameless, "looks for", newer, "it is not known whether hello.yaml was started on main", false},
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
				w.until(task, c.until)
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
			w.until(w.task("next", hello("next")), "queued")
			if w.clock.Sub(before) > 10*time.Second {
				t.Errorf("the next waited %s for its turn", w.clock.Sub(before))
			}
		})
	}
}

func TestStopOfWhatIsOver(t *testing.T) {
	w := newWorld(t)
	task := w.task("greet", hello("greet"))
	w.until(task, "running: build")
	w.clock = w.clock.Add(2 * time.Minute)
	w.want(w.stop(task, jobs.Stop{Reason: "cancelled by alice"}), jobs.Cancelled, "cancelled by alice; the workflow run was over by then")
	if w.github.calls["cancel"] != 0 {
		t.Error("cancelled what is over")
	}
	w = newWorld(t)
	w.deaf = true // and nobody has heard of it
	task = w.task("greet", hello("greet"))
	w.until(task, "queued")
	w.clock = w.clock.Add(2 * time.Minute)
	w.want(w.stop(task, jobs.Stop{Reason: "cancelled by alice"}), jobs.Cancelled, "could not be cancelled (Cannot cancel a workflow run that is completed)")
}

func TestStopAfterACrash(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t)
		task := w.task("greet", hello("greet"))
		w.until(task, "running: build")
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
