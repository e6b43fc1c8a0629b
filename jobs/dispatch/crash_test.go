package dispatch_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// scenario is a way for a job to go, from its start to its end.
type scenario struct {
	name    string
	spec    string
	prepare func(*world)
	before  func(*world, *jobs.Task) // what happened in the attempt before
	started int                      // workflow runs that there are in the end, at most
	want    []string                 // one of these the summary has to have
}

const notKnown = "It is unknown whether hello.yaml was started"

var scenarios = []scenario{
	{name: "an ID", started: 1, want: []string{"hello succeeded", notKnown}},
	{name: "no ID", prepare: func(w *world) { w.github.answer = nameless }, started: 1, want: []string{"hello succeeded", notKnown}},
	{name: "no ID, no deliveries", prepare: func(w *world) { w.github.answer, w.deaf = nameless, true }, started: 1, want: []string{"hello succeeded", notKnown}},
	{name: "the answer is lost", prepare: func(w *world) { w.github.answer = lost }, started: 1, want: []string{"hello succeeded", notKnown}},
	{name: "the answer is lost, with a mark", prepare: func(w *world) {
		w.github.answer = lost
		w.github.files[".github/workflows/hello.yaml"] = "inputs: {slipway_run: {}}"
	}, started: 1, want: []string{"hello succeeded", notKnown}},
	{name: "failed jobs are run again", spec: `{"workflow": "hello.yaml", "retry_failed_jobs": 2}`, prepare: func(w *world) {
		w.github.conclusions = []string{"failure", "failure", "success"}
	}, started: 1, want: []string{"hello succeeded (attempt 3)", "hello failed", notKnown}},
	{name: "the branch moved", prepare: func(w *world) { w.github.heads["main"] = strings.Repeat("b", 40) }, started: 1, want: []string{"main moved to", notKnown}},
	{name: "it takes too long", spec: `{"workflow": "hello.yaml", "timeout": "20m"}`, prepare: func(w *world) { w.github.review = "production" },
		started: 1, want: []string{"did not end within 20m", notKnown}},
	{name: "the attempt before failed", prepare: func(w *world) { w.github.conclusions = []string{"failure", "success"} }, before: func(w *world, task *jobs.Task) {
		w.want(w.finish(*task), jobs.Failure, "hello failed")
		again(task)
	}, started: 1, want: []string{"hello succeeded (attempt 2)", "hello failed"}},
	{name: "the attempt before is too old to be run again", prepare: func(w *world) { w.github.conclusions = []string{"failure"} }, before: func(w *world, task *jobs.Task) {
		w.want(w.finish(*task), jobs.Failure, "hello failed")
		w.github.conclusions, w.github.rerunAnswer = []string{"success"}, refused
		w.github.runs[0].attempts[0] = w.clock.Add(-time.Hour)
		for _, run := range w.github.runs {
			run.cancelled = true
		}
		again(task)
	}, started: 2, want: []string{"hello succeeded", "hello failed", "hello was cancelled", notKnown}},
}

// again makes a task the one of the job's next attempt.
func again(task *jobs.Task) {
	task.Earlier, task.Run.ID, task.Run.Root, task.Run.Attempt, task.Attempt = task.Run.ID, task.Run.ID+"b", task.Run.ID, 2, 2
}

// play runs a scenario with a trap that trips where it says, and checks what must hold whatever happens.
func (c scenario) play(t *testing.T, trap func(w *world) func(string)) {
	t.Helper()
	w := newWorld(t)
	if c.prepare != nil {
		c.prepare(w)
	}
	spec := c.spec
	if spec == "" {
		spec = hello("greet")
	}
	task := w.task("greet", spec)
	if c.before != nil {
		c.before(w, &task)
	}
	w.github.calls = map[string]int{}
	w.github.trap = trap(w)
	result := w.finish(task)
	ok := false
	for _, want := range c.want {
		ok = ok || strings.Contains(result.Summary, want)
	}
	if !ok {
		t.Errorf("ended as %q, want one of %q\n%s", result.Summary, c.want, &w.log)
	}
	if n := len(w.github.runs); n > c.started {
		t.Errorf("%d workflow runs were started, want at most %d\n%s", n, c.started, &w.log)
	}
	if attempts := len(w.github.runs) > 0 && len(w.github.runs[0].attempts) > max(len(w.github.conclusions), 2); attempts {
		t.Errorf("run again %d times", len(w.github.runs[0].attempts)-1)
	}
	for _, run := range w.github.runs {
		gone := strings.Contains(result.Summary, "moved") || strings.Contains(result.Summary, "did not end")
		if gone && !run.cancelled {
			t.Errorf("workflow run %d goes on\n%s", run.id, &w.log)
		}
	}
	// Called once more, such as when the result could not be stored, it says the same.
	w.github.trap = func(string) {}
	if once := w.finish(task); once.Conclusion != result.Conclusion || once.Summary != result.Summary {
		t.Errorf("said %q, and called once more %q", result.Summary, once.Summary)
	}
}

