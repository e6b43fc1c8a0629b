package githubtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

const helloWorkflow = `name: Hello
run-name: Hello ${{ inputs.name }} by @${{ github.actor }}
on:
  workflow_dispatch:
    inputs:
      greeting: {description: How to greet, type: choice, options: [Hello, Welcome], default: Hello}
      name: {description: Whom, required: true}
      loud: {type: boolean}
      times: {type: number, default: 1}
jobs:
  hello:
    name: Say hello
    runs-on: ubuntu-latest
    env:
      GREETING: ${{ inputs.greeting }}
      NAME: ${{ github.event.inputs.name }}
    steps:
      - uses: actions/checkout@v5
      - name: Greet
        run: echo "$GREETING, $NAME!"
      - run: |
          printf '{"said": "%s, %s!"}' "$GREETING" "$NAME" > outputs.json
          echo "done=yes" >> "$GITHUB_OUTPUT"
      - uses: actions/upload-artifact@v5
        with:
          name: slipway-outputs
          path: outputs.json
  after:
    needs: hello
    runs-on: [self-hosted, linux]
    steps:
      - run: sleep 1
`

// addWorkflows commits workflow files to a branch, by name.
func (w *world) addWorkflows(branch string, files map[string]string) string {
	w.t.Helper()
	paths := map[string]string{}
	for name, text := range files {
		paths[".github/workflows/"+name] = text
	}
	sha, err := w.repo.Commit(branch, "Workflows", paths, w.alice)
	check(w.t, err)
	w.names()
	return sha
}

// dispatch asks for a run as the App does, with its details.
func (w *world) dispatch(file, ref string, inputs map[string]any) (id int64, status int, err error) {
	w.t.Helper()
	body := map[string]any{"ref": ref, "return_run_details": true}
	if inputs != nil {
		body["inputs"] = inputs
	}
	request, err := w.client().NewRequest(http.MethodPost, "repos/acme/shop/actions/workflows/"+file+"/dispatches", body)
	check(w.t, err)
	var details struct {
		ID int64 `json:"workflow_run_id"`
	}
	response, err := w.client().Do(w.t.Context(), request, &details)
	if response == nil {
		w.t.Fatal(err)
	}
	return details.ID, response.StatusCode, err
}

// run is the last run of the repository.
func (w *world) run() *githubtest.WorkflowRun {
	w.t.Helper()
	runs := w.repo.WorkflowRuns()
	if len(runs) == 0 {
		w.t.Fatal("there is no run")
	}
	return runs[len(runs)-1]
}

func (w *world) wantState(run *githubtest.WorkflowRun, want string) {
	w.t.Helper()
	attempt, status, conclusion := run.State()
	if got := strings.TrimSpace(fmt.Sprintf("%d %s %s", attempt, status, conclusion)); got != want {
		w.t.Errorf("the run is %q, want %q", got, want)
	}
}

func TestWorkflowsAreListed(t *testing.T) {
	w := newWorld(t)
	list, _, err := w.client().Actions.ListWorkflows(t.Context(), "acme", "shop", nil)
	check(t, err)
	if list.GetTotalCount() != 0 {
		t.Errorf("without files there are %v", list)
	}
	w.addWorkflows("main", map[string]string{"hello.yaml": helloWorkflow, "broken.yml": "on: [", "README.md": "no workflow"})
	w.addWorkflows("topic", map[string]string{"elsewhere.yaml": helloWorkflow})
	list, _, err = w.client().Actions.ListWorkflows(t.Context(), "acme", "shop", nil)
	check(t, err)
	var names []string
	for _, one := range list.Workflows {
		names = append(names, one.GetPath()+"="+one.GetName()+"="+one.GetState())
	}
	if want := []string{".github/workflows/broken.yml=.github/workflows/broken.yml=active", ".github/workflows/hello.yaml=Hello=active"}; !slices.Equal(names, want) {
		t.Errorf("the workflows are %q, want %q", names, want)
	}
	check(t, w.repo.DisableWorkflow("hello.yaml", true))
	byName, _, err := w.client().Actions.GetWorkflowByFileName(t.Context(), "acme", "shop", "hello.yaml")
	check(t, err)
	byID, _, err := w.client().Actions.GetWorkflowByID(t.Context(), "acme", "shop", byName.GetID())
	check(t, err)
	if byName.GetID() != list.Workflows[1].GetID() || byID.GetID() != byName.GetID() || byID.GetState() != "disabled_manually" {
		t.Errorf("by name it is %v, by ID %v", byName, byID)
	}
	_, _, err = w.client().Actions.GetWorkflowByFileName(t.Context(), "acme", "shop", "elsewhere.yaml")
	refused(t, err, http.StatusNotFound, "Not Found")
}

