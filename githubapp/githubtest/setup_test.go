package githubtest_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// world is a GitHub with one organization, one repository, one App on it, and a receiver for its webhooks.
type world struct {
	*githubtest.Server
	t     *testing.T
	app   *githubtest.App
	inst  *githubtest.Installation
	repo  *githubtest.Repository
	alice *githubtest.User // may write
	first string           // the first commit on main
	hooks *receiver
	clock *clock
}

const secret = "It's a Secret to Everybody"

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newWorld(t *testing.T, change ...func(*githubtest.Options)) *world {
	t.Helper()
	w := &world{t: t, hooks: newReceiver(t), clock: &clock{now: time.Now()}}
	options := githubtest.Options{Dir: t.TempDir(), Clock: w.clock.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&options)
	}
	var err error
	w.Server, err = githubtest.Start(options)
	check(t, err)
	t.Cleanup(func() {
		check(t, w.Close())
		for _, violation := range w.Violations() {
			t.Errorf("GitHub's description was broken: %s", violation)
		}
	})
	w.app, err = w.CreateApp(githubtest.AppOptions{ID: 4711, Slug: "slipway", WebhookURL: w.hooks.URL, WebhookSecret: secret})
	check(t, err)
	w.repo, err = w.CreateRepository("acme/shop", githubtest.RepositoryOptions{Private: true})
	check(t, err)
	w.alice = w.CreateUser("alice")
	w.repo.SetPermission(w.alice, "write")
	w.first, err = w.repo.Commit("main", "First", map[string]string{"README.md": "# Shop\n", "src/main.go": "package main\n", "Dockerfile": "FROM scratch\n"}, w.alice)
	check(t, err)
	w.inst = w.app.Install("acme")
	w.idle()
	w.hooks.forget()
	return w
}

func (w *world) idle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	check(w.t, w.WaitIdle(ctx))
}

// client speaks as the installation, through ghinstallation, as the real program does.
func (w *world) client() *github.Client {
	w.t.Helper()
	transport, err := ghinstallation.New(http.DefaultTransport, w.app.ID, w.inst.ID, w.app.PrivateKeyPEM)
	check(w.t, err)
	transport.BaseURL = strings.TrimSuffix(w.URL, "/")
	transport.InstallationTokenOptions = &github.InstallationTokenOptions{}
	return w.clientOn(transport)
}

// appClient speaks as the App itself.
func (w *world) appClient() *github.Client {
	w.t.Helper()
	transport, err := ghinstallation.NewAppsTransport(http.DefaultTransport, w.app.ID, w.app.PrivateKeyPEM)
	check(w.t, err)
	return w.clientOn(transport)
}

func (w *world) clientOn(transport http.RoundTripper) *github.Client {
	client := github.NewClient(&http.Client{Transport: transport, Timeout: 2 * time.Minute})
	client.BaseURL, _ = url.Parse(w.URL)
	return client
}

// tokenClient speaks with one given token.
func (w *world) tokenClient(token string) *github.Client {
	return w.clientOn(roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token)
		return http.DefaultTransport.RoundTrip(r)
	}))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// broke asserts that exactly these fragments were reported as violations, and forgets them.
func (w *world) broke(fragments ...string) {
	w.t.Helper()
	found := w.TakeViolations()
	if len(found) != len(fragments) {
		w.t.Fatalf("got %d violations, want %d: %q", len(found), len(fragments), found)
	}
	for i, fragment := range fragments {
		if !strings.Contains(found[i], fragment) {
			w.t.Errorf("violation %q doesn't mention %q", found[i], fragment)
		}
	}
}

// receiver is where webhooks arrive.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []hook
	then http.HandlerFunc // nil: 202
}

type hook struct {
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.got = append(r.got, hook{request.Header, body})
		then := r.then
		r.mu.Unlock()
		if then != nil {
			then(w, request)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answer(then http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.then = then
}

func (r *receiver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = nil
}

func (r *receiver) all() []hook {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]hook(nil), r.got...)
}

// names lists what arrived since the last call, as event or event.action.
func (w *world) names() []string {
	w.t.Helper()
	w.idle()
	var names []string
	for _, h := range w.hooks.all() {
		name := h.header.Get("X-GitHub-Event")
		if action := field[string](w.t, h.body, "action"); action != "" {
			name += "." + action
		}
		names = append(names, name)
	}
	w.hooks.forget()
	return names
}

// git runs the git program in a folder.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := tryGit(t, dir, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func tryGit(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=alice", "GIT_AUTHOR_EMAIL=alice@example.com", "GIT_COMMITTER_NAME=alice", "GIT_COMMITTER_EMAIL=alice@example.com")
	out, err := command.CombinedOutput()
	return string(out), err
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
