package githubtest_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// jobs shows a run's jobs as the API lists them: name, status and conclusion, with the steps that began.
func (w *world) jobs(run *githubtest.WorkflowRun, filter string) (list []string) {
	w.t.Helper()
	jobs, _, err := w.tokenClient(w.inst.Token()).Actions.ListWorkflowJobs(w.t.Context(), "acme", "shop", run.ID, &github.ListWorkflowJobsOptions{Filter: filter})
	check(w.t, err)
	for _, job := range jobs.Jobs {
		text := strings.TrimSpace(fmt.Sprintf("%s %s %s", job.GetName(), job.GetStatus(), job.GetConclusion()))
		for _, step := range job.Steps {
			if step.GetStatus() != "queued" {
				text += fmt.Sprintf(" %d:%s%s", step.GetNumber(), step.GetStatus()[:1], step.GetConclusion())
			}
		}
		list = append(list, text)
	}
	return list
}

func TestWorkflowRunLife(t *testing.T) {
	w := newWorld(t)
	sha := w.addWorkflows("main", map[string]string{"hello.yaml": helloWorkflow})
	_, _, err := w.dispatch("hello.yaml", "main", map[string]any{"name": "Bob"})
	check(t, err)
	run := w.run()
	w.wantState(run, "1 queued")
	hooks := w.waitHooks()
	wantNames(t, w.names(), "workflow_run.requested", "check_run.created", "workflow_job.queued")
	wantJSON(t, hooks[0].body, map[string]any{"workflow_run.id": float64(run.ID), "workflow_run.event": "workflow_dispatch", "workflow_run.head_sha": sha, "workflow_run.display_title": "Hello Bob by @slipway[bot]",
		"workflow_run.status": "queued", "workflow.path": ".github/workflows/hello.yaml", "sender.login": "slipway[bot]"})
	wantJSON(t, hooks[1].body, map[string]any{"check_run.name": "Say hello", "check_run.app.slug": "github-actions", "check_run.status": "queued"})
	wantJSON(t, hooks[2].body, map[string]any{"workflow_job.run_id": float64(run.ID), "workflow_job.name": "Say hello", "workflow_job.run_attempt": 1, "workflow_job.labels": "[ubuntu-latest]"})

	check(t, run.Step("hello", 1, "success"))
	w.wantState(run, "1 in_progress")
	wantNames(t, w.names(), "workflow_run.in_progress", "workflow_job.in_progress")
	if got := w.jobs(run, ""); !slices.Equal(got, []string{"Say hello in_progress 1:csuccess 2:csuccess 3:i"}) {
		t.Errorf("after the first step the jobs are %q", got)
	}
	check(t, run.Log("hello", "Hello, Bob!\nsecond line"))
	check(t, run.Annotate("hello", githubtest.Annotation{Path: "src/main.go", StartLine: 3, Level: "warning", Message: "old"}))
	check(t, run.FinishJob("hello", "success"))
	wantNames(t, w.names(), "workflow_job.completed", "check_run.completed", "check_run.created", "workflow_job.queued")
	w.wantState(run, "1 in_progress")
	check(t, run.Start())
	check(t, run.FinishJob("after", "success"))
	wantNames(t, w.names(), "workflow_job.in_progress", "workflow_job.completed", "check_run.completed", "check_suite.completed", "workflow_run.completed")
	w.wantState(run, "1 completed success")
	if got := w.jobs(run, "latest"); !slices.Equal(got, []string{"Say hello completed success 1:csuccess 2:csuccess 3:csuccess 4:csuccess 5:csuccess 6:csuccess", "after completed success 1:csuccess 2:csuccess 3:csuccess"}) {
		t.Errorf("at the end the jobs are %q", got)
	}

	// Each job is a check run of GitHub Actions, of the same ID.
	checks, _, err := w.client().Checks.ListCheckRunsForRef(t.Context(), "acme", "shop", "main", nil)
	check(t, err)
	jobs := run.Jobs()
	if len(checks.CheckRuns) != 2 || checks.CheckRuns[1].GetID() != jobs[0].ID || checks.CheckRuns[1].GetApp().GetSlug() != "github-actions" || checks.CheckRuns[1].GetConclusion() != "success" {
		t.Errorf("the checks are %v", checks.CheckRuns)
	}
	annotations, _, err := w.client().Checks.ListCheckRunAnnotations(t.Context(), "acme", "shop", jobs[0].ID, nil)
	check(t, err)
	if len(annotations) != 1 || annotations[0].GetPath() != "src/main.go" || annotations[0].GetEndLine() != 3 {
		t.Errorf("the annotations are %v", annotations)
	}
	job, _, err := w.client().Actions.GetWorkflowJobByID(t.Context(), "acme", "shop", jobs[0].ID)
	check(t, err)
	if job.GetRunID() != run.ID || job.GetRunnerName() != "GitHub Actions 1" || job.CompletedAt == nil {
		t.Errorf("the job is %v", job)
	}
	_, _, err = w.client().Checks.UpdateCheckRun(t.Context(), "acme", "shop", jobs[0].ID, github.UpdateCheckRunOptions{Name: "mine"})
	refused(t, err, http.StatusForbidden, "can only be modified by the GitHub App that created it")
	for name, err := range map[string]error{
		"started a completed run":           run.Start(),
		"finished a completed run":          run.Finish("success"),
		"moved a completed job":             run.Step("hello", 2, "success"),
		"moved a job that isn't there":      run.FinishJob("nobody", "success"),
		"cancelled a completed run":         run.Cancel(w.alice),
		"re-ran failed jobs without any":    run.Rerun(true, w.alice),
		"re-ran a job's check as an App's":  w.repo.RerequestCheckRun(jobs[0].ID, w.alice),
		"approved what doesn't wait for it": run.Review("production", true, w.alice),
	} {
		if err == nil {
			t.Error(name)
		}
	}
}