// TestDispatchSurvivesCrashes lets the worker die before and after every write and every call, each once.
func TestDispatchSurvivesCrashes(t *testing.T) {
	for _, c := range scenarios {
		t.Run(c.name, func(t *testing.T) {
			points := 0
			for at := 1; ; at++ {
				n, where := 0, ""
				c.play(t, func(*world) func(string) {
					return func(point string) {
						if n++; n == at {
							where = point
							panic(errCrash)
						}
					}
				})
				if t.Failed() {
					t.Fatalf("after a crash at point %d, %s", at, where)
				}
				if points++; where == "" {
					break
				}
			}
			if points < 10 {
				t.Errorf("only %d points were tried", points)
			}
		})
	}
}

// TestDispatchSurvivesTrouble has every write and every call answer with an error, each once, before and after it took effect.
func TestDispatchSurvivesTrouble(t *testing.T) {
	for _, c := range scenarios {
		t.Run(c.name, func(t *testing.T) {
			for at := 1; ; at++ {
				n, where := 0, ""
				c.play(t, func(*world) func(string) {
					return func(point string) {
						if n++; n != at {
							return
						}
						where = point
						if slices.Contains(effects, point) {
							panic(trouble{fmt.Errorf("%s: %w", point, jobs.ErrUnclear)})
						}
						panic(trouble{errors.New("no connection")})
					}
				})
				if t.Failed() {
					t.Fatalf("after trouble at point %d, %s", at, where)
				}
				if where == "" {
					break
				}
			}
		})
	}
}

// effects are the points at which GitHub has done what it was asked for, and has not answered yet.
var effects = []string{"dispatched", "cancelled", "rerun done", "approved"}

// TestDispatchSurvivesManyCrashes lets the worker die again and again, by a die that is thrown the same each time.
func TestDispatchSurvivesManyCrashes(t *testing.T) {
	for _, c := range scenarios {
		for seed := range uint64(25) {
			die := rand.New(rand.NewPCG(seed, 7))
			c.play(t, func(*world) func(string) {
				left := 8
				return func(string) {
					if left > 0 && die.IntN(6) == 0 {
						left--
						panic(errCrash)
					}
				}
			})
			if t.Failed() {
				t.Fatalf("%s, seed %d", c.name, seed)
			}
		}
	}
}

// TestDispatchNeverSwaps starts two jobs for the same workflow at the same moment: one gets its turn in the middle of the other's, at
// every point in turn. Whatever GitHub answers, none follows the other's workflow run, and each is asked for once.
func TestDispatchNeverSwaps(t *testing.T) {
	for _, a := range []answer{names, nameless, lost, lostAtAll} {
		for _, b := range []answer{names, nameless, lost, lostAtAll} {
			t.Run(fmt.Sprintf("%q and %q", a, b), func(t *testing.T) {
				for at := 1; ; at++ {
					if !swaps(t, a, b, at) || t.Failed() {
						break
					}
				}
			})
		}
	}
}

// swaps plays one of them, with the other's turn at a point. It reports whether there was that point.
func swaps(t *testing.T, a, b answer, at int) bool {
	w := newWorld(t)
	w.github.hidden = 5 * time.Second
	one, two := w.task("one", hello("one")), w.task("two", hello("two"))
	two.Run.ID = "r-2"
	n, turn := 0, ""
	w.github.trap = func(string) {
		if turn != "one" {
			return
		}
		if n++; n == at {
			turn, w.github.answer = "two", b
			if _, _, err := w.step(two); err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			turn, w.github.answer = "one", a
		}
	}
	results := map[string]*jobs.Result{}
	for range 400 {
		for _, task := range []jobs.Task{one, two} {
			if results[task.Job] != nil {
				continue
			}
			w.github.answer = map[string]answer{"one": a, "two": b}[task.Job]
			turn = task.Job
			clock := w.clock
			result, _, err := w.step(task)
			if err != nil && !strings.Contains(err.Error(), "another worker") {
				t.Fatal(err)
			}
			results[task.Job] = result
			w.clock = clock
		}
		w.clock = w.clock.Add(5 * time.Second)
	}
	found := n >= at
	followed := map[int64]string{}
	for _, task := range []jobs.Task{one, two} {
		result, r := results[task.Job], w.record(task)
		if result == nil {
			t.Fatalf("%s does not end (point %d)\n%s", task.Job, at, &w.log)
		}
		mode := map[string]answer{"one": a, "two": b}[task.Job]
		if mode != lostAtAll && result.Conclusion != jobs.Success {
			t.Errorf("%s: %q (point %d)\n%s", task.Job, result.Summary, at, &w.log)
		}
		if mode == lostAtAll && !strings.Contains(result.Summary, notKnown) {
			t.Errorf("%s was never started, and ends as %q (point %d)", task.Job, result.Summary, at)
		}
		if r.ID == 0 {
			continue
		}
		if run := w.github.find(r.ID); run.inputs["who"] != task.Job {
			t.Errorf("%s follows the workflow run for %s (point %d)", task.Job, run.inputs["who"], at)
		}
		if other := followed[r.ID]; other != "" {
			t.Errorf("%s and %s follow workflow run %d (point %d)", task.Job, other, r.ID, at)
		}
		followed[r.ID] = task.Job
	}
	if w.github.calls["dispatch"] != 2 {
		t.Errorf("asked %d times (point %d)", w.github.calls["dispatch"], at)
	}
	return found
}
