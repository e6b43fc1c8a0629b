package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/dispatch"
	"github.com/slipway-ci/slipway/pipeline"
	"github.com/slipway-ci/slipway/queue"
)

const helloFile = `name: Hello
run-name: Hello ${{ inputs.name }} (${{ inputs.slipway_run }})
on:
  workflow_dispatch:
    inputs:
      greeting: {description: what to say, default: Hello}
      name: {description: to whom, required: true}
      slipway_run: {description: how Slipway knows its run again}
jobs:
  greet:
    runs-on: ubuntu-latest
    steps:
      - name: Greet
        run: echo "$GREETING, $NAME!"
`

// site is the kind with all that it works with in truth, before the stand-in GitHub of the other packages. No delivery comes.
type site struct {
	*testing.T
	server *githubtest.Server
	repo   *githubtest.Repository
	kind   jobs.Kind
	now    time.Time
	task   jobs.Task
}

func newSite(t *testing.T) *site {
	s := &site{T: t, now: time.Now().Truncate(time.Second)}
	clock := func() time.Time { return s.now }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.server, err = githubtest.Start(githubtest.Options{Dir: t.TempDir(), Clock: clock})
	must(err)
	t.Cleanup(func() {
		must(s.server.Close())
		for _, violation := range s.server.Violations() {
			t.Errorf("GitHub's description was broken: %s", violation)
		}
	})
	bot, err := s.server.CreateApp(githubtest.AppOptions{ID: 4711})
	must(err)
	s.repo, err = s.server.CreateRepository("acme/shop", githubtest.RepositoryOptions{Private: true})
	must(err)
	alice := s.server.CreateUser("alice")
	s.repo.SetPermission(alice, "write")
	head, err := s.repo.Commit("main", "Greet", map[string]string{".github/workflows/hello.yaml": helloFile}, alice)
	must(err)
	installation := bot.Install("acme")
	key := filepath.Join(t.TempDir(), "app.pem")
	must(os.WriteFile(key, bot.PrivateKeyPEM, 0o600))
	app, err := githubapp.New(githubapp.Config{AppID: bot.ID, PrivateKeyFile: key, WebhookSecretFiles: []string{"x"}, APIURL: s.server.URL},
		githubapp.Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: clock})
	must(err)
	t.Cleanup(app.CloseIdle)
	q := queue.Memory()
	s.kind = dispatch.New(dispatch.Options{
		Repositories: app, Files: app, Starter: app, Runs: app, Control: app, Reviews: app, Reports: app, Artifacts: app,
		Records: queue.Set[dispatch.Record](q, queue.Dispatches), Lanes: queue.Set[dispatch.Lane](q, queue.Dispatches),
		Workflows: queue.Set[jobs.WorkflowRun](q, queue.Workflows),
		Allows:    pipeline.Allows, Check: pipeline.CheckDispatch, Marker: pipeline.MarkerInput, Now: clock,
	})
	s.task = jobs.Task{
		Run: jobs.RunInfo{ID: "r-1", Installation: installation.ID, Event: jobs.EventPush, SHA: head, Ref: "refs/heads/main", Branch: "main",
			Repository: jobs.Repository{ID: s.repo.ID, Owner: "acme", Name: "shop", DefaultBranch: "main", Private: true}, Trust: jobs.Trust{Level: jobs.Trusted}},
		Job: "greet", Attempt: 1, Log: t.Output(), Began: s.now, Spec: json.RawMessage(`{"workflow": "hello.yaml", "inputs": {"name": "$(id) & co"}}`),
		Grant:  jobs.Grant{Workflows: []jobs.WorkflowGrant{{Repository: "acme/shop"}}},
		Newest: func(context.Context) (bool, string, error) { return true, "", nil },
		Watch:  func(context.Context, string, ...string) error { return nil },
	}
	return s
}

// step calls the kind, and lets the time pass that it wants to wait.
func (s *site) step() (*jobs.Result, string) {
	s.Helper()
	result, err := s.kind.Run(s.Context(), s.task)
	var later *jobs.Later
	if errors.As(err, &later) {
		s.now = s.now.Add(later.After)
		return nil, later.Reason
	}
	if err != nil {
		s.Fatal(err)
	}
	return &result, ""
}

// until steps until it waits for a reason that has the text.
func (s *site) until(text string) {
	s.Helper()
	var said []string
	for range 30 {
		result, reason := s.step()
		if result != nil {
			s.Fatalf("ended: %+v", result)
		}
		if said = append(said, reason); strings.Contains(reason, text) {
			return
		}
	}
	s.Fatalf("never waits for %q but %q", text, said)
}

// end steps until there is a result.
func (s *site) end() jobs.Result {
	s.Helper()
	for range 30 {
		if result, _ := s.step(); result != nil {
			return *result
		}
	}
	s.Fatal("does not end")
	return jobs.Result{}
}

func (s *site) run() *githubtest.WorkflowRun {
	s.Helper()
	runs := s.repo.WorkflowRuns()
	if len(runs) != 1 {
		s.Fatalf("GitHub has %d workflow runs, want one", len(runs))
	}
	return runs[0]
}

func TestOnTheStandIn(t *testing.T) {
	for name, old := range map[string]bool{"that names the run": false, "that does not name the run": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.server.NoRunDetails(old)
			s.until("queued")
			run := s.run()
			inputs := run.Inputs()
			if names := slices.Sorted(maps.Keys(inputs)); !slices.Equal(names, []string{"greeting", "name", "slipway_run"}) || inputs["name"] != "$(id) & co" || inputs["greeting"] != "Hello" {
				t.Errorf("inputs %q", inputs)
			}
			if !strings.Contains(run.Title(), inputs["slipway_run"]) {
				t.Errorf("the run's name %q does not show the mark", run.Title())
			}
			for _, err := range []error{
				run.Start(), run.Artifact("slipway-outputs", map[string][]byte{"outputs.json": []byte(`{"greeted": true}`)}), run.Finish("success"),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			result := s.end()
			if result.Conclusion != jobs.Success || result.Outputs["run_id"] != run.ID || result.Outputs["run_url"] != run.URL() || result.Outputs["greeted"] != true {
				t.Errorf("%+v", result)
			}
			if !strings.Contains(result.Details, "- ✅ Greet") {
				t.Errorf("details:\n%s", result.Details)
			}
		})
	}
}

func TestFailureOnTheStandIn(t *testing.T) {
	s := newSite(t)
	s.until("queued")
	run := s.run()
	for _, err := range []error{
		run.Start(), run.Log("greet", "say it\nno voice\n"), run.Annotate("greet", githubtest.Annotation{Path: "hello.go", StartLine: 3, EndLine: 3, Level: "failure", Message: "no voice"}),
		run.Step("greet", 1, "failure"), run.Finish("failure"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	result := s.end()
	if result.Conclusion != jobs.Failure || !strings.Contains(result.Summary, "job greet in step Greet") || !strings.Contains(strings.Join(result.Tail, "\n"), "no voice") ||
		len(result.Annotations) == 0 || result.Annotations[0].Path != "hello.go" {
		t.Errorf("%+v", result)
	}
	again(&s.task)
	s.until("queued")
	if attempt, _, _ := s.run().State(); attempt != 2 {
		t.Errorf("attempt %d, want the failed jobs to be run again", attempt)
	}
	if err := run.Finish("success"); err != nil {
		t.Fatal(err)
	}
	if result = s.end(); result.Conclusion != jobs.Success || !strings.Contains(result.Summary, "(attempt 2)") || result.Outputs["run_id"] != run.ID {
		t.Errorf("%+v", result)
	}
}