// Skipped is what needs something that failed, unless it asks to run always; conclusions add up to the worst.
func TestNeeds(t *testing.T) {
	w := newWorld(t)
	w.addWorkflows("main", map[string]string{"ci.yaml": `
on: [workflow_dispatch]
jobs:
  build: {steps: [{run: make}]}
  lint: {steps: [{run: lint}]}
  test: {needs: [build, lint], steps: [{run: make test}]}
  publish: {needs: test, steps: [{run: push}]}
  mail: {needs: test, if: "${{ failure() }}", steps: [{run: mail}]}
  clean: {needs: [publish], if: always(), steps: [{run: clean}]}
`})
	_, _, err := w.dispatch("ci.yaml", "main", nil)
	check(t, err)
	run := w.run()
	check(t, run.FinishJob("build", "success"))
	check(t, run.FinishJob("lint", "failure"))
	if got := w.jobs(run, ""); !slices.Equal(got, []string{"build completed success 1:csuccess 2:csuccess 3:csuccess", "lint completed failure 1:csuccess 2:cfailure 3:csuccess", "test completed skipped", "publish completed skipped", "mail queued", "clean queued"}) {
		t.Errorf("the jobs are %q", got)
	}
	w.wantState(run, "1 in_progress")
	check(t, run.FinishJob("mail", "success"))
	check(t, run.FinishJob("clean", "success"))
	w.wantState(run, "1 completed failure")
	for conclusion, want := range map[string]string{"success": "success", "neutral": "neutral", "skipped": "skipped", "cancelled": "cancelled", "timed_out": "timed_out", "action_required": "action_required", "failure": "failure",
		"stale": "stale", "startup_failure": "startup_failure"} {
		_, _, err := w.dispatch("ci.yaml", "main", nil)
		check(t, err)
		check(t, w.run().Finish(conclusion))
		w.wantState(w.run(), "1 completed "+want)
	}
	w.idle()
}

