package dispatch_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func TestRetryFailedJobs(t *testing.T) {
	w := newWorld(t)
	w.github.conclusions = []string{"failure", "failure", "failure", "success"}
	spec := `{"workflow": "hello.yaml", "retry_failed_jobs": 2}`
	result := w.finish(w.task("greet", spec))
	w.want(result, jobs.Failure, "hello failed: job build in step Test (attempt 3)")
	if w.github.calls["rerun failed"] != 2 || w.github.calls["dispatch"] != 1 {
		t.Errorf("calls %v", w.github.calls)
	}
	if result.Outputs["run_id"] != int64(101) {
		t.Errorf("outputs %v", result.Outputs)
	}
}

func TestRetryWithoutAClearAnswer(t *testing.T) {
	for given, want := range map[answer]struct {
		conclusion jobs.Conclusion
		summary    string
		details    string
	}{
		lost:      {jobs.Success, "hello succeeded (attempt 2)", "attempt 2"},
		lostAtAll: {jobs.Failure, "hello failed", "It is not known whether GitHub was asked to run it again"},
		refused:   {jobs.Failure, "hello failed", "It was not run again: this workflow run was created over a month ago"},
	} {
		w := newWorld(t)
		w.github.conclusions, w.github.rerunAnswer = []string{"failure", "success"}, given
		result := w.finish(w.task("greet", `{"workflow": "hello.yaml", "retry_failed_jobs": 3}`))
		w.want(result, want.conclusion, want.summary)
		if !strings.Contains(result.Details, want.details) || w.github.calls["rerun failed"] != 1 {
			t.Errorf("%s: asked %d times\n%s", given, w.github.calls["rerun failed"], result.Details)
		}
	}
}

func TestRetryHeldBackByALimit(t *testing.T) {
	w := newWorld(t)
	w.github.conclusions, w.github.rerunAnswer = []string{"failure", "success"}, limited
	task := w.task("greet", `{"workflow": "hello.yaml", "retry_failed_jobs": 1}`)
	later := w.until(task, "GitHub's limit is used up")
	if later.Progress == nil || later.After != time.Minute {
		t.Errorf("waits %+v", later)
	}
	w.github.rerunAnswer = names
	w.want(w.finish(task), jobs.Success, "hello succeeded (attempt 2)")
}

func TestSomebodyRunsItAgainOnGitHub(t *testing.T) {
	w := newWorld(t)
	w.github.conclusions = []string{"failure", "success"}
	task := w.task("greet", hello("greet"))
	_ = w.until(task, "running: build")
	run := w.github.runs[0]
	run.attempts = append(run.attempts, w.clock)
	w.want(w.finish(task), jobs.Success, "hello succeeded (attempt 2)")
}

func TestFurtherAttempt(t *testing.T) {
	failure := func(w *world, task jobs.Task) { w.want(w.finish(task), jobs.Failure, "hello failed") }
	cancelled := func(w *world, task jobs.Task) {
		_ = w.until(task, "running: build")
		w.stop(task, jobs.Stop{Reason: "cancelled by alice"})
	}
	for name, c := range map[string]struct {
		conclusions []string
		first       func(*world, jobs.Task)
		change      func(*world, *jobs.Task)
		runs        int // that were started in all
		rerun       string
		summary     string
		details     string
	}{
		"of what failed":                {[]string{"failure", "success"}, failure, nil, 1, "rerun failed", "hello succeeded (attempt 2)", ""},
		"of what was cancelled at work": {[]string{"success"}, cancelled, nil, 1, "rerun failed", "hello succeeded (attempt 2)", ""},
		"of what was cancelled before it began": {[]string{"success"}, func(w *world, task jobs.Task) {
			_ = w.until(task, "queued")
			w.stop(task, jobs.Stop{Reason: "cancelled by alice"})
		}, nil, 1, "", "hello succeeded (attempt 2)", ""},
		"while its end takes a while": {[]string{"success"}, func(w *world, task jobs.Task) {
			w.github.cancelGone = true
			cancelled(w, task)
		}, nil, 1, "rerun failed", "hello succeeded (attempt 2)", ""},
		"of what was left alone": {[]string{"success"}, func(w *world, task jobs.Task) {
			_ = w.until(task, "running: build")
			w.stop(task, jobs.Stop{Reason: "superseded", Superseded: true})
		}, nil, 1, "", "hello succeeded", ""},
		"of what succeeded": {[]string{"success"}, func(w *world, task jobs.Task) { w.finish(task) }, nil, 2, "", "hello succeeded", ""},
		"of nothing":        {[]string{"success"}, func(*world, jobs.Task) {}, nil, 1, "", "hello succeeded", ""},
		"of what is unknown": {[]string{"success"}, func(w *world, task jobs.Task) {
			w.github.answer = lostAtAll
			w.want(w.finish(task), jobs.Failure, notKnown)
			w.github.answer = names
		}, nil, 1, "", "hello succeeded", ""},
		"with other inputs": {[]string{"failure"}, failure, func(w *world, task *jobs.Task) {
			w.github.conclusions = []string{"success"}
			task.Spec = []byte(hello("another"))
		}, 2, "", "hello succeeded", "its inputs are others"},
		"of another workflow": {[]string{"failure"}, failure, func(w *world, task *jobs.Task) {
			w.github.conclusions = []string{"success"}
			task.Spec = []byte(`{"workflow": "hello.yaml", "inputs": {"who": "greet"}, "ref": "feat"}`)
		}, 2, "", "hello succeeded", "it is another workflow"},
		"that GitHub refuses": {[]string{"failure"}, failure, func(w *world, _ *jobs.Task) {
			w.github.rerunAnswer = refused
			w.github.conclusions = []string{"failure"}
		}, 2, "", "hello failed", "the attempt before can't be run again: this workflow run was created over a month ago"},
		"of what is gone": {[]string{"failure"}, failure, func(w *world, _ *jobs.Task) {
			w.github.runs, w.github.conclusions = nil, []string{"success"}
		}, 1, "", "hello succeeded", "can't be read: there is no such workflow run any more"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.github.conclusions = c.conclusions
			task := w.task("greet", hello("greet"))
			c.first(w, task)
			again(&task)
			if c.change != nil {
				c.change(w, &task)
			}
			if w.github.cancelGone {
				_ = w.until(task, "running: build")
				w.github.cancelGone = false
			}
			result := w.finish(task)
			if !strings.Contains(result.Summary, c.summary) || !strings.Contains(result.Details, c.details) {
				t.Errorf("%q\n%s", result.Summary, result.Details)
			}
			if len(w.github.runs) != c.runs || c.rerun != "" && w.github.calls[c.rerun] != 1 {
				t.Errorf("%d workflow runs, calls %v", len(w.github.runs), w.github.calls)
			}
		})
	}
}

