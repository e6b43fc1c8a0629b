package githubapp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

const pushWorkflow = `name: CI
on: {push: {branches: [main]}, pull_request: {}, workflow_dispatch: {}}
jobs:
  test: {runs-on: ubuntu-latest, steps: [{run: "true"}]}
  lint: {name: CI / lint, runs-on: ubuntu-latest, steps: [{run: "true"}]}
`

// stranger shows checks as another App.
type stranger struct {
	w    *world
	app  *App
	inst *githubtest.Installation
}

func (w *world) stranger(slug string) *stranger {
	w.t.Helper()
	gh, err := w.CreateApp(githubtest.AppOptions{ID: 9000, Slug: slug})
	ok(w.t, err)
	s := &stranger{w: w, inst: gh.Install("acme")}
	ours := w.gh
	w.gh = gh
	s.app = w.newApp()
	w.gh = ours
	return s
}

func (s *stranger) shows(sha, name, status, conclusion string) {
	s.w.t.Helper()
	run := jobs.RunInfo{Installation: s.inst.ID, Repository: described(s.w.repo), SHA: sha}
	_, err := s.app.createCheck(s.w.t.Context(), run, checkBody{Name: name, HeadSHA: sha, Status: status, Conclusion: conclusion, Output: &checkOutput{Title: "x", Summary: "y"}})
	ok(s.w.t, err)
}

func TestCommitChecks(t *testing.T) {
	w := newWorld(t)
	repo := described(w.repo)
	sha := w.commit("main", map[string]string{".github/workflows/ci.yaml": pushWorkflow})
	sonar := w.stranger("sonar")
	const runs, statuses, checks = "actions/list-workflow-runs-for-repo", "repos/get-combined-status-for-ref", "checks/list-for-ref"
	// ask returns what was found, as text, and how many calls of each kind it cost.
	ask := func(awaited ...string) string {
		t.Helper()
		w.ResetRequests()
		list, err := w.app.CommitChecks(t.Context(), w.inst.ID, repo, sha, awaited)
		clean(t, err)
		ok(t, err)
		var parts []string
		for _, c := range list {
			parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s|%s|%s|%s %s", c.Workflow, c.Name, c.App, c.Status, c.Conclusion)))
		}
		slices.Sort(parts)
		return fmt.Sprintf("%s; %d %d %d", strings.Join(parts, ", "), w.count(checks), w.count(runs), w.count(statuses))
	}
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", what, got, want)
		}
	}
	expect("nothing is awaited", ask(), "; 0 0 0")
	expect("nothing there", ask("quality"), "; 1 0 1")
	expect("a job of a workflow, under way", ask("CI / test"), "CI|test|github-actions|queued; 1 1 0")
	expect("another workflow's job of the name", ask("Nightly / test"), "; 1 1 1")
	expect("its plain name", ask("test"), "|test|github-actions|queued; 1 0 0")
	expect("a job that is called so itself", ask("CI / lint"), "|CI / lint|github-actions|queued; 1 0 0")

	// Our own checks never answer, whoever awaits them.
	_, err := w.app.createCheck(t.Context(), w.run(sha), checkBody{Name: "quality", HeadSHA: sha, Status: "completed", Conclusion: "success", Output: &checkOutput{Title: "x", Summary: "y"}})
	ok(t, err)
	expect("our own", ask("quality"), "; 1 0 1")
	sonar.shows(sha, "quality", "in_progress", "")
	expect("another App's", ask("quality"), "|quality|sonar|in_progress; 1 0 0")
	sonar.shows(sha, "quality", "completed", "neutral")
	expect("its newest", ask("quality"), "|quality|sonar|completed neutral; 1 0 1")

	// Statuses: the newest of a context, beside a check of the same name, too.
	w.repo.SetStatus(sha, "ci/legacy", "pending", "", w.alice)
	expect("a status under way", ask("ci/legacy", "other"), "|ci/legacy||pending; 1 0 1")
	w.repo.SetStatus(sha, "ci/legacy", "error", "", w.alice)
	w.repo.SetStatus(sha, "quality", "failure", "", w.alice)
	expect("statuses that ended", ask("ci/legacy", "quality"), "|ci/legacy||completed error, |quality|sonar|completed neutral, |quality||completed failure; 1 0 1")

	// Of two runs of a workflow for the same event the newer one counts; those for different events count both.
	first := w.repo.WorkflowRuns()[0]
	ok(t, first.Finish("failure"))
	expect("failed", ask("CI / test"), "CI|test|github-actions|completed failure; 1 1 0")
	for _, conclusion := range []string{"failure", "success"} {
		run, err := w.repo.DispatchWorkflow("ci.yaml", "main", nil, w.alice)
		ok(t, err)
		ok(t, run.Finish(conclusion))
	}
	expect("dispatched twice", ask("CI / test"), "CI|test|github-actions|completed failure, CI|test|github-actions|completed success; 1 1 0")
	ok(t, first.Rerun(false, w.alice))
	ok(t, first.Finish("success"))
	expect("run again", ask("CI / test"), "CI|test|github-actions|completed success, CI|test|github-actions|completed success; 1 1 1")
	expect("run again, by its plain name", ask("test"), "CI|test|github-actions|completed success, CI|test|github-actions|completed success; 1 1 1")

	w.granted("statuses", "")
	expect("statuses are not granted", ask("ci/legacy"), "; 1 0 1")
	w.granted("actions", "")
	expect("actions are not granted", ask("CI / test"), "; 1 1 1")
}

