package githubapp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
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

const noiseWorkflow = `name: Noise
on: {workflow_dispatch: {}}
jobs:
  noise: {runs-on: ubuntu-latest, steps: [{run: "true"}]}
`

// asked asks for the checks of a commit, and returns what was found, as text, and how many calls it cost: for check runs, workflow runs
// and statuses.
func (w *world) asked(sha string, awaited ...string) string {
	w.t.Helper()
	w.ResetRequests()
	list, err := w.app.CommitChecks(w.t.Context(), w.inst.ID, described(w.repo), sha, awaited)
	clean(w.t, err)
	ok(w.t, err)
	var parts []string
	for _, c := range list {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s|%s|%s|%s %s", c.Workflow, c.Name, c.App, c.Status, c.Conclusion)))
	}
	slices.Sort(parts)
	return fmt.Sprintf("%s; %d %d %d", strings.Join(parts, ", "),
		w.count("checks/list-for-ref"), w.count("actions/list-workflow-runs-for-repo"), w.count("repos/get-combined-status-for-ref"))
}

func (w *world) expect(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s:\ngot  %s\nwant %s", what, got, want)
	}
}

// last is the newest run, ended if a conclusion is given.
func (w *world) last(conclusion string) *githubtest.WorkflowRun {
	w.t.Helper()
	all := w.repo.WorkflowRuns()
	run := all[len(all)-1]
	if conclusion != "" {
		ok(w.t, run.Finish(conclusion))
	}
	return run
}

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
	sha := w.commit("main", map[string]string{".github/workflows/ci.yaml": pushWorkflow})
	sonar := w.stranger("sonar")
	ask := func(awaited ...string) string { t.Helper(); return w.asked(sha, awaited...) }
	expect := w.expect
	expect("nothing is awaited", ask(), "; 0 0 0")
	expect("nothing there", ask("quality"), "; 1 0 1")
	expect("a job of a workflow, under way", ask("CI / test"), "CI|test|github-actions|queued; 1 1 0")
	expect("another workflow's job of the name", ask("Nightly / test"), "; 1 1 0")
	expect("by whom it may be", ask("CI / test@github-actions"), "CI|test|github-actions|queued; 1 1 0")
	expect("by whom it is not", ask("CI / test@sonar", "test@sonar"), "; 1 0 0")
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

	// Whoever may push can set a status of any name: none stands for a workflow's job unless it is asked for.
	w.repo.SetStatus(sha, "CI / test", "success", "", w.alice)
	expect("a status called as a workflow's job", ask("CI / test"), "CI|test|github-actions|queued; 1 1 0")
	w.repo.SetStatus(sha, "Nightly / test", "success", "", w.alice)
	expect("such a status alone", ask("Nightly / test"), "; 1 1 0")
	expect("such a status by request", ask("Nightly / test@status"), "|Nightly / test||completed success; 1 0 1")
	expect("one of its sources", ask("quality@sonar"), "|quality|sonar|completed neutral; 1 0 0")
	expect("the other", ask("quality@status"), "|quality||completed failure; 1 0 1")

	// Of one run the newest attempt counts, of several runs of a workflow all do.
	first := w.repo.WorkflowRuns()[0]
	ok(t, first.Finish("failure"))
	expect("failed", ask("CI / test"), "CI|test|github-actions|completed failure; 1 1 0")
	for _, conclusion := range []string{"failure", "success"} {
		run, err := w.repo.DispatchWorkflow("ci.yaml", "main", nil, w.alice)
		ok(t, err)
		ok(t, run.Finish(conclusion))
	}
	const twoFailed = "CI|test|github-actions|completed failure, CI|test|github-actions|completed failure, CI|test|github-actions|completed success"
	expect("dispatched twice", ask("CI / test"), twoFailed+"; 1 1 0")
	ok(t, first.Rerun(false, w.alice))
	ok(t, first.Finish("success"))
	const oneFailed = "CI|test|github-actions|completed failure, CI|test|github-actions|completed success, CI|test|github-actions|completed success"
	expect("run again", ask("CI / test"), oneFailed+"; 1 1 0")
	expect("run again, by its plain name", ask("test"), strings.ReplaceAll(oneFailed, "CI|", "|")+"; 1 0 0")

	w.granted("statuses", "")
	expect("statuses are not granted", ask("ci/legacy"), "; 1 0 1")
	w.granted("actions", "")
	expect("actions are not granted", ask("CI / test"), "; 1 1 0")
}