// TestFurtherAttemptIsNotTheOneBefore: the workflow run that GitHub refuses to run again is not the new one, however young it is.
func TestFurtherAttemptIsNotTheOneBefore(t *testing.T) {
	for _, marked := range []bool{false, true} {
		w := newWorld(t)
		if marked {
			w.github.files[".github/workflows/hello.yaml"] = "inputs: {slipway_run: {}}"
		}
		w.github.answer, w.github.conclusions = nameless, []string{"failure"}
		task := w.task("greet", hello("greet"))
		w.want(w.finish(task), jobs.Failure, "hello failed")
		w.github.runs[0].created = w.clock.Add(-10 * time.Second) // it failed at once
		w.github.conclusions, w.github.rerunAnswer = []string{"success"}, refused
		w.github.runs[0].cancelled = true // so that it stays over, and not well
		again(&task)
		w.want(w.finish(task), jobs.Success, "hello succeeded")
		if r := w.record(task); r.ID != 102 || len(w.github.runs) != 2 {
			t.Errorf("follows %d of %d", r.ID, len(w.github.runs))
		}
	}
}

// TestFurtherAttemptAfterACrash: the workflow run that was claimed and then left, because it went well meanwhile, is not the new one.
func TestFurtherAttemptAfterACrash(t *testing.T) {
	w := newWorld(t)
	w.github.answer = nameless
	task := w.task("greet", hello("greet"))
	_ = w.until(task, "running: build")
	w.stop(task, jobs.Stop{Reason: "superseded", Superseded: true})
	again(&task)
	w.github.trap = func(point string) {
		if point == "updated lane" {
			panic(errCrash)
		}
	}
	_, _, _ = w.step(task)
	w.github.trap = func(string) {}
	w.clock = w.clock.Add(time.Minute)
	w.github.runs[0].created = w.clock.Add(-10 * time.Second)
	w.want(w.finish(task), jobs.Success, "hello succeeded")
	if r := w.record(task); r.ID != 102 || len(w.github.runs) != 2 {
		t.Errorf("follows %d of %d", r.ID, len(w.github.runs))
	}
}

// TestWhoStoodStillDoesNotRunItAgain: nobody asks for another attempt after the job was given up on it.
func TestWhoStoodStillDoesNotRunItAgain(t *testing.T) {
	w := newWorld(t)
	w.github.conclusions = []string{"failure"}
	task := w.task("greet", `{"workflow": "hello.yaml", "retry_failed_jobs": 1}`)
	stood := false
	w.github.trap = func(point string) {
		if !stood && point == "updated record" && w.record(task).Want != 0 {
			stood = true
			w.clock = w.clock.Add(4 * time.Minute)
			w.want(w.finish(task), jobs.Failure, "hello failed")
		}
	}
	for range 20 {
		if _, err := w.call(task, nil); stood {
			if err == nil || !strings.Contains(err.Error(), "another worker") {
				t.Errorf("goes on: %v", err)
			}
			break
		}
		w.clock = w.clock.Add(10 * time.Second)
	}
	if !stood || w.github.calls["rerun failed"] != 0 {
		t.Errorf("stood still: %v; asked %d times", stood, w.github.calls["rerun failed"])
	}
}