func TestDispatchIsChecked(t *testing.T) {
	w := newWorld(t)
	many := "on: {workflow_dispatch: {inputs: {"
	for i := range 26 {
		many += fmt.Sprintf("i%d: {}, ", i)
	}
	sha := w.addWorkflows("main", map[string]string{"hello.yaml": helloWorkflow, "timed.yaml": "on: {schedule: [{cron: 1 1 1 1 1}]}\njobs: {a: {}}", "broken.yaml": "on: [", "off.yaml": helloWorkflow, "many.yaml": many + "}}}\njobs: {a: {}}",
		"moved.yaml": helloWorkflow})
	check(t, w.repo.DisableWorkflow("off.yaml", true))
	_, err := w.repo.Commit("topic", "Other trigger", map[string]string{".github/workflows/moved.yaml": "on: workflow_call\njobs: {a: {}}"}, w.alice)
	check(t, err)
	bob := map[string]any{"name": "Bob"}
	for _, test := range []struct {
		file, ref string
		inputs    map[string]any
		status    int
		message   string
	}{
		{"none.yaml", "main", bob, 404, "Not Found"},
		{"hello.yaml", "nowhere", bob, 422, "No ref found for: nowhere"},
		{"hello.yaml", sha, bob, 422, "No ref found for: " + sha},
		{"timed.yaml", "main", nil, 422, "Workflow does not have 'workflow_dispatch' trigger"},
		{"moved.yaml", "refs/heads/topic", bob, 422, "Workflow does not have 'workflow_dispatch' trigger"},
		{"broken.yaml", "main", nil, 422, "failed to parse workflow"},
		{"many.yaml", "main", nil, 422, "you may only define up to 25"},
		{"off.yaml", "main", bob, 422, "disabled workflow"},
		{"hello.yaml", "main", nil, 422, "Required input 'name' not provided"},
		{"hello.yaml", "main", map[string]any{"name": ""}, 422, "Required input 'name' not provided"},
		{"hello.yaml", "main", map[string]any{"name": "Bob", "y": "1", "x": "1"}, 422, `Unexpected inputs provided: ["x","y"]`},
		{"hello.yaml", "main", map[string]any{"name": "Bob", "greeting": "Bye"}, 422, "Provided value 'Bye' for input 'greeting' not in the list of allowed values"},
		{"hello.yaml", "main", map[string]any{"name": "Bob", "loud": "yes"}, 422, "'loud' is not a boolean"},
		{"hello.yaml", "main", map[string]any{"name": "Bob", "times": "many"}, 422, "'times' is not a number"},
		{"hello.yaml", "main", map[string]any{"name": "Bob", "times": 3}, 422, "3 is not a string"},
		{"hello.yaml", "main", map[string]any{"name": strings.Repeat("x", 65_536)}, 422, "inputs are too large."},
	} {
		_, _, err := w.dispatch(test.file, test.ref, test.inputs)
		refused(t, err, test.status, test.message)
	}
	tooMany := map[string]any{}
	for i := range 26 {
		tooMany[fmt.Sprint(i)] = "x"
	}
	if _, status, _ := w.dispatch("hello.yaml", "main", tooMany); status != 422 {
		t.Errorf("26 inputs give %d", status)
	}
	w.broke("inputs: there must be at most 25 properties")
	reader := w.CreateUser("rita")
	w.repo.SetPermission(reader, "read")
	if _, err := w.repo.DispatchWorkflow("hello.yaml", "main", map[string]string{"name": "Rita"}, reader); err == nil {
		t.Error("who may only read has dispatched")
	}
	if runs := w.repo.WorkflowRuns(); len(runs) != 0 {
		t.Errorf("what was refused started %v", runs)
	}
}