// A pull request that is opened and labelled starts a workflow twice, and the second run cancels the first.
func TestCommitChecksOfCancelledRuns(t *testing.T) {
	const cancelled, success, queued = "CI|test|github-actions|completed cancelled", "CI|test|github-actions|completed success", "CI|test|github-actions|queued"
	w := newWorld(t)
	w.commit("main", map[string]string{".github/workflows/ci.yaml": strings.Replace(pushWorkflow, "push: {branches: [main]}, ", "", 1)})
	sha := w.commit("topic", map[string]string{"x": "y"})
	pull, err := w.repo.OpenPull(githubtest.PullOptions{Head: "topic", User: w.alice})
	ok(t, err)
	again := func(conclusion string) {
		t.Helper()
		pull.Close(w.alice)
		ok(t, pull.Reopen(w.alice))
		w.last(conclusion)
	}
	w.last("cancelled")
	w.expect("cancelled", w.asked(sha, "CI / test"), cancelled+"; 1 1 0")
	again("skipped")
	w.expect("the newer was skipped", w.asked(sha, "CI / test"), cancelled+", CI|test|github-actions|completed skipped; 1 1 0")
	again("")
	w.expect("and replaced by one under way", w.asked(sha, "CI / test"), "CI|test|github-actions|completed skipped, "+queued+"; 1 1 0")
	w.last("success")
	w.expect("by the plain name, too", w.asked(sha, "test"), "CI|test|github-actions|completed skipped, "+success+"; 1 1 1")
	again("cancelled")
	w.expect("the newest stays", w.asked(sha, "CI / test"), cancelled+", CI|test|github-actions|completed skipped, "+success+"; 1 1 0")
	w.expect("of another name none is cancelled", w.asked(sha, "none"), "; 1 0 1")

	// Into which branch runs went is not told once the branch has two pull requests: then all count.
	w.commit("stale", map[string]string{"s": "s"})
	other, err := w.repo.OpenPull(githubtest.PullOptions{Head: "topic", Base: "stale", User: w.alice})
	ok(t, err)
	w.last("success")
	w.expect("two pull requests", w.asked(sha, "CI / test"),
		cancelled+", "+cancelled+", CI|test|github-actions|completed skipped, "+success+", "+success+"; 1 1 0")
	other.Close(w.alice)

	// Nor is it told of forks.
	mallory := w.CreateUser("mallory")
	fork, err := w.Fork(w.repo, mallory)
	ok(t, err)
	foreign, err := fork.Commit("topic", "Evil", map[string]string{"x": "evil"}, mallory)
	ok(t, err)
	_, err = w.repo.OpenPull(githubtest.PullOptions{Head: "mallory:topic"})
	ok(t, err)
	w.last("cancelled")
	_, err = w.repo.OpenPull(githubtest.PullOptions{Head: "mallory:topic", Base: "stale"})
	ok(t, err)
	w.last("success")
	w.expect("a fork's", w.asked(foreign, "CI / test"), cancelled+", "+success+"; 1 1 0")
}

// A stranger opens a pull request with a commit that is already there, into a branch where its tests pass.
func TestCommitChecksOfAStrangersPullRequest(t *testing.T) {
	const both = "CI|test|github-actions|completed failure, CI|test|github-actions|completed success"
	w := newWorld(t)
	w.commit("main", map[string]string{".github/workflows/ci.yaml": pushWorkflow})
	w.commit("stale", map[string]string{"s": "s"})
	sha := w.commit("topic", map[string]string{"x": "y"})
	_, err := w.repo.OpenPull(githubtest.PullOptions{Head: "topic", User: w.alice})
	ok(t, err)
	w.last("failure")
	mallory := w.CreateUser("mallory")
	_, err = w.Fork(w.repo, mallory)
	ok(t, err)
	_, err = w.repo.OpenPull(githubtest.PullOptions{Head: "mallory:topic", Base: "stale"})
	ok(t, err)
	if run := w.last("success"); run.HeadSHA != sha {
		t.Fatalf("the stranger's run is for %s", run.HeadSHA)
	}
	w.expect("by its workflow", w.asked(sha, "CI / test"), both+"; 1 1 0")
	w.expect("by its name", w.asked(sha, "test"), strings.ReplaceAll(both, "CI|", "|")+"; 1 0 0")
}

