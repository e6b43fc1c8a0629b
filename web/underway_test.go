package web

import (
	"context"
	"encoding/json"
	"html"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

const workflowRun = "https://github.com/acme/tks-contract/actions/runs/30433642998"

// standing is how a workflow run stands that a job follows.
func standing(step string) jobs.Result {
	return jobs.Result{
		Conclusion: jobs.Success, Summary: "not looked at",
		Details: "[CI, run 30433642998](" + workflowRun + ") in acme/tks-contract on `main`\n\n| | job | time |\n|---|---|---|\n| ✅ | [unit](" + workflowRun + "/job/1) | 41 s |\n" +
			"| 🟡 | [integration](" + workflowRun + "/job/2) | |\n\n**integration**\n\n- ✅ Check out (2 s)\n- 🟡 " + step + "\n\n<details><summary>all</summary>\n\n<img src=x onerror=alert(1)>\n\n</details>\n",
		Outputs: map[string]any{"run_id": float64(30433642998), "run_url": workflowRun},
	}
}

// follows is a run with a job whose work goes on outside.
func (w *world) follows(tb testing.TB, n int, change func(*jobs.Job)) jobs.Run {
	tb.Helper()
	plan := jobs.Plan{Pipeline: ".slipway.yaml at 3f2c9abd41d4", Jobs: []jobs.PlannedJob{
		{Name: "tests", Kind: jobs.KindDispatch, Planned: true, Reason: "a push to the default branch", Spec: json.RawMessage(`{"workflow":"ci.yaml","inputs":{"greeting":"Welcome"}}`)},
		{Name: "gate", Kind: jobs.KindAwait, Planned: true, Reason: "a push to the default branch", Needs: []string{"tests"}, Spec: json.RawMessage(`{"checks":["CI / test"]}`)},
	}}
	d := jobs.Decision{Delivery: guid(n), Time: time.Now().Add(-2 * time.Minute), Outcome: jobs.OutcomeRun, Reason: "2 jobs match this push.",
		Run: push(repository, n, "main", "Follow the workflow", mona), Plan: plan}
	must(tb, w.results, jobs.ResultKey(jobs.RunID(d.Delivery), "tests", 1, 1), standing("Start the database"))
	return w.add(tb, "push", d, func(r *jobs.Run) {
		w.start(r, "tests", r.Created.Add(time.Second))
		later := jobs.Later{Reason: "CI: 1 of 2 jobs done, running: integration"}
		if err := r.Park("tests", "fence-tests", later, jobs.ResultKey(r.ID, "tests", 1, 1), time.Now().Add(time.Minute)); err != nil {
			tb.Fatal(err)
		}
		r.Job("tests").Outside = true
		if change != nil {
			change(r.Job("tests"))
		}
	})
}

// claim has a worker look at news for a moment.
func claimed(j *jobs.Job) {
	j.State, j.Claim = jobs.JobRunning, &jobs.Claim{Token: "fence-tests", Worker: "slipway-0", Time: time.Now()}
}

func TestPageOfAJobUnderWay(t *testing.T) {
	for name, moment := range map[string]func(*jobs.Job){"between news": nil, "offered": func(j *jobs.Job) { j.State = jobs.JobOffered }, "looked at": claimed} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			run := w.follows(t, 1, moment)
			h := w.server(t).Pages()
			page := body(t, h, "/runs/"+run.ID, http.StatusOK)
			checkTags(t, "the run", page)
			text := html.UnescapeString(plain(t, page))
			contains(t, text, "Running tests; 1 job to follow.", "CI: 1 of 2 jobs done, running: integration", "Start the database", "unit", "41 s", "30433642998", "Workflow run", "dispatch", "await")
			lacks(t, text, "Queued", "Waiting: ", "Not tried again", "not looked at", "Worked on by", "Last lines")
			contains(t, page, `href="`+workflowRun+`/job/2"`, `<a class="log" rel="noopener" href="`+workflowRun+`">Workflow run</a>`, `<a rel="noopener noreferrer nofollow" href="`+workflowRun+`">`+workflowRun+`</a>`,
				"<table>", "&lt;details&gt;", "tests: Running", `data-live="/runs/`)
			list := body(t, h, "/", http.StatusOK)
			contains(t, list, "tests: Running")
			contains(t, body(t, h, "/runs/"+run.ID+"/jobs/tests/log", http.StatusOK), "CI: 1 of 2 jobs done", "Running")

			got := decode[RunStatus](t, h, "/api/v1/runs/"+run.ID).Jobs[0]
			if got.State != jobs.JobRunning || !got.Underway || got.Conclusion != "" || got.Summary != "" || got.Waiting == "" || !strings.Contains(got.Details, "Start the database") ||
				got.Outputs["run_url"] != workflowRun || got.Worker != "" || !got.Claimed.IsZero() || !got.NotBefore.IsZero() || !got.Finished.IsZero() {
				t.Errorf("%+v", got)
			}
			listed := decode[RunList](t, h, "/api/v1/runs?state=active").Runs[0].Jobs[0]
			if listed.State != jobs.JobRunning || !listed.Underway || listed.Details != "" || listed.Waiting != got.Waiting {
				t.Errorf("in the list: %+v", listed)
			}
		})
	}
}

