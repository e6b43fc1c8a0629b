package githubapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

const dispatchCall = "actions/create-workflow-dispatch"

const helloWorkflow = `name: Hello
run-name: Hello ${{ inputs.name }}
on:
  push: {branches: [trigger]}
  workflow_dispatch:
    inputs:
      greeting: {type: choice, options: [Hello, Welcome], default: Hello}
      name: {type: string, required: true}
jobs:
  hello:
    name: Say hello
    runs-on: ubuntu-latest
    steps:
      - name: Greet
        run: echo "$GREETING, $NAME"
  after:
    needs: hello
    runs-on: ubuntu-latest
    environment: production
    steps:
      - run: "true"
`

// newYard is a world with the workflow hello.yaml on main.
func newYard(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.first = w.commit("main", map[string]string{".github/workflows/hello.yaml": helloWorkflow})
	w.ResetRequests()
	return w
}

// granted makes us another App on acme, with the usual permissions but one: its level is "" for none.
func (w *world) granted(permission, level string) {
	w.t.Helper()
	permissions := githubtest.DefaultPermissions()
	if permissions[permission] = level; level == "" {
		delete(permissions, permission)
	}
	var err error
	w.gh, err = w.CreateApp(githubtest.AppOptions{ID: w.gh.ID + 1, Slug: fmt.Sprintf("app-%d", w.gh.ID+1), Permissions: permissions})
	ok(w.t, err)
	w.inst = w.gh.Install("acme")
	w.app = w.newApp()
}

// carriedBy is our App, with another transport.
func (w *world) carriedBy(transport http.RoundTripper) *App {
	w.t.Helper()
	app, err := New(Config{AppID: w.gh.ID, PrivateKeyFile: keyFile(w.t, w.gh.PrivateKeyPEM), WebhookSecretFiles: []string{"x"}, APIURL: w.URL},
		Options{Log: slog.New(slog.NewTextHandler(w.log, nil)), Now: w.clock.Now, Observe: w.calls.observe, Transport: transport})
	ok(w.t, err)
	w.t.Cleanup(app.CloseIdle)
	return app
}

func (w *world) dispatch(ref string, inputs map[string]string) (int64, error) {
	w.t.Helper()
	run, err := w.app.Dispatch(w.t.Context(), w.inst.ID, described(w.repo), "hello.yaml", ref, inputs)
	clean(w.t, err)
	return run, err
}

// started dispatches the workflow and returns its run at GitHub.
func (w *world) started() *githubtest.WorkflowRun {
	w.t.Helper()
	id, err := w.dispatch("main", map[string]string{"name": "Slipway"})
	ok(w.t, err)
	for _, run := range w.repo.WorkflowRuns() {
		if run.ID == id {
			return run
		}
	}
	w.t.Fatalf("GitHub has no run %d", id)
	return nil
}

// refusedWith fails unless an error is a refusal that says all that is wanted, and nothing is unclear.
func refusedWith(t *testing.T, what string, err error, want ...string) {
	t.Helper()
	clean(t, err)
	var no *jobs.Refusal
	if !errors.As(err, &no) || errors.Is(err, jobs.ErrUnclear) {
		t.Errorf("%s: got %v, want a *jobs.Refusal", what, err)
		return
	}
	for _, part := range want {
		if !strings.Contains(no.Sentence, part) {
			t.Errorf("%s: %q does not say %q", what, no.Sentence, part)
		}
	}
}

func TestDispatch(t *testing.T) {
	w := newYard(t)
	hostile := "'; rm -rf / #\n$(id) \"${{ secrets.X }}\" <&>"
	id, err := w.dispatch("main", map[string]string{"greeting": "Welcome", "name": hostile})
	ok(t, err)
	runs := w.repo.WorkflowRuns()
	if len(runs) != 1 || runs[0].ID != id || runs[0].HeadSHA != w.first {
		t.Fatalf("run %d, GitHub has %+v", id, runs)
	}
	if in := runs[0].Inputs(); in["greeting"] != "Welcome" || in["name"] != hostile {
		t.Errorf("the inputs arrived as %q", in)
	}
	if runs[0].Actor != w.gh.Bot {
		t.Errorf("%s started it", runs[0].Actor.Login)
	}
	// By its path and at a tag, too; a server that tells no ID started it all the same.
	ok(t, w.repo.Tag("v1", w.first, "", w.alice))
	w.NoRunDetails(true)
	id, err = w.app.Dispatch(t.Context(), w.inst.ID, described(w.repo), ".github/workflows/hello.yaml", "v1", map[string]string{"name": "x"})
	if n := len(w.repo.WorkflowRuns()); err != nil || id != 0 || n != 2 {
		t.Errorf("204: got %d, %v, and %d runs", id, err, n)
	}
}

