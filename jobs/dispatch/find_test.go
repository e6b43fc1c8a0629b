package dispatch_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/dispatch"
)

func TestFindWaitsForTheOnlyOneToStaySo(t *testing.T) {
	w := newWorld(t)
	w.github.answer = nameless
	task := w.task("greet", hello("greet"))
	began := w.clock
	later := w.until(task, "looks for the workflow run of hello.yaml")
	if !strings.Contains(later.Progress.Details, "It may be one of these:") || !strings.Contains(later.Progress.Details, "(https://github.example/runs/101)") {
		t.Errorf("details:\n%s", later.Progress.Details)
	}
	var took time.Duration
	for w.record(task).ID == 0 {
		took = w.clock.Sub(began)
		if result, _, err := w.step(task); result != nil || err != nil {
			t.Fatal(result, err)
		}
	}
	if took < 20*time.Second || took > 40*time.Second {
		t.Errorf("taken after %s, want it to be the only one for 20 seconds", took)
	}
}

// The server was away for long when it had just asked GitHub: it looks twice all the same.
func TestFindAfterALongAbsence(t *testing.T) {
	w := newWorld(t)
	w.github.answer = lost
	down := true
	w.github.trap = func(point string) {
		if point == "list" && down {
			panic(trouble{errors.New("GitHub is away")})
		}
	}
	task := w.task("greet", hello("greet"))
	for w.record(task).Sent.IsZero() {
		_, _ = w.call(task, nil)
	}
	w.clock, down = w.clock.Add(time.Hour), false
	w.want(w.finish(task), jobs.Success, "hello succeeded")

	// Of two it still takes none.
	other := w.task("other", hello("other"))
	down = true
	for w.record(other).Sent.IsZero() {
		_, _ = w.call(other, nil)
	}
	w.github.start(5, "hello.yaml", "main", map[string]string{"who": "somebody"}, bot)
	w.clock, down = w.clock.Add(time.Hour), false
	w.want(w.finish(other), jobs.Failure, notKnown)
}

func TestFindDoesNotChooseAmongSeveral(t *testing.T) {
	w := newWorld(t)
	w.github.answer = lost
	task := w.task("greet", hello("greet"))
	_ = w.until(task, "looks for")
	w.github.start(5, "hello.yaml", "main", map[string]string{"who": "somebody"}, bot) // such as by another server of the same App
	result := w.finish(task)
	w.want(result, jobs.Failure, notKnown)
	for _, want := range []string{"(https://github.example/runs/101)", "(https://github.example/runs/102)"} {
		if !strings.Contains(result.Details, want) {
			t.Errorf("details lack %q:\n%s", want, result.Details)
		}
	}
	if took := w.clock.Sub(w.record(task).Sent); took < 3*time.Minute || took > 4*time.Minute {
		t.Errorf("gave up after %s", took)
	}
	if w.github.calls["dispatch"] != 1 {
		t.Errorf("asked %d times", w.github.calls["dispatch"])
	}
	// The turn is the next one's.
	w.github.answer = names
	w.want(w.finish(w.task("next", hello("next"))), jobs.Success, "hello succeeded")
}

func TestFindLeavesOthersAlone(t *testing.T) {
	for name, start := range map[string]func(*world){
		"of a person":   func(w *world) { w.github.start(5, "hello.yaml", "main", nil, "alice") },
		"on a branch":   func(w *world) { w.github.start(5, "hello.yaml", "feat", nil, bot) },
		"of a workflow": func(w *world) { w.github.start(5, "other.yaml", "main", nil, bot) },
		"of before": func(w *world) {
			w.github.start(5, "hello.yaml", "main", nil, bot)
			w.clock = w.clock.Add(time.Minute)
		},
		"that is claimed": func(w *world) {
			w.want(w.finish(w.task("other", `{"workflow": "hello.yaml", "wait": false}`)), jobs.Success, "started")
		},
		"with another's mark": func(w *world) {
			w.github.start(5, "hello.yaml", "main", map[string]string{"slipway_run": "slipway-0123456789abcdef0123"}, bot)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			start(w)
			w.github.answer = lostAtAll
			result := w.finish(w.task("greet", hello("greet")))
			w.want(result, jobs.Failure, notKnown)
			if !strings.Contains(result.Details, "No workflow run was found that could be it.") {
				t.Errorf("details:\n%s", result.Details)
			}
		})
	}
}

