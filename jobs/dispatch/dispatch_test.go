package dispatch_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func TestDispatchIsFollowedToItsEnd(t *testing.T) {
	w := newWorld(t)
	w.github.artifacts = []jobs.WorkflowArtifact{{ID: 1, Name: "slipway-outputs", Size: 40}, {ID: 2, Name: "report", Size: 3 << 20}}
	w.github.outputs = `{"image": "r/shop@sha256:1", "count": 7, "ratio": 0.5, "good": true, "run_id": 1, "list": [1]}`
	task := w.task("greet", hello("greet"))
	var topics []string
	task.Watch = func(_ context.Context, topic string, _ ...string) error { topics = append(topics, topic); return nil }
	later := w.until(task, "hello: 0 of 1 job done, running: build")
	for _, want := range []string{"[hello, run 101](https://github.example/runs/101) in acme/shop on `main`", "| 🟡 | [build](https://github.example/job) |", "- 🟡 Test"} {
		if !strings.Contains(later.Progress.Details, want) {
			t.Errorf("progress lacks %q:\n%s", want, later.Progress.Details)
		}
	}
	result := w.finish(task)
	w.want(result, jobs.Success, "hello succeeded")
	for name, want := range map[string]any{"run_id": int64(101), "run_url": "https://github.example/runs/101", "conclusion": "success",
		"artifacts": "report,slipway-outputs", "image": "r/shop@sha256:1", "count": int64(7), "ratio": 0.5, "good": true} {
		if result.Outputs[name] != want {
			t.Errorf("output %s is %#v, want %#v", name, result.Outputs[name], want)
		}
	}
	for _, want := range []string{`the output "run\_id" is Slipway's own`, `the output "list" is not a text`, "- report (3.0 MB)", "| ✅ |"} {
		if !strings.Contains(result.Details, want) {
			t.Errorf("details lack %q:\n%s", want, result.Details)
		}
	}
	// With the file that planning reads, and which is kept: four.
	if n := w.github.asked(); n > 4 {
		t.Errorf("%d calls to GitHub: %v", n, w.github.calls)
	}
	if topics[0] != jobs.WorkflowTopic(5, 101) {
		t.Errorf("watches %q", topics)
	}
	for line, n := range map[string]int{"build: in progress": 1, "build: step 1 Set up job: success": 1, "build: step 2 Test: success": 1, "build: success (50 s)": 1} {
		if strings.Count(w.log.String(), line) != n {
			t.Errorf("the log does not have %q once:\n%s", line, &w.log)
		}
	}
}

func TestDispatchWithoutDeliveries(t *testing.T) {
	w := newWorld(t)
	w.deaf = true
	task := w.task("greet", hello("greet"))
	w.want(w.finish(task), jobs.Success, "hello succeeded")
	if w.github.calls["run"] != 1 || w.github.calls["jobs"] != 1 {
		t.Errorf("calls %v, want one look at the run after 5 minutes", w.github.calls)
	}
}

func TestDispatchLooksSeldomer(t *testing.T) {
	w := newWorld(t)
	w.deaf, w.github.review = true, "production" // it stands still
	task := w.task("greet", `{"workflow": "hello.yaml", "timeout": "24h"}`)
	_ = w.until(task, "queued")
	_ = w.until(task, "waits for approval")
	var gaps []time.Duration
	for range 6 {
		before := w.clock
		asked := w.github.calls["run"]
		for w.github.calls["run"] == asked {
			if result, _, err := w.step(task); result != nil || err != nil {
				t.Fatal(result, err)
			}
		}
		gaps = append(gaps, w.clock.Sub(before))
	}
	if gaps[0] < 5*time.Minute || gaps[5] != 30*time.Minute {
		t.Errorf("looks after %v", gaps)
	}
}

