//go:build browser

package web

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// TestBrowserFollowsAWorkflowRun watches a workflow run that a job follows, an approval included, without loading the page again.
func TestBrowserFollowsAWorkflowRun(t *testing.T) {
	b := startBrowser(t)
	w := newWorld()
	run := w.follows(t, 1, nil)
	server := w.server(t)
	server.pace.settle, server.pace.sweep = 20*time.Millisecond, time.Hour
	ts := httptest.NewServer(server.Pages())
	t.Cleanup(func() {
		server.Close()
		ts.Close()
	})
	for _, l := range []look{desktop, {360, true, true}} {
		p := b.open(t, l)
		p.visit(ts.URL + "/runs/" + run.ID)
		p.until(`document.querySelector("#job-tests .md").textContent.includes("Start the database")`)
		p.shot("underway")
		p.clean()
	}
	p := b.open(t, desktop)
	p.visit(ts.URL + "/runs/" + run.ID)
	p.until(`document.querySelector("#job-tests .icon").title === "Running"`)
	// A worker that looks at news changes nothing: the part of the page stays the very same.
	eval[bool](p, `(window.part = document.getElementById("job-tests")) !== null`)
	w.edit(t, run.ID, func(r *jobs.Run) { claimed(r.Job("tests")); r.Notes = []string{"looked at"} })
	p.until(`document.getElementById("head").textContent.includes("looked at")`)
	if !eval[bool](p, `window.part === document.getElementById("job-tests")`) {
		t.Error("the job's part was replaced although nothing that it shows changed")
	}
	must(t, w.results, "next", standing("Run the tests"))
	w.edit(t, run.ID, func(r *jobs.Run) { r.Job("tests").ResultKey = "next" })
	p.until(`document.querySelector("#job-tests .md").textContent.includes("Run the tests")`)
	w.edit(t, run.ID, func(r *jobs.Run) { r.Job("tests").Approvals = []string{"production"} })
	p.until(`document.querySelector("#job-tests .icon").title === "Waits for approval"`)
	p.until(`document.querySelector("#job-tests .ask").textContent.includes("/approve production")`)
	p.until(`document.getElementById("said").textContent.startsWith("tests: waiting for approval of production")`)
	p.shot("underway-approval")
	w.edit(t, run.ID, func(r *jobs.Run) { r.Job("tests").Approvals, r.Job("tests").Round = nil, 1 })
	p.until(`document.querySelector("#job-tests .icon").title === "Running" && !document.querySelector("#job-tests .ask")`)
	result := jobs.Result{Conclusion: jobs.Success, Summary: "CI succeeded: 2 jobs.", Outputs: standing("").Outputs}
	must(t, w.results, "end", result)
	w.edit(t, run.ID, func(r *jobs.Run) {
		if err := r.Finish("tests", "fence-tests", result, "end", time.Now()); err != nil {
			t.Error(err)
		}
	})
	p.until(`document.querySelector("#job-tests .summary").textContent === "CI succeeded: 2 jobs."`)
	if !eval[bool](p, `document.querySelector("#job-tests a.log").href.endsWith("/actions/runs/30433642998")`) {
		t.Error("the workflow run is not linked")
	}
	p.clean()
}