func TestDispatchAnswers(t *testing.T) {
	w := newWorld(t)
	sha := w.addWorkflows("main", map[string]string{"hello.yaml": helloWorkflow})
	check(t, w.repo.SetRefs(map[string]string{"refs/tags/v1": sha}, w.alice))
	hostile := "$(rm -rf /) `id` '; \"${{ secrets.X }} \n ü"
	id, status, err := w.dispatch("hello.yaml", "main", map[string]any{"name": hostile})
	check(t, err)
	run := w.run()
	want := map[string]string{"greeting": "Hello", "name": hostile, "loud": "false", "times": "1"}
	if id != run.ID || status != 200 || fmt.Sprint(run.Inputs()) != fmt.Sprint(want) || run.Title() != "Hello "+hostile+" by @slipway[bot]" {
		t.Errorf("answered %d, %d; the run is %d, %q with %q", status, id, run.ID, run.Title(), run.Inputs())
	}
	shown, _, err := w.client().Actions.GetWorkflowRunByID(t.Context(), "acme", "shop", id)
	check(t, err)
	if shown.GetHeadSHA() != sha || shown.GetHeadBranch() != "main" || shown.GetActor().GetLogin() != "slipway[bot]" || shown.GetStatus() != "queued" || shown.GetRunNumber() != 1 || shown.GetRunAttempt() != 1 {
		t.Errorf("the run is %v", shown)
	}
	if _, err := w.repo.Commit("main", "Next", map[string]string{"next": ""}, w.alice); err != nil {
		t.Fatal(err)
	}
	w.NoRunDetails(true)
	if id, status, err := w.dispatch("hello.yaml", "refs/tags/v1", map[string]any{"name": "Old"}); id != 0 || status != http.StatusNoContent || err != nil {
		t.Errorf("an older server answers %d with %d, %v", status, id, err)
	}
	if run := w.run(); run.HeadBranch != "v1" || run.HeadSHA != sha || run.Number != 2 {
		t.Errorf("by tag the run is %+v", run)
	}
	w.NoRunDetails(false)
	w.Fail(githubtest.Failure{Operation: "actions/create-workflow-dispatch", Kind: githubtest.LostAnswer, When: githubtest.After})
	if _, err := w.client().Actions.CreateWorkflowDispatchEventByFileName(t.Context(), "acme", "shop", "hello.yaml", github.CreateWorkflowDispatchEventRequest{Ref: "main", Inputs: map[string]any{"name": "Lost"}}); err == nil {
		t.Error("a lost answer has come")
	}
	if run := w.run(); run.Inputs()["name"] != "Lost" || run.Number != 3 {
		t.Errorf("the lost dispatch started %+v", run)
	}
	if _, err := w.repo.DispatchWorkflow("hello.yaml", "main", map[string]string{"name": "Alice"}, w.alice); err != nil {
		t.Fatal(err)
	}
	if w.run().Title() != "Hello Alice by @alice" {
		t.Errorf("by a person it is %q", w.run().Title())
	}
}

// Reading takes actions:read, starting and stopping actions:write, reviewing deployments:write.
func TestActionsPermissions(t *testing.T) {
	w := newWorld(t)
	w.addWorkflows("main", map[string]string{"hello.yaml": helloWorkflow})
	_, err := w.repo.DispatchWorkflow("hello.yaml", "main", map[string]string{"name": "A"}, w.alice)
	check(t, err)
	run := w.run().ID
	other, err := w.CreateApp(githubtest.AppOptions{ID: 99, Slug: "reader", Permissions: map[string]string{"metadata": "read", "actions": "read"}, Events: []string{}})
	check(t, err)
	reader := w.tokenClient(other.Install("acme").Token())
	_, _, err = reader.Actions.GetWorkflowRunByID(t.Context(), "acme", "shop", run)
	check(t, err)
	_, err = reader.Actions.CreateWorkflowDispatchEventByFileName(t.Context(), "acme", "shop", "hello.yaml", github.CreateWorkflowDispatchEventRequest{Ref: "main"})
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
	_, err = reader.Actions.CancelWorkflowRunByID(t.Context(), "acme", "shop", run)
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
	_, err = reader.Actions.RerunFailedJobsByID(t.Context(), "acme", "shop", run)
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
	_, _, err = reader.Actions.PendingDeployments(t.Context(), "acme", "shop", run, &github.PendingDeploymentsRequest{EnvironmentIDs: []int64{1}, State: "approved"})
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
	if len(w.repo.WorkflowRuns()) != 1 || w.repo.WorkflowRun(run) != w.run() || w.repo.WorkflowRun(1) != nil {
		t.Errorf("the runs are %v", w.repo.WorkflowRuns())
	}
}

// Other Apps' checks and statuses are told to ours, which can wait for them.
func TestChecksOfOthers(t *testing.T) {
	w := newWorld(t)
	ci, err := w.CreateApp(githubtest.AppOptions{ID: 99, Slug: "ci"})
	check(t, err)
	client := w.tokenClient(ci.Install("acme").Token())
	run, _, err := client.Checks.CreateCheckRun(t.Context(), "acme", "shop", github.CreateCheckRunOptions{Name: "CI / test", HeadSHA: w.first})
	check(t, err)
	_, _, err = client.Checks.UpdateCheckRun(t.Context(), "acme", "shop", run.GetID(), github.UpdateCheckRunOptions{Name: "CI / test", Conclusion: github.String("success")})
	check(t, err)
	w.repo.SetStatus(w.first, "ci/old", "success", "", w.alice)
	hooks := w.waitHooks()
	wantNames(t, w.names(), "check_run.created", "check_run.completed", "check_suite.completed", "status")
	wantJSON(t, hooks[1].body, map[string]any{"check_run.name": "CI / test", "check_run.app.slug": "ci", "check_run.head_sha": w.first, "sender.login": "ci[bot]"})
}

