package githubtest_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

const deployWorkflow = `
on: [workflow_dispatch]
jobs:
  build: {steps: [{run: make}]}
  deploy: {needs: build, environment: {name: production, url: https://example.com}, steps: [{run: deploy}]}
`

func TestProtectedEnvironment(t *testing.T) {
	w := newWorld(t)
	w.addWorkflows("main", map[string]string{"deploy.yaml": deployWorkflow})
	check(t, w.repo.ProtectEnvironment("production", w.alice))
	begin := func() (*githubtest.WorkflowRun, int64, bool) {
		t.Helper()
		_, _, err := w.dispatch("deploy.yaml", "main", nil)
		check(t, err)
		run := w.run()
		check(t, run.FinishJob("build", "success"))
		w.wantState(run, "1 waiting")
		request, err := w.client().NewRequest(http.MethodGet, fmt.Sprintf("repos/acme/shop/actions/runs/%d/pending_deployments", run.ID), nil)
		check(t, err)
		var pending []struct {
			Environment struct {
				ID   int64
				Name string
			}
			May bool `json:"current_user_can_approve"`
		}
		_, err = w.client().Do(t.Context(), request, &pending)
		check(t, err)
		if len(pending) != 1 || pending[0].Environment.Name != "production" {
			t.Fatalf("pending is %+v", pending)
		}
		return run, pending[0].Environment.ID, pending[0].May
	}
	run, environment, may := begin()
	names := w.names()
	if wait := names[len(names)-4:]; !slices.Equal(wait, []string{"check_run.created", "deployment.created", "deployment_status.created", "workflow_job.waiting"}) {
		t.Errorf("waiting says %q", names)
	}
	if jobs := w.jobs(run, ""); jobs[1] != "deploy waiting" || !slices.Equal(run.Pending(), []string{"production"}) || may {
		t.Errorf("the jobs are %q, the App may: %t", jobs, may)
	}
	checks, _, err := w.client().Checks.ListCheckRunsForRef(t.Context(), "acme", "shop", "main", nil)
	check(t, err)
	suites, _, err := w.client().Checks.ListCheckSuitesForRef(t.Context(), "acme", "shop", "main", nil)
	check(t, err)
	if checks.CheckRuns[0].GetStatus() != "waiting" || suites.GetTotal() == 0 {
		t.Errorf("the checks are %v", checks.CheckRuns)
	}
	review := func(run *githubtest.WorkflowRun, state string, environment int64) ([]*github.Deployment, error) {
		list, _, err := w.client().Actions.PendingDeployments(t.Context(), "acme", "shop", run.ID, &github.PendingDeploymentsRequest{EnvironmentIDs: []int64{environment}, State: state, Comment: "fine"})
		return list, err
	}
	_, err = review(run, "approved", environment)
	refused(t, err, http.StatusUnprocessableEntity, "not authorized")
	_, err = review(run, "approved", 1)
	refused(t, err, http.StatusUnprocessableEntity, "No pending deployment")
	if err := run.Review("production", true, w.CreateUser("mallory")); err == nil {
		t.Error("who is no reviewer has approved")
	}
	check(t, run.Review("production", true, w.alice))
	w.wantState(run, "1 in_progress")
	check(t, run.FinishJob("deploy", "success"))
	w.wantState(run, "1 completed success")
	deployments := w.repo.Deployments()
	var states []string
	for _, status := range deployments[0].Statuses {
		states = append(states, status.State)
	}
	if !slices.Equal(states, []string{"waiting", "queued", "in_progress", "success"}) || len(deployments) != 1 {
		t.Errorf("the deployment went through %q", states)
	}

	// With the App's bot among the reviewers the App may.
	check(t, w.repo.ProtectEnvironment("production", w.alice, w.app.Bot))
	run, environment, may = begin()
	list, err := review(run, "approved", environment)
	check(t, err)
	if !may || len(list) != 1 || list[0].GetEnvironment() != "production" || len(run.Pending()) != 0 {
		t.Errorf("the App may: %t; approving gave %v", may, list)
	}
	run, environment, _ = begin()
	_, err = review(run, "rejected", environment)
	check(t, err)
	w.wantState(run, "1 completed failure")
	run, _, _ = begin()
	check(t, run.Cancel(w.alice))
	w.wantState(run, "1 completed cancelled")
}