func TestPageOfAnApprovalOnGitHub(t *testing.T) {
	w := newWorld()
	run := w.follows(t, 1, func(j *jobs.Job) {
		j.Approvals, j.Waiting = []string{"production", `<b>"x`}, "CI: waits for approval of production on GitHub"
	})
	h := w.server(t).Pages()
	page := body(t, h, "/runs/"+run.ID, http.StatusOK)
	checkTags(t, "the run", page)
	contains(t, html.UnescapeString(plain(t, page)), "tests: waiting for approval of production", "press Approve at the check on GitHub", "/approve production", `/approve <b>"x`, "Waits for approval tests dispatch")
	contains(t, page, `aria-label="tests: Waits for approval"`)
	got := decode[RunStatus](t, h, "/api/v1/runs/"+run.ID).Jobs[0]
	if len(got.Awaits) != 2 || got.State != jobs.JobRunning || !got.Underway {
		t.Errorf("%+v", got)
	}
	// It is being stopped instead.
	w.edit(t, run.ID, func(r *jobs.Run) { r.RequestStop(jobs.Stop{Reason: "cancelled by mona", Time: time.Now()}) })
	text := html.UnescapeString(plain(t, body(t, h, "/runs/"+run.ID, http.StatusOK)))
	contains(t, text, "Stopping: cancelled by mona", "Asked to stop: cancelled by mona", "Running tests dispatch")
	lacks(t, text, "/approve")
	if got := decode[RunStatus](t, h, "/api/v1/runs/"+run.ID).Jobs[0]; got.Stopping != "cancelled by mona" {
		t.Errorf("%+v", got)
	}
}

func TestPageOfAWorkflowsEnd(t *testing.T) {
	w := newWorld()
	run := w.follows(t, 1, claimed)
	outputs := map[string]any{"run_url": workflowRun, "report_url": "javascript:alert(1)", "home_url": "https://e.example/?a=1&b=2", "site": "https://e.example/", "odd_url": float64(7)}
	result := jobs.Result{Conclusion: jobs.Neutral, Summary: "CI ended as neutral.", Details: "2 jobs", Outputs: outputs}
	w.edit(t, run.ID, func(r *jobs.Run) {
		if err := r.Finish("tests", "fence-tests", result, "end", time.Now()); err != nil {
			t.Fatal(err)
		}
	})
	must(t, w.results, "end", result)
	page := body(t, w.server(t).Pages(), "/runs/"+run.ID, http.StatusOK)
	checkTags(t, "the run", page)
	contains(t, page, `href="https://e.example/?a=1&amp;b=2">https://e.example/?a=1&amp;b=2</a>`, "<code>javascript:alert(1)</code>", "<code>https://e.example/</code>", `<details id="details-tests">`, "CI ended as neutral.", ">Workflow run</a>")
	lacks(t, page, "Start the database")
	if got := decode[RunStatus](t, w.server(t).Pages(), "/api/v1/runs/"+run.ID).Jobs[0]; got.State != jobs.JobSucceeded || got.Conclusion != jobs.Neutral || got.Underway {
		t.Errorf("%+v", got)
	}
}