func TestBotLoginIsAskedOnce(t *testing.T) {
	w := newYard(t)
	w.Fail(githubtest.Failure{Operation: "apps/get-authenticated", Kind: githubtest.Status, Status: http.StatusServiceUnavailable, When: githubtest.Before})
	if login, err := w.app.BotLogin(t.Context()); err == nil {
		t.Errorf("GitHub was down, and we are %s", login)
	}
	w.ResetRequests()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if login, err := w.app.BotLogin(t.Context()); err != nil || login != w.gh.Bot.Login {
				t.Errorf("we are %q (%v), not %s", login, err, w.gh.Bot.Login)
			}
		})
	}
	all.Wait()
	if got := w.Requests(); len(got) != 1 {
		t.Errorf("asked %d times", len(got))
	}
}

func TestDispatchThatGitHubRefuses(t *testing.T) {
	w := newYard(t)
	good := map[string]string{"name": "x"}
	many := map[string]string{}
	for i := range 26 {
		many[strings.Repeat("x", i+1)] = "y"
	}
	ask := func(workflow, ref string, inputs map[string]string) error {
		_, err := w.app.Dispatch(t.Context(), w.inst.ID, described(w.repo), workflow, ref, inputs)
		return err
	}
	refusedWith(t, "a SHA", ask("hello.yaml", w.first, good), "No ref found for: "+w.first, "a branch or tag, not at a commit")
	refusedWith(t, "no such branch", ask("hello.yaml", "nowhere", good), "No ref found for: nowhere")
	refusedWith(t, "no such workflow", ask("other.yaml", "main", good), "no workflow other.yaml in acme/shop", "default branch")
	refusedWith(t, "an input too many", ask("hello.yaml", "main", map[string]string{"name": "x", "shout": "y"}), "Unexpected inputs provided", "shout")
	refusedWith(t, "an input missing", ask("hello.yaml", "main", nil), "Required input 'name' not provided")
	ok(t, w.repo.DisableWorkflow("hello.yaml", true))
	refusedWith(t, "disabled", ask("hello.yaml", "main", good), "disabled workflow")
	n := w.CountRequests(nil)
	refusedWith(t, "26 inputs", ask("hello.yaml", "main", many), "at most 25 inputs")
	refusedWith(t, "no ref", ask("hello.yaml", "", good), "a branch or tag")
	for _, name := range []string{"", ".", "..", "a/b.yaml", "../../x", `a\b`, strings.Repeat("x", 300)} {
		refusedWith(t, name, ask(name, "main", good), "neither the name of a file")
	}
	if w.CountRequests(nil) != n {
		t.Error("GitHub was asked what it would refuse")
	}
	w.repo.SetPermission(w.alice, "admin")
	ok(t, w.repo.Archive(w.alice))
	refusedWith(t, "archived", ask("hello.yaml", "main", good), "archived")
	if n := len(w.repo.WorkflowRuns()); n != 0 {
		t.Errorf("%d runs were started", n)
	}
}