func TestWorkflowsOfPushesAndPulls(t *testing.T) {
	w := newWorld(t)
	ci := "name: CI\non:\n  push: {branches: [main]}\n  pull_request: {branches: [main]}\njobs: {test: {runs-on: ubuntu-latest, steps: [{run: make test}]}}\n"
	sha := w.addWorkflows("main", map[string]string{"ci.yaml": ci, "tags.yaml": "on: {push: {tags: ['v*']}}\njobs: {release: {}}", "closed.yaml": "on: {pull_request: {types: [closed]}}\njobs: {bye: {}}"})
	events := func() (list []string) {
		for _, run := range w.repo.WorkflowRuns() {
			list = append(list, fmt.Sprintf("%s %s %s %s", run.Event, run.HeadBranch, run.Actor.Login, strings.TrimPrefix(run.Path, ".github/workflows/")))
		}
		return list
	}
	if run := w.run(); run.HeadSHA != sha || run.Title() != "Workflows" {
		t.Errorf("the push started %+v", run)
	}
	check(t, w.repo.SetRefs(map[string]string{"refs/tags/v1": sha, "refs/heads/other": sha}, w.alice))
	_, err := w.repo.Commit("main", "Docs [skip ci]", map[string]string{"docs": ""}, w.alice)
	check(t, err)
	bob := w.CreateUser("bob")
	fork, err := w.Fork(w.repo, bob)
	check(t, err)
	head, err := fork.Commit("fix", "Fix", map[string]string{"fix": ""}, bob)
	check(t, err)
	p, err := w.repo.OpenPull(githubtest.PullOptions{Head: "bob:fix", Title: "Fix it", User: bob})
	check(t, err)
	w.idle()
	opened := w.run()
	shown, _, err := w.client().Actions.GetWorkflowRunByID(t.Context(), "acme", "shop", opened.ID)
	check(t, err)
	if opened.HeadSHA != head || opened.Title() != "Fix it" || shown.GetHeadRepository().GetFullName() != "bob/shop" || len(shown.PullRequests) != 0 {
		t.Errorf("the pull request started %v", shown)
	}
	checks, _, err := w.client().Checks.ListCheckRunsForRef(t.Context(), "acme", "shop", head, nil)
	check(t, err)
	if len(checks.CheckRuns) != 1 || checks.CheckRuns[0].GetName() != "test" {
		t.Errorf("the fork's checks are %v", checks.CheckRuns)
	}
	_, err = p.Push("More", map[string]string{"fix": "more"}, nil)
	check(t, err)
	p.Label(w.alice, "good")
	p.Close(w.alice)
	w.idle()
	want := []string{"push main alice ci.yaml", "push v1 alice tags.yaml", "pull_request fix bob ci.yaml", "pull_request fix bob ci.yaml", "pull_request fix alice closed.yaml"}
	if got := events(); !slices.Equal(got, want) {
		t.Errorf("the runs are\n%q, want\n%q", got, want)
	}
	_, err = fork.Commit("main", "On main", map[string]string{"x": ""}, bob)
	check(t, err)
	if _, err := fork.DispatchWorkflow("ci.yaml", "main", nil, bob); err == nil || !strings.Contains(err.Error(), "disabled") || len(fork.WorkflowRuns()) != 0 {
		t.Errorf("in a fork dispatching gives %v, and there are the runs %v", err, fork.WorkflowRuns())
	}
	_, err = w.repo.Commit("main", "Without", map[string]string{".github/workflows/tags.yaml": "on: schedule"}, w.alice)
	check(t, err)
	runs, _, err := w.client().Actions.ListWorkflowRunsByFileName(t.Context(), "acme", "shop", "tags.yaml", nil)
	check(t, err)
	if runs.GetTotalCount() != 1 {
		t.Errorf("of a changed workflow there are %v", runs)
	}
}

// played waits until a run is at rest.
func (w *world) played(run *githubtest.WorkflowRun, want string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	if err := w.WaitFor(ctx, func() bool {
		attempt, status, conclusion := run.State()
		return strings.TrimSpace(fmt.Sprintf("%d %s %s", attempt, status, conclusion)) == want
	}); err != nil {
		w.wantState(run, want)
		w.t.Fatalf("%v: %+v", err, run.Jobs())
	}
}