// TestFindLeavesTheLaterAlone: who comes back after long does not take what was started since.
func TestFindLeavesTheLaterAlone(t *testing.T) {
	w := newWorld(t)
	w.github.answer = lostAtAll
	task := w.task("greet", hello("greet"))
	_ = w.until(task, "looks for")
	w.clock = w.record(task).Sent.Add(3*time.Minute + time.Second)
	w.github.start(5, "hello.yaml", "main", nil, bot)
	result := w.finish(task)
	w.want(result, jobs.Failure, notKnown)
	if !strings.Contains(result.Details, "No workflow run was found") {
		t.Errorf("details:\n%s", result.Details)
	}
}

func TestFindByTheMark(t *testing.T) {
	w := newWorld(t)
	w.github.files[".github/workflows/hello.yaml"] = "inputs: {slipway_run: {}}"
	w.github.answer = lost
	task := w.task("greet", hello("greet"))
	w.github.start(5, "hello.yaml", "main", nil, bot)
	began := w.clock
	_ = w.until(task, "queued")
	if r := w.record(task); r.ID != 102 || w.clock.Sub(began) > 20*time.Second {
		t.Errorf("follows %d after %s, want the marked one at once", r.ID, w.clock.Sub(began))
	}
	mark := w.github.runs[1].inputs["slipway_run"]
	other := w.task("greet2", hello("greet"))
	w.finish(other)
	if again := w.github.runs[2].inputs["slipway_run"]; again == mark || strings.Contains(again, mark) || strings.Contains(mark, again) {
		t.Errorf("marks %q and %q can be taken for one another", mark, again)
	}
}

func TestLaneIsOneForAFileAndItsID(t *testing.T) {
	w := newWorld(t)
	w.github.answer = nameless
	_ = w.until(w.task("one", `{"workflow": "hello.yaml"}`), "looks for")
	later := w.until(w.task("two", `{"workflow": "77", "ref": "refs/heads/main"}`), "one of run r-1 dispatches hello.yaml on main")
	if later.Progress != nil || later.After < 5*time.Second || later.After > 8*time.Second {
		t.Errorf("waits %+v", later)
	}
	w.clock = w.clock.Add(2 * time.Minute) // it takes long: it is asked for less often
	if later = w.until(w.task("three", `{"workflow": "hello.yaml"}`), "dispatches hello.yaml on main"); later.After != 15*time.Second {
		t.Errorf("waits %s", later.After)
	}
}

func TestLaneOfWhoDoesNotComeBack(t *testing.T) {
	w := newWorld(t)
	w.github.answer = lostAtAll
	gone := w.task("gone", hello("gone"))
	_ = w.until(gone, "looks for") // and is not heard of for long
	w.github.answer = nameless
	task := w.task("greet", hello("greet"))
	began := w.clock
	_ = w.until(task, "hello: ")
	if took := w.clock.Sub(began); took < 3*time.Minute {
		t.Errorf("took the turn after %s, while what the other asked for could still be started", took)
	}
	// It comes back, and what was started in the meantime is not its own.
	w.want(w.finish(gone), jobs.Failure, notKnown)
	w.want(w.finish(task), jobs.Success, "hello succeeded")
}

func TestClaimOfAnother(t *testing.T) {
	w := newWorld(t)
	if _, err := w.lanes.Create(t.Context(), "claim.5.101", dispatch.Lane{Run: "r-0", Job: "other"}); err != nil {
		t.Fatal(err)
	}
	w.want(w.finish(w.task("greet", hello("greet"))), jobs.Failure, "workflow run 101 is followed by another job already")
}

func TestGrantWithdrawnWhileItWaits(t *testing.T) {
	w := newWorld(t)
	w.github.answer = nameless
	one, two := w.task("one", hello("one")), w.task("two", hello("two"))
	_ = w.until(one, "looks for")
	_ = w.until(two, "dispatches hello.yaml on main")
	two.Grant = jobs.Grant{}
	w.want(w.finish(two), jobs.Failure, "grants it under `workflows`")
	if w.github.calls["dispatch"] != 1 {
		t.Error("dispatched all the same")
	}
}