func TestDispatchConclusions(t *testing.T) {
	for conclusion, want := range map[string]struct {
		conclusion jobs.Conclusion
		summary    string
	}{
		"success":         {jobs.Success, "hello succeeded"},
		"neutral":         {jobs.Neutral, "hello ended as neutral"},
		"skipped":         {jobs.Skipped, "hello was skipped"},
		"cancelled":       {jobs.Cancelled, "hello was cancelled on GitHub"},
		"timed_out":       {jobs.TimedOut, "hello took longer than GitHub lets it: job build in step Test; see https://github.example/runs/101"},
		"failure":         {jobs.Failure, "hello failed: job build in step Test; see https://github.example/runs/101"},
		"startup_failure": {jobs.Failure, "hello could not be started by GitHub"},
		"stale":           {jobs.Failure, "hello was given up by GitHub"},
		"action_required": {jobs.Failure, "GitHub asks somebody to approve it first"},
		"something new":   {jobs.Failure, "hello failed"},
	} {
		t.Run(conclusion, func(t *testing.T) {
			w := newWorld(t)
			w.github.conclusions = []string{conclusion}
			result := w.finish(w.task("greet", hello("greet")))
			w.want(result, want.conclusion, want.summary)
			if result.Outputs["conclusion"] != conclusion {
				t.Errorf("outputs %v", result.Outputs)
			}
			explained := conclusion == "failure"
			if explained && (len(result.Tail) != 2 || len(result.Annotations) != 1 || result.Annotations[0].Title != "build") {
				t.Errorf("tail %q, annotations %+v", result.Tail, result.Annotations)
			}
		})
	}
}

func TestDispatchRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spec   string
		change func(*jobs.Task)
		want   string
	}{
		"an untrusted run":           {hello("x"), func(t *jobs.Task) { t.Run.Trust.Level = jobs.Untrusted }, "untrusted runs dispatch no workflows"},
		"an approved stranger's":     {hello("x"), func(t *jobs.Task) { t.Run.Trust.Level = jobs.Approved }, "untrusted runs dispatch no workflows"},
		"no grant":                   {hello("x"), func(t *jobs.Task) { t.Grant = jobs.Grant{} }, "grants it under `workflows`"},
		"another repository":         {`{"workflow": "hello.yaml", "repository": "acme/secret"}`, nil, "acme/shop may not dispatch workflows of acme/secret"},
		"a file that is not granted": {`{"workflow": "other.yaml", "repository": "Acme/Infra"}`, nil, "may dispatch hello* of acme/infra, not other.yaml"},
		"a ref that is not granted":  {`{"workflow": "hello.yaml", "repository": "acme/infra", "ref": "main"}`, nil, "on trunk, not on main"},
		"a file that is taken away": {hello("x"), func(t *jobs.Task) {
			t.Grant.Workflows = []jobs.WorkflowGrant{{Repository: "acme/shop", Files: []string{"*.yaml", "!hello.yaml"}}}
		}, "not hello.yaml"},
		"a commit":                 {`{"workflow": "hello.yaml", "ref": "` + sha + `"}`, nil, "on branches and tags only"},
		"a file that is not there": {`{"workflow": "none.yaml"}`, nil, "there is no .github/workflows/none.yaml at aaaaaaaaaaaa"},
		"a path":                   {`{"workflow": "../../x.yaml"}`, nil, "neither the name of a file"},
		"a wrong input":            {`{"workflow": "hello.yaml", "inputs": {"wrong": 1}}`, nil, "hello.yaml was not dispatched: hello.yaml takes no input wrong"},
		"a long timeout":           {`{"workflow": "hello.yaml", "timeout": "25h"}`, nil, "of at most 24h"},
		"many retries":             {`{"workflow": "hello.yaml", "retry_failed_jobs": 6}`, nil, "it may be 0 to 5"},
		"an unknown field":         {`{"workflwo": "hello.yaml"}`, nil, "can't be read"},
		"a fork's branch":          {hello("x"), func(t *jobs.Task) { t.Run.Fork = true }, "is in a fork"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.github.files[".github/workflows/other.yaml"] = "on: workflow_dispatch"
			task := w.task("greet", c.spec)
			if c.change != nil {
				c.change(&task)
			}
			w.want(w.finish(task), jobs.Failure, c.want)
			if len(w.github.runs) != 0 {
				t.Error("dispatched all the same")
			}
		})
	}
}