func TestWorkflowsArePlayed(t *testing.T) {
	w := newWorld(t)
	w.addWorkflows("main", map[string]string{"hello.yaml": helloWorkflow})
	w.RunWorkflows(&githubtest.WorkflowScript{})
	hostile := "$(rm -rf /)`id`'; ok"
	_, _, err := w.dispatch("hello.yaml", "main", map[string]any{"name": hostile, "greeting": "Welcome"})
	check(t, err)
	run := w.run()
	w.played(run, "1 completed success")
	if log := run.Jobs()[0].Log; !strings.Contains(log, "Z Welcome, "+hostile+"!\n") || !strings.Contains(log, "GREETING: Welcome") {
		t.Errorf("the log is %s", log)
	}
	artifacts, _, err := w.client().Actions.ListWorkflowRunArtifacts(t.Context(), "acme", "shop", run.ID, nil)
	check(t, err)
	address, _, err := w.client().Actions.DownloadArtifact(t.Context(), "acme", "shop", artifacts.Artifacts[0].GetID(), false)
	check(t, err)
	_, content := w.fetch(address, "")
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	check(t, err)
	file, err := archive.Open("outputs.json")
	check(t, err)
	if got, err := io.ReadAll(file); err != nil || string(got) != `{"said": "Welcome, `+hostile+`!"}` || artifacts.Artifacts[0].GetName() != "slipway-outputs" {
		t.Errorf("the outputs are %s, %v", got, err)
	}
}

func TestFailingWorkflowsArePlayed(t *testing.T) {
	w := newWorld(t)
	w.addWorkflows("main", map[string]string{"bad.yaml": `
on: [workflow_dispatch]
jobs:
  bad:
    steps:
      - run: |
          echo "::warning file=src/main.go,line=1,title=Old::This is old"
          mkdir -p out/sub && echo deep > out/sub/file && cat out/sub/file
          test -f /etc/passwd && echo escaped
          cat /etc/passwd || echo contained
          curl https://example.com || echo "no programs: $?"
          for i in 1 2 3; do echo "line $i" | cat; done
          exit 3
      - {run: echo never}
      - {if: failure(), run: echo sorry}
      - {if: always(), uses: actions/checkout@v5}
      - {if: always(), run: cat src/main.go}
      - {if: always(), uses: actions/upload-artifact@v5, with: {name: out, path: out}}
  broken:
    steps:
      - run: if then
  endless:
    steps:
      - run: while true; do sleep 60; done
  held:
    steps: [{run: echo held}]
  judged:
    steps: [{run: echo fine}]
`})
	_, _, err := w.dispatch("bad.yaml", "main", nil)
	check(t, err)
	run := w.run()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	w.RunWorkflows(&githubtest.WorkflowScript{Sleep: 1, Delay: time.Millisecond,
		Hold: func(_ *githubtest.WorkflowRun, job githubtest.WorkflowJob) bool { return job.Key == "held" },
		Conclude: func(_ *githubtest.WorkflowRun, job githubtest.WorkflowJob) string {
			return map[string]string{"judged": "timed_out"}[job.Key]
		}})
	job := func(key string) githubtest.WorkflowJob {
		jobs := run.Jobs()
		return jobs[slices.IndexFunc(jobs, func(j githubtest.WorkflowJob) bool { return j.Key == key })]
	}
	check(t, w.WaitFor(ctx, func() bool {
		return job("bad").Status == "completed" && job("broken").Status == "completed" && job("judged").Status == "completed" && job("endless").Status == "in_progress"
	}))
	bad := job("bad")
	for _, want := range []string{"Z deep\n", "contained", "no programs: 127", "Z line 3", "##[error]Process completed with exit code 3.", "sorry", "Z package main", "##[warning]This is old"} {
		if !strings.Contains(bad.Log, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.Contains(bad.Log, "Z escaped") || strings.Contains(bad.Log, "root:") || strings.Contains(bad.Log, "Z never") {
		t.Errorf("the log is %s", bad.Log)
	}
	var steps []string
	for _, step := range bad.Steps {
		steps = append(steps, step.Conclusion)
	}
	if !slices.Equal(steps, []string{"success", "failure", "skipped", "success", "success", "success", "success", "success"}) || bad.Conclusion != "failure" || job("broken").Conclusion != "failure" || job("judged").Conclusion != "timed_out" {
		t.Errorf("the steps ended %q, the jobs %q, %q and %q", steps, bad.Conclusion, job("broken").Conclusion, job("judged").Conclusion)
	}
	annotations, _, err := w.client().Checks.ListCheckRunAnnotations(t.Context(), "acme", "shop", bad.ID, nil)
	check(t, err)
	if len(annotations) != 2 || annotations[0].GetPath() != "src/main.go" || annotations[0].GetTitle() != "Old" || annotations[1].GetMessage() != "Process completed with exit code 3." || annotations[1].GetPath() != ".github" {
		t.Errorf("the annotations are %v", annotations)
	}
	if job("held").Status != "queued" {
		t.Errorf("the held job is %+v", job("held"))
	}
	check(t, run.Cancel(w.alice))
	w.played(run, "1 completed cancelled")
	w.RunWorkflows(nil)
	check(t, run.Rerun(true, w.alice))
	w.wantState(run, "2 queued")
	w.idle()
}