// fetch follows the address that the API redirects to, without a token unless one is given.
func (w *world) fetch(address *url.URL, token string) (int, []byte) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, address.String(), nil)
	check(w.t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	check(w.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(w.t, err)
	return response.StatusCode, body
}

func TestLogsAndArtifacts(t *testing.T) {
	w := newWorld(t)
	w.addWorkflows("main", map[string]string{"hello.yaml": helloWorkflow})
	_, _, err := w.dispatch("hello.yaml", "main", map[string]any{"name": "Bob"})
	check(t, err)
	run, client := w.run(), w.tokenClient(w.inst.Token())
	check(t, run.Start())
	check(t, run.Log("hello", "one\ntwo\n"))
	job := run.Jobs()[0].ID
	if _, response, err := client.Actions.GetWorkflowJobLogs(t.Context(), "acme", "shop", job, false); err == nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("a running job has a log: %v", err)
	}
	check(t, run.FinishJob("hello", "success"))
	address, _, err := client.Actions.GetWorkflowJobLogs(t.Context(), "acme", "shop", job, false)
	check(t, err)
	status, text := w.fetch(address, "")
	if line := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z two\n`); status != http.StatusOK || !line.Match(text) || !bytes.HasPrefix(text, []byte("\ufeff20")) {
		t.Errorf("the log is %d %q", status, text)
	}
	if status, _ := w.fetch(address, "ghs_x"); status != http.StatusBadRequest {
		t.Errorf("with a token the storage answers %d", status)
	}

	check(t, run.Artifact("slipway-outputs", map[string][]byte{"outputs.json": []byte(`{"a": 1}`)}))
	check(t, run.Artifact("other", map[string][]byte{"b/c": []byte("c")}))
	list, _, err := client.Actions.ListWorkflowRunArtifacts(t.Context(), "acme", "shop", run.ID, nil)
	check(t, err)
	if list.GetTotalCount() != 2 || list.Artifacts[1].GetName() != "slipway-outputs" || list.Artifacts[1].GetWorkflowRun().GetID() != run.ID || list.Artifacts[1].GetExpired() {
		t.Fatalf("the artifacts are %v", list.Artifacts)
	}
	packed, _, err := client.Actions.DownloadArtifact(t.Context(), "acme", "shop", list.Artifacts[1].GetID(), false)
	check(t, err)
	_, content := w.fetch(packed, "")
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	check(t, err)
	file, err := archive.Open("outputs.json")
	check(t, err)
	if got, err := io.ReadAll(file); err != nil || string(got) != `{"a": 1}` || int64(len(content)) != list.Artifacts[1].GetSizeInBytes() {
		t.Errorf("the artifact holds %q, %v", got, err)
	}

	w.Fail(githubtest.Failure{Operation: "storage", Status: http.StatusServiceUnavailable})
	if status, _ := w.fetch(address, ""); status != http.StatusServiceUnavailable {
		t.Errorf("failing, the storage answers %d", status)
	}
	w.clock.advance(61 * time.Second)
	for _, old := range []*url.URL{address, packed} {
		if status, _ := w.fetch(old, ""); status != http.StatusForbidden {
			t.Errorf("after a minute the storage answers %d", status)
		}
	}
	if status, _ := w.fetch(&url.URL{Scheme: address.Scheme, Host: address.Host, Path: "/_storage/nothing/x"}, ""); status != http.StatusNotFound {
		t.Errorf("what isn't there is answered %d", status)
	}
	w.clock.advance(91 * 24 * time.Hour)
	late := w.tokenClient(w.inst.Token())
	if _, response, err := late.Actions.DownloadArtifact(t.Context(), "acme", "shop", list.Artifacts[1].GetID(), false); err == nil || response.StatusCode != http.StatusGone {
		t.Errorf("after 91 days: %v", err)
	}
	if one, _, err := late.Actions.GetArtifact(t.Context(), "acme", "shop", list.Artifacts[1].GetID()); err != nil || !one.GetExpired() {
		t.Errorf("after 91 days it is %v, %v", one, err)
	}
}

func TestCancelAndRerun(t *testing.T) {
	w := newWorld(t)
	w.addWorkflows("main", map[string]string{"ci.yaml": `
on: [workflow_dispatch]
jobs:
  good: {steps: [{run: make}]}
  bad: {steps: [{run: lint}]}
  deploy: {needs: bad, steps: [{run: deploy}]}
`})
	post := func(path string) (int, error) {
		t.Helper()
		request, err := w.client().NewRequest(http.MethodPost, "repos/acme/shop/actions/runs/"+path, nil)
		check(t, err)
		response, err := w.client().Do(t.Context(), request, nil)
		if response == nil {
			t.Fatal(err)
		}
		w.idle()
		return response.StatusCode, err
	}
	_, _, err := w.dispatch("ci.yaml", "main", nil)
	check(t, err)
	run := w.run()
	self := fmt.Sprint(run.ID)
	_, err = post(self + "/rerun")
	refused(t, err, http.StatusForbidden, "already running")
	check(t, run.FinishJob("good", "success"))
	check(t, run.FinishJob("bad", "failure"))
	w.wantState(run, "1 completed failure")
	_, err = post(self + "/cancel")
	refused(t, err, http.StatusConflict, "Cannot cancel a workflow run that is completed.")
	first := run.Jobs()
	w.names()
	if status, err := post(self + "/rerun-failed-jobs"); status != http.StatusCreated || err != nil {
		t.Fatalf("re-running failed jobs gives %d, %v", status, err)
	}
	hooks := w.waitHooks()
	wantNames(t, w.names(), "workflow_run.requested", "check_run.created", "workflow_job.queued")
	wantJSON(t, hooks[0].body, map[string]any{"workflow_run.id": float64(run.ID), "workflow_run.run_attempt": 2, "workflow_run.run_number": 1, "workflow_run.status": "queued", "workflow_run.conclusion": nil})
	w.wantState(run, "2 queued")
	second := run.Jobs()
	if len(second) != 2 || second[0].Key != "good" || second[0].Conclusion != "success" || second[1].Status != "queued" || second[1].ID == first[1].ID || second[0].ID == first[0].ID {
		t.Errorf("the second attempt has %+v", second)
	}
	check(t, run.FinishJob("bad", "success"))
	check(t, run.FinishJob("deploy", "success"))
	w.wantState(run, "2 completed success")
	if latest, all := w.jobs(run, "latest"), w.jobs(run, "all"); len(latest) != 3 || len(all) != 6 {
		t.Errorf("the latest jobs are %q, all are %q", latest, all)
	}
	old, _, err := w.client().Actions.GetWorkflowRunAttempt(t.Context(), "acme", "shop", run.ID, 1, nil)
	check(t, err)
	if old.GetConclusion() != "failure" || old.GetRunAttempt() != 1 {
		t.Errorf("the first attempt is %v", old)
	}
	request, err := w.client().NewRequest(http.MethodGet, "repos/acme/shop/actions/runs/"+self+"/attempts/1/jobs", nil)
	check(t, err)
	var jobs github.Jobs
	_, err = w.client().Do(t.Context(), request, &jobs)
	check(t, err)
	if jobs.GetTotalCount() != 3 || jobs.Jobs[0].GetID() != first[0].ID {
		t.Errorf("the first attempt's jobs are %v", jobs.Jobs)
	}
	if status, err := post(self + "/rerun"); status != http.StatusCreated || err != nil {
		t.Fatalf("re-running all gives %d, %v", status, err)
	}
	w.wantState(run, "3 queued")
	check(t, run.StartJob("bad"))
	w.names()
	if status, _ := post(self + "/cancel"); status != http.StatusAccepted {
		t.Errorf("cancelling gives %d", status)
	}
	w.wantState(run, "3 completed cancelled")
	if got := w.jobs(run, ""); !slices.Equal(got, []string{"good completed cancelled", "bad completed cancelled 1:csuccess 2:ccancelled 3:csuccess", "deploy completed skipped"}) {
		t.Errorf("cancelled, the jobs are %q", got)
	}
	wantNames(t, w.names(), "workflow_job.completed", "check_run.completed", "workflow_job.completed", "check_run.completed", "check_run.created", "workflow_job.completed", "check_run.completed",
		"check_suite.completed", "workflow_run.completed")

	// One that catches the signal goes on until it is done.
	check(t, run.Rerun(false, w.alice))
	check(t, run.Start())
	run.ResistCancel(true)
	if status, _ := post(self + "/cancel"); status != http.StatusAccepted {
		t.Errorf("cancelling gives %d", status)
	}
	w.wantState(run, "4 in_progress")
	check(t, run.FinishJob("good", "success"))
	check(t, run.FinishJob("bad", "success"))
	w.wantState(run, "4 completed cancelled")
	w.clock.advance(31 * 24 * time.Hour)
	if err := run.Rerun(false, w.alice); err == nil || !strings.Contains(err.Error(), "over a month ago") {
		t.Errorf("after a month re-running gives %v", err)
	}
}