func TestDispatchSends(t *testing.T) {
	for name, c := range map[string]struct {
		spec                  string
		change                func(*jobs.Task)
		repo                  int64
		branch, input, wanted string
	}{
		"hostile text":                {`{"workflow": "hello.yaml", "inputs": {"who": "$(rm -rf /)\n'\"; echo"}}`, nil, 5, "main", "who", "$(rm -rf /)\n'\"; echo"},
		"a number as it was written":  {`{"workflow": "hello.yaml", "inputs": {"who": 1000000}}`, nil, 5, "main", "who", "1000000"},
		"by ID":                       {`{"workflow": "77"}`, nil, 5, "main", "", ""},
		"to a tag":                    {`{"workflow": "hello.yaml"}`, func(t *jobs.Task) { t.Run.Branch, t.Run.Tag, t.Run.Ref = "", "v1", "refs/tags/v1" }, 5, "v1", "", ""},
		"to the branch of a request":  {`{"workflow": "hello.yaml"}`, func(t *jobs.Task) { t.Run.Branch, t.Run.Ref = "feat", "refs/pull/7/head" }, 5, "feat", "", ""},
		"to another repository":       {`{"workflow": "hello.yaml", "repository": "acme/infra"}`, nil, 6, "trunk", "", ""},
		"to its own by a full name":   {`{"workflow": ".github/workflows/hello.yaml", "repository": "ACME/shop", "ref": "refs/heads/main"}`, nil, 5, "main", "", ""},
		"to another branch of itself": {`{"workflow": "hello.yaml", "ref": "feat"}`, nil, 5, "feat", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			task := w.task("greet", c.spec)
			if c.change != nil {
				c.change(&task)
			}
			w.want(w.finish(task), jobs.Success, "hello succeeded")
			run := w.github.runs[0]
			if run.repo != c.repo || run.branch != c.branch || run.workflow != "hello.yaml" || run.inputs[c.input] != c.wanted {
				t.Errorf("started %+v", run)
			}
		})
	}
}

func TestDispatchRefusedByGitHub(t *testing.T) {
	w := newWorld(t)
	w.github.answer = refused
	w.want(w.finish(w.task("greet", hello("greet"))), jobs.Failure, "does not have 'workflow_dispatch' trigger")
	w.github.answer = names // and its turn is over
	w.want(w.finish(w.task("next", hello("next"))), jobs.Success, "succeeded")
}

func TestDispatchTriesAgainWhatSurelyWasNotSent(t *testing.T) {
	for _, first := range []answer{limited, unsent} {
		w := newWorld(t)
		w.github.answer = first
		task := w.task("greet", hello("greet"))
		for range 3 {
			if result, _, _ := w.step(task); result != nil {
				t.Fatal(result)
			}
		}
		w.github.answer = names
		w.want(w.finish(task), jobs.Success, "hello succeeded")
		if w.github.calls["dispatch"] != 4 || len(w.github.runs) != 1 {
			t.Errorf("%s: asked %d times, started %d", first, w.github.calls["dispatch"], len(w.github.runs))
		}
	}
}

func TestDispatchWithoutWaiting(t *testing.T) {
	w := newWorld(t)
	w.deaf = true
	result := w.finish(w.task("greet", `{"workflow": "hello.yaml", "wait": false}`))
	w.want(result, jobs.Success, "hello was started on main; nobody waits for its end")
	if result.Outputs["run_id"] != int64(101) || result.Outputs["run_url"] != "https://github.example/runs/101" {
		t.Errorf("outputs %v", result.Outputs)
	}
	if n := w.github.asked(); n > 4 {
		t.Errorf("calls %v", w.github.calls)
	}
}

func TestDispatchOnABranchThatMoved(t *testing.T) {
	for _, spec := range []string{hello("greet"), `{"workflow": "hello.yaml", "wait": false}`} {
		w := newWorld(t)
		w.github.heads["main"] = strings.Repeat("b", 40)
		w.want(w.finish(w.task("greet", spec)), jobs.Failure, "main moved to bbbbbbbbbbbb between; the workflow run on it was cancelled")
		if !w.github.runs[0].cancelled {
			t.Error("not cancelled")
		}
	}
	w := newWorld(t)
	w.github.heads["feat"] = strings.Repeat("b", 40) // another ref is at another commit: so it should be
	w.want(w.finish(w.task("greet", `{"workflow": "hello.yaml", "ref": "feat"}`)), jobs.Success, "hello succeeded")
}

func TestDispatchOfWhatIsBehind(t *testing.T) {
	w := newWorld(t)
	task := w.task("greet", hello("greet"))
	task.Newest = func(context.Context) (bool, string, error) { return false, "main is at bbbb by now", nil }
	w.want(w.finish(task), jobs.Skipped, "not dispatched: main is at bbbb by now")
	if len(w.github.runs) != 0 {
		t.Error("dispatched all the same")
	}
}

func TestDispatchTimesOut(t *testing.T) {
	w := newWorld(t)
	w.github.review = "production" // it stands still
	w.want(w.finish(w.task("greet", `{"workflow": "hello.yaml", "timeout": "45m"}`)), jobs.TimedOut, "hello did not end within 45m and was cancelled")
	if !w.github.runs[0].cancelled {
		t.Error("not cancelled")
	}
}