func TestWorkflowRunsAreFiltered(t *testing.T) {
	w := newWorld(t)
	sha := w.addWorkflows("main", map[string]string{"hello.yaml": helloWorkflow, "test.yaml": "name: Test\non: {push: {branches: ['feat/**', '!feat/no/*']}}\njobs: {test: {steps: [{run: make}]}}"})
	started := w.clock.Now().UTC().Truncate(time.Second)
	_, _, err := w.dispatch("hello.yaml", "main", map[string]any{"name": "A"})
	check(t, err)
	w.clock.advance(time.Hour)
	_, err = w.repo.DispatchWorkflow("hello.yaml", "main", map[string]string{"name": "B"}, w.alice)
	check(t, err)
	check(t, w.run().Finish("failure"))
	check(t, w.repo.SetRefs(map[string]string{"refs/heads/feat/a/b": sha, "refs/heads/feat/no/c": sha, "refs/tags/feat/t": sha}, w.alice))
	w.idle()
	client := w.tokenClient(w.inst.Token()) // the clock has gone ahead of those who sign
	list := func(path string) (titles []string) {
		t.Helper()
		request, err := client.NewRequest(http.MethodGet, "repos/acme/shop/actions/"+path, nil)
		check(t, err)
		var found struct {
			Count int `json:"total_count"`
			Runs  []struct {
				Title string `json:"display_title"`
			} `json:"workflow_runs"`
		}
		_, err = client.Do(t.Context(), request, &found)
		check(t, err)
		for _, run := range found.Runs {
			titles = append(titles, run.Title)
		}
		if found.Count != len(titles) {
			t.Errorf("%s counts %d of %q", path, found.Count, titles)
		}
		return titles
	}
	a, b, push := "Hello A by @slipway[bot]", "Hello B by @alice", "Workflows"
	at := func(d time.Duration) string { return started.Add(d).Format(time.RFC3339) }
	for path, want := range map[string][]string{
		"runs":                                           {push, b, a},
		"workflows/hello.yaml/runs":                      {b, a},
		"workflows/test.yaml/runs":                       {push},
		"runs?event=push":                                {push},
		"runs?branch=main":                               {b, a},
		"runs?branch=feat/a/b":                           {push},
		"runs?actor=Alice":                               {push, b},
		"runs?actor=slipway%5Bbot%5D":                    {a},
		"runs?status=completed":                          {b},
		"runs?status=failure":                            {b},
		"runs?status=queued":                             {push, a},
		"runs?head_sha=" + sha:                           {push, b, a},
		"runs?created=%3E%3D" + at(0):                    {push, b, a},
		"runs?created=%3E" + at(0):                       {push, b},
		"runs?created=%3C" + at(0):                       nil,
		"runs?created=" + at(0):                          {a},
		"runs?created=" + at(0) + ".." + at(time.Minute): {a},
		"runs?created=" + at(time.Minute) + "..*":        {push, b},
		"runs?event=workflow_dispatch&exclude_pull_requests=true&per_page=10": {b, a},
	} {
		if got := list(path); !slices.Equal(got, want) {
			t.Errorf("%s lists %q, want %q", path, got, want)
		}
	}
	request, err := client.NewRequest(http.MethodGet, "repos/acme/shop/actions/runs?created=lately", nil)
	check(t, err)
	_, err = client.Do(t.Context(), request, nil)
	refused(t, err, 422, "Validation Failed")
	shown, _, err := client.Actions.GetWorkflowRunByID(t.Context(), "acme", "shop", w.repo.WorkflowRuns()[0].ID)
	check(t, err)
	if got := list(fmt.Sprintf("runs?check_suite_id=%d", shown.GetCheckSuiteID())); !slices.Equal(got, []string{a}) {
		t.Errorf("by check suite there is %q", got)
	}
}

// wantJSON compares some fields of a payload, named by their paths.
func wantJSON(t *testing.T, body []byte, want map[string]any) {
	t.Helper()
	var payload any
	check(t, json.Unmarshal(body, &payload))
	for path, value := range want {
		at := payload
		for name := range strings.SplitSeq(path, ".") {
			fields, _ := at.(map[string]any)
			at = fields[name]
		}
		if fmt.Sprint(at) != fmt.Sprint(value) {
			t.Errorf("%s is %v, want %v", path, at, value)
		}
	}
}