func TestDispatchWithoutPermission(t *testing.T) {
	w := newYard(t)
	w.granted("actions", "read")
	_, err := w.dispatch("main", nil)
	refusedWith(t, "a token's permission", err, "Actions: read and write", "acme/shop")
	if !errors.Is(err, ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
	if w.count(dispatchCall) != 0 {
		t.Error("it was tried all the same")
	}
	w.Fail(githubtest.Failure{Operation: dispatchCall, Status: 403})
	w.granted("actions", "write")
	_, err = w.dispatch("main", map[string]string{"name": "x"})
	refusedWith(t, "a 403 with another reason", err, "GitHub refused to start hello.yaml", "Forbidden")
}

// Whatever goes wrong, nothing is sent twice, and it is said whether the run may be there.
func TestDispatchThatFails(t *testing.T) {
	lost, limit := githubtest.LostAnswer, githubtest.SecondaryLimit
	for name, test := range map[string]struct {
		failure githubtest.Failure
		unclear bool
		started int
	}{
		"no answer, nothing done":    {githubtest.Failure{Operation: dispatchCall, Kind: lost, When: githubtest.Before}, true, 0},
		"no answer, but done":        {githubtest.Failure{Operation: dispatchCall, Kind: lost, When: githubtest.After}, true, 1},
		"server error":               {githubtest.Failure{Operation: dispatchCall, Status: 502, When: githubtest.Before}, true, 0},
		"server error, but done":     {githubtest.Failure{Operation: dispatchCall, Status: 500, When: githubtest.After}, true, 1},
		"limited":                    {githubtest.Failure{Operation: dispatchCall, Kind: limit, RetryAfter: time.Minute}, false, 0},
		"limited with 429":           {githubtest.Failure{Operation: dispatchCall, Kind: limit, Status: 429}, false, 0},
		"hour used up":               {githubtest.Failure{Operation: dispatchCall, Kind: githubtest.PrimaryLimit, RetryAfter: time.Minute}, false, 0},
		"no answer about a token":    {githubtest.Failure{Operation: "apps/create-installation-access-token", Kind: lost}, false, 0},
		"server error about a token": {githubtest.Failure{Operation: "apps/create-installation-access-token", Status: 503}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newYard(t)
			w.Fail(test.failure)
			run, err := w.dispatch("main", map[string]string{"name": "x"})
			if err == nil || run != 0 || errors.Is(err, jobs.ErrUnclear) != test.unclear {
				t.Errorf("got %d, %v; unclear is %v", run, err, errors.Is(err, jobs.ErrUnclear))
			}
			var (
				later   *jobs.Later
				refusal *jobs.Refusal
			)
			if limited := strings.Contains(name, "limited") || strings.Contains(name, "hour"); errors.As(err, &later) != limited {
				t.Errorf("got %v, want a *jobs.Later: %v", err, limited)
			}
			if errors.As(err, &refusal) {
				t.Errorf("%v is GitHub's last word", err)
			}
			if n := w.count(dispatchCall); n > 1 {
				t.Errorf("it was sent %d times", n)
			}
			if n := len(w.repo.WorkflowRuns()); n != test.started {
				t.Errorf("%d runs, want %d", n, test.started)
			}
		})
	}
}

func TestDispatchThatIsHeldBackIsNotSent(t *testing.T) {
	w := newYard(t)
	w.Fail(githubtest.Failure{Operation: dispatchCall, Kind: githubtest.SecondaryLimit, RetryAfter: time.Minute})
	if _, err := w.dispatch("main", nil); err == nil {
		t.Error("the limit was not met")
	}
	n := w.count(dispatchCall)
	_, err := w.dispatch("main", nil)
	var later *jobs.Later
	if !errors.As(err, &later) || errors.Is(err, jobs.ErrUnclear) || w.count(dispatchCall) != n {
		t.Errorf("got %v after %d requests", err, w.count(dispatchCall))
	}
}

func TestDispatchWithARefusedToken(t *testing.T) {
	w := newYard(t)
	w.Fail(githubtest.Failure{Operation: dispatchCall, Status: 401})
	if run, err := w.dispatch("main", map[string]string{"name": "x"}); err != nil || run == 0 || len(w.repo.WorkflowRuns()) != 1 {
		t.Errorf("a token that ran out: got %d, %v", run, err)
	}
	w.Fail(githubtest.Failure{Operation: dispatchCall, Status: 401, Times: 2})
	_, err := w.dispatch("main", map[string]string{"name": "x"})
	var refusal *jobs.Refusal
	if err == nil || errors.Is(err, jobs.ErrUnclear) || errors.As(err, &refusal) {
		t.Errorf("refused twice: got %v, want an error that is worth another try", err)
	}
}