// Everybody who comments may start runs at a default branch's head, and so make a workflow's own the hundred-and-first.
func TestCommitChecksAmongManyRuns(t *testing.T) {
	const failure, success = "CI|test|github-actions|completed failure", "CI|test|github-actions|completed success"
	w := newWorld(t)
	sha := w.commit("main", map[string]string{".github/workflows/ci.yaml": pushWorkflow, ".github/workflows/noise.yaml": noiseWorkflow})
	noise := func(n int) {
		t.Helper()
		for range n {
			_, err := w.repo.DispatchWorkflow("noise.yaml", "main", nil, w.alice)
			ok(t, err)
		}
	}
	w.last("failure")
	noise(101)
	w.expect("the only one of its name", w.asked(sha, "CI / test"), failure+"; 2 1 0")
	run, err := w.repo.DispatchWorkflow("ci.yaml", "main", nil, w.alice)
	ok(t, err)
	ok(t, run.Finish("success"))
	w.expect("one of two is listed", w.asked(sha, "CI / test"), failure+", "+success+"; 2 2 0")

	// When many can't be told apart, lists are read on.
	w.commit("other", map[string]string{".github/workflows/noise.yaml": strings.Replace(noiseWorkflow, "  noise:", "  test:", 1)})
	sha = w.commit("other", map[string]string{".github/workflows/ci.yaml": strings.Replace(pushWorkflow, "[main]", "[main, other]", 1)})
	w.last("failure")
	for range 120 {
		run, err := w.repo.DispatchWorkflow("noise.yaml", "other", nil, w.alice)
		ok(t, err)
		ok(t, run.Finish("success"))
	}
	w.expect("more than a list holds", w.asked(sha, "CI / test"), failure+"; 2 2 0")
}

// What there are more of than can be looked at leaves nothing to conclude.
func TestCommitChecksThatAreTooMany(t *testing.T) {
	w := newWorld(t)
	sonar := w.stranger("sonar")
	sonar.shows(w.first, "quality", "completed", "failure")
	w.repo.SetStatus(w.first, "legacy", "success", "", w.alice)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	// ask asks a GitHub whose lists of some kind have no end: each page is followed by another of the same.
	said := map[string]string{} // by the path's end
	ask := func(endless func(*http.Request) bool, sha string, awaited ...string) ([]jobs.CommitCheck, error) {
		t.Helper()
		w.ResetRequests()
		w.app = w.carriedBy(tripper(func(req *http.Request) (*http.Response, error) {
			query := req.URL.Query()
			page, _ := strconv.Atoi(query.Get("page"))
			more := page > 0 && endless(req)
			if more {
				query.Set("page", "1")
				req = req.Clone(req.Context())
				req.URL.RawQuery = query.Encode()
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				return nil, err
			}
			if more {
				query.Set("page", strconv.Itoa(page+1))
				resp.Header.Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, w.URL, query.Encode()))
			}
			for end, body := range said {
				if strings.HasSuffix(req.URL.Path, end) {
					resp.Body.Close()
					resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
					resp.Header.Del("Content-Length")
				}
			}
			return resp, nil
		}))
		list, err := w.app.CommitChecks(t.Context(), w.inst.ID, described(w.repo), sha, awaited)
		clean(t, err)
		return list, err
	}
	ending := func(suffix, but string) func(*http.Request) bool {
		return func(req *http.Request) bool {
			return strings.HasSuffix(req.URL.Path, suffix) && req.URL.Query().Get("check_name") != but
		}
	}
	all := ending("/check-runs", "quality")
	said["/check-suites"] = `{"total_count": 999, "check_suites": []}`
	list, err := ask(all, w.first, "quality@sonar")
	ok(t, err)
	if len(list) != 1 || list[0].Conclusion != "failure" || w.count("checks/list-for-ref") != maxCheckPages+1 {
		t.Errorf("among many: %+v after %d calls", list, w.count("checks/list-for-ref"))
	}
	_, err = ask(ending("/check-runs", "none"), w.first, "quality@sonar")
	refusedWith(t, "checks of the name", err, "has more checks called quality than Slipway looks at")
	said["/check-suites"] = `{"total_count": 1000, "check_suites": []}`
	_, err = ask(all, w.first, "quality@sonar")
	refusedWith(t, "suites", err, "has more check suites than Slipway looks at")
	_, err = ask(ending("/status", "none"), w.first, "legacy")
	refusedWith(t, "statuses", err, "has more statuses than Slipway looks at")

	sha := w.commit("main", map[string]string{".github/workflows/ci.yaml": pushWorkflow})
	for range maxRunCalls {
		_, err := w.repo.DispatchWorkflow("ci.yaml", "main", nil, w.alice)
		ok(t, err)
	}
	said["/actions/runs"] = `{"total_count": 0, "workflow_runs": []}`
	_, err = ask(ending("/status", "none"), sha, "CI / test")
	refusedWith(t, "runs", err, "has more workflow runs than Slipway looks at")
	if n := w.count("actions/list-workflow-runs-for-repo"); n != maxRunCalls {
		t.Errorf("asked %d times for workflow runs", n)
	}
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
	_ = ask("main")
	if n := w.CountRequests(nil); n != 0 {
		t.Errorf("a branch was asked for: %d", n)
	}
	_ = ask(strings.Repeat("0", 40))
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