// A change of how a job stands alone makes a live page fetch itself again.
func TestLiveRunOfAJobUnderWay(t *testing.T) {
	w := newWorld()
	run := w.follows(t, 1, nil)
	server, url := quick(t, w)
	server.pace.sweep = time.Hour
	l := listen(t, url+"/runs/"+run.ID+"/live")
	l.wants("change")
	must(t, w.results, "next", standing("Run the tests"))
	w.edit(t, run.ID, func(r *jobs.Run) { r.Job("tests").ResultKey = "next" })
	l.wants("change")
	page := body(t, server.Pages(), "/runs/"+run.ID, http.StatusOK)
	contains(t, page, "Run the tests")
	lacks(t, page, "Start the database")
}

// replacing are results of which the first that is asked for was replaced since the run was read.
type replacing struct {
	*set[jobs.Result]
	replace func()
}

func (r *replacing) Get(ctx context.Context, key string) (jobs.Result, uint64, error) {
	if replace := r.replace; replace != nil {
		r.replace = nil
		replace()
	}
	return r.set.Get(ctx, key)
}

// How a job stands may be replaced between two looks at the records.
func TestStandingThatIsReplaced(t *testing.T) {
	w := newWorld()
	run := w.follows(t, 1, nil)
	old := run.Job("tests").ResultKey
	results := &replacing{set: w.results}
	results.replace = func() {
		must(t, w.results, "next", standing("Run the tests"))
		w.edit(t, run.ID, func(r *jobs.Run) { r.Job("tests").ResultKey = "next" })
		_, revision, err := w.results.Get(t.Context(), old)
		if err == nil {
			err = w.results.Delete(t.Context(), old, revision)
		}
		if err != nil {
			t.Error(err)
		}
	}
	h := w.server(t, func(o *Options) { o.Results = results }).Pages()
	contains(t, body(t, h, "/runs/"+run.ID, http.StatusOK), "Run the tests")
	// One that is gone for good keeps nobody from the page.
	w.edit(t, run.ID, func(r *jobs.Run) { r.Job("tests").ResultKey = "gone" })
	contains(t, body(t, h, "/runs/"+run.ID, http.StatusOK), "CI: 1 of 2 jobs done")
}

func TestNotedDeliveries(t *testing.T) {
	w := newWorld()
	w.add(t, "workflow_run", jobs.Decision{Delivery: guid(1), Time: time.Now(), Outcome: jobs.OutcomeNoted, Reason: "news for tests of r-1"}, nil)
	w.add(t, "push", jobs.Decision{Delivery: guid(2), Time: time.Now(), Outcome: jobs.OutcomeNothing, Reason: "nothing"}, nil)
	h := w.server(t).Pages()
	page := body(t, h, "/deliveries?outcome=noted", http.StatusOK)
	contains(t, page, guid(1), "Passed on")
	lacks(t, page, guid(2))
	m := NewMetrics("v1")
	m.Decided(jobs.OutcomeNoted)
	for _, kind := range []jobs.KindName{jobs.KindDispatch, jobs.KindAwait} {
		m.QueueDepth(kind, 2)
		m.JobFinished(kind, jobs.JobSucceeded, time.Minute)
	}
	contains(t, body(t, w.server(t, func(o *Options) { o.Metrics = m }).Metrics(), "/metrics", http.StatusOK), `slipway_decisions_total{outcome="noted"} 1`,
		`slipway_queue_depth{kind="dispatch"} 2`, `slipway_queue_depth{kind="await"} 2`, `slipway_job_duration_seconds_count{kind="dispatch",state="succeeded"} 1`)
}