// A request that never had a connection did nothing; one that was under way when the caller gave up may have.
func TestDispatchOnTheWay(t *testing.T) {
	w := newYard(t)
	var down atomic.Bool
	transport := NewTransport()
	dial := (&net.Dialer{}).DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if down.Load() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
		}
		return dial(ctx, network, address)
	}
	w.app = w.carriedBy(transport)
	w.started() // the token is there
	transport.CloseIdleConnections()
	down.Store(true)
	_, err := w.dispatch("main", map[string]string{"name": "x"})
	var away *Unavailable
	if !errors.As(err, &away) || errors.Is(err, jobs.ErrUnclear) {
		t.Errorf("no connection: got %v, want an *Unavailable that is not unclear", err)
	}
	down.Store(false)

	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan struct{})
	w.app = w.carriedBy(tripper(func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/dispatches") {
			resp, err := transport.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			close(sent)
			<-req.Context().Done() // the answer never comes through
			return nil, req.Context().Err()
		}
		return transport.RoundTrip(req)
	}))
	go func() {
		<-sent
		cancel()
	}()
	_, err = w.app.Dispatch(ctx, w.inst.ID, described(w.repo), "hello.yaml", "main", map[string]string{"name": "x"})
	clean(t, err)
	if !errors.Is(err, jobs.ErrUnclear) || !errors.Is(err, context.Canceled) || len(w.repo.WorkflowRuns()) != 2 {
		t.Errorf("given up on the way: got %v and %d runs", err, len(w.repo.WorkflowRuns()))
	}
	_, err = w.app.Dispatch(ctx, w.inst.ID, described(w.repo), "hello.yaml", "main", map[string]string{"name": "x"})
	if err == nil || errors.Is(err, jobs.ErrUnclear) {
		t.Errorf("given up before: got %v", err)
	}
	// A transport that tells nothing of connections may have sent it.
	w.app = w.carriedBy(tripper(func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/dispatches") {
			return nil, errors.New("no idea")
		}
		return transport.RoundTrip(req)
	}))
	if _, err := w.dispatch("main", nil); !errors.Is(err, jobs.ErrUnclear) {
		t.Errorf("a silent transport: got %v", err)
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// What was answered with success was done, even when the rest of the answer can't be read.
func TestDispatchWhoseAnswerBreaksOff(t *testing.T) {
	w := newYard(t)
	transport := NewTransport()
	w.app = w.carriedBy(tripper(func(req *http.Request) (*http.Response, error) {
		resp, err := transport.RoundTrip(req)
		if err == nil && strings.HasSuffix(req.URL.Path, "/dispatches") {
			resp.Body.Close()
		}
		return resp, err
	}))
	run, err := w.dispatch("main", map[string]string{"name": "x"})
	if err != nil || run != 0 || len(w.repo.WorkflowRuns()) != 1 {
		t.Errorf("got %d, %v, want a run that is not known", run, err)
	}
}

func TestRerunAndCancel(t *testing.T) {
	w := newYard(t)
	run := w.started()
	repo := described(w.repo)
	again := func() error { return w.app.RerunFailedJobs(t.Context(), w.inst.ID, repo, run.ID) }
	refusedWith(t, "while it runs", again(), "already running")
	ok(t, run.Finish("success"))
	refusedWith(t, "nothing failed", again(), "no failed jobs")
	ok(t, w.app.RerunWorkflow(t.Context(), w.inst.ID, repo, run.ID))
	ok(t, run.FinishJob("hello", "failure"))
	if attempt, status, conclusion := run.State(); attempt != 2 || status != "completed" || conclusion != "failure" {
		t.Fatalf("attempt %d is %s %s", attempt, status, conclusion)
	}
	w.Fail(githubtest.Failure{Operation: "actions/re-run-workflow-failed-jobs", Kind: githubtest.LostAnswer, When: githubtest.After})
	if err := again(); !errors.Is(err, jobs.ErrUnclear) {
		t.Errorf("a lost answer: got %v", err)
	}
	if attempt, _, _ := run.State(); attempt != 3 {
		t.Errorf("it is at attempt %d", attempt)
	}
	refusedWith(t, "no such run", w.app.RerunWorkflow(t.Context(), w.inst.ID, repo, 1), "Not Found")

	cancel := func(id int64) error { return w.app.CancelWorkflowRun(t.Context(), w.inst.ID, repo, id) }
	ok(t, cancel(run.ID))
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ok(t, w.WaitIdle(ctx))
	refusedWith(t, "over", cancel(run.ID), "over by then")
	refusedWith(t, "no such run", cancel(1), "workflow run 1 of acme/shop is gone")
	var away *Unavailable
	w.Fail(githubtest.Failure{Operation: opCancel, Status: 502})
	if err := cancel(run.ID); !errors.As(err, &away) {
		t.Errorf("GitHub is away: got %v", err)
	}
}

// Ending something doesn't wait for what began much: it is no content, and goes first.
func TestCancelGoesFirst(t *testing.T) {
	req, err := http.NewRequestWithContext(asking(t.Context(), priorityFinal, opCancel), http.MethodPost, "http://x/", nil)
	ok(t, err)
	if d := demandOf(req); d.content || !d.write || d.priority != priorityFinal {
		t.Errorf("got %+v", d)
	}
	req, err = http.NewRequestWithContext(asking(t.Context(), priorityNew, dispatchCall), http.MethodPost, "http://x/", nil)
	ok(t, err)
	if d := demandOf(req); !d.content || !d.write || d.priority != priorityNew {
		t.Errorf("got %+v", d)
	}
}

func TestApproveDeployments(t *testing.T) {
	w := newYard(t)
	ok(t, w.repo.ProtectEnvironment("production", w.alice))
	run := w.started()
	repo := described(w.repo)
	pending := func() []jobs.PendingDeployment {
		t.Helper()
		list, err := w.app.PendingDeployments(t.Context(), w.inst.ID, repo, run.ID)
		ok(t, err)
		return list
	}
	if list := pending(); len(list) != 0 {
		t.Errorf("nothing waits yet, got %+v", list)
	}
	ok(t, run.FinishJob("hello", "success"))
	list := pending()
	if len(list) != 1 || list[0].Name != "production" || list[0].ID == 0 || list[0].MayApprove {
		t.Fatalf("got %+v", list)
	}
	approve := func() error {
		return w.app.ApproveDeployments(t.Context(), w.inst.ID, repo, run.ID, []int64{list[0].ID}, "alice said so")
	}
	refusedWith(t, "not a reviewer", approve(), "GitHub refused to approve", "not authorized")
	ok(t, w.repo.ProtectEnvironment("production", w.alice, w.gh.Bot))
	if again := pending(); len(again) != 1 || !again[0].MayApprove {
		t.Errorf("as a reviewer: got %+v", again)
	}
	ok(t, approve())
	if left := run.Pending(); len(left) != 0 {
		t.Errorf("it still waits for %q", left)
	}
	refusedWith(t, "nothing waits any more", approve(), "No pending deployment")
}

// Tokens that show checks can't start workflows, and those that start workflows can't write checks.
func TestScopesOfTokens(t *testing.T) {
	w := newYard(t)
	transport := NewTransport()
	var asked []map[string]string
	w.app = w.carriedBy(tripper(func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/access_tokens") {
			body, err := req.GetBody()
			ok(t, err)
			var request tokenRequest
			ok(t, json.NewDecoder(body).Decode(&request))
			if len(request.RepositoryIDs) != 1 || request.RepositoryIDs[0] != w.repo.ID {
				t.Errorf("a token for %v", request.RepositoryIDs)
			}
			asked = append(asked, request.Permissions)
		}
		return transport.RoundTrip(req)
	}))
	_, _, err := w.app.Head(t.Context(), w.inst.ID, described(w.repo), "refs/heads/main")
	ok(t, err)
	run := w.started()
	w.started()
	_, err = w.app.CommitChecks(t.Context(), w.inst.ID, described(w.repo), w.first, []string{"x"})
	ok(t, err)
	_ = w.app.ApproveDeployments(t.Context(), w.inst.ID, described(w.repo), run.ID, []int64{1}, "x")
	if len(asked) != 4 {
		t.Fatalf("%d tokens, want one for each scope", len(asked))
	}
	for i, want := range []struct{ actions, checks, deployments, statuses string }{{"", "write", "write", ""}, {"write", "read", "", ""}, {"read", "read", "", "read"}, {"", "", "write", ""}} {
		got := asked[i]
		if got["actions"] != want.actions || got["checks"] != want.checks || got["deployments"] != want.deployments || got["statuses"] != want.statuses {
			t.Errorf("token %d is for %v, want %+v", i+1, got, want)
		}
	}
}