func TestCommitChecksOverPages(t *testing.T) {
	w := newWorld(t)
	sonar := w.stranger("sonar")
	for i := range 101 {
		sonar.shows(w.first, fmt.Sprintf("part %d", i), "completed", "success")
		w.repo.SetStatus(w.first, fmt.Sprintf("old %d", i), "success", "", w.alice)
		w.clock.advance(1e9 * 60) // no faster than GitHub lets anybody
	}
	awaited := []string{"part 0", "part 100", "old 0", "old 100"}
	list, err := w.app.CommitChecks(t.Context(), w.inst.ID, described(w.repo), w.first, awaited)
	ok(t, err)
	if v := jobs.JudgeChecks(awaited, list); len(list) != 4 || v.Open() || len(v.Passed) != 4 {
		t.Errorf("got %+v", list)
	}
}

func TestCommitChecksThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	repo := described(w.repo)
	ask := func(sha string) error {
		t.Helper()
		list, err := w.app.CommitChecks(t.Context(), w.inst.ID, repo, sha, []string{"x"})
		clean(t, err)
		if err == nil || list != nil {
			t.Errorf("got %+v, %v", list, err)
		}
		return err
	}
	ask("main")
	if n := w.CountRequests(nil); n != 0 {
		t.Errorf("a branch was asked for: %d", n)
	}
	ask(strings.Repeat("0", 40))
	var away *Unavailable
	for _, operation := range []string{"checks/list-for-ref", "repos/get-combined-status-for-ref"} {
		w.Fail(githubtest.Failure{Operation: operation, Status: 502})
		if err := ask(w.first); !errors.As(err, &away) {
			t.Errorf("%s is away: got %v", operation, err)
		}
	}
	w.commit("main", map[string]string{".github/workflows/ci.yaml": pushWorkflow})
	w.Fail(githubtest.Failure{Operation: "actions/list-workflow-runs-for-repo", Status: 502})
	_, err := w.app.CommitChecks(t.Context(), w.inst.ID, repo, w.repo.WorkflowRuns()[0].HeadSHA, []string{"CI / test"})
	if !errors.As(err, &away) {
		t.Errorf("workflows are away: got %v", err)
	}
	w.Fail(githubtest.Failure{Operation: "checks/list-for-ref", Status: 403})
	refusedWith(t, "denied", ask(w.first), "Checks: read")
	ok(t, w.DeleteRepository(w.repo))
	refusedWith(t, "deleted", ask(w.first), "not possible to look at checks of acme/shop")
}
