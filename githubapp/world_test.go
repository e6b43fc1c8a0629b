package githubapp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// A world is a stand-in GitHub with one private repository, our App on it, and a clock that both go by.
type world struct {
	*githubtest.Server
	t     *testing.T
	clock *clock
	gh    *githubtest.App
	inst  *githubtest.Installation
	repo  *githubtest.Repository
	alice *githubtest.User
	first string // the first commit on main
	app   *App
	calls *calls
	log   *logs
}

func newWorld(t *testing.T, change ...func(*githubtest.Options)) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Now().Truncate(time.Second)}, calls: &calls{}, log: &logs{t: t}}
	options := githubtest.Options{Dir: t.TempDir(), Clock: w.clock.Now}
	for _, f := range change {
		f(&options)
	}
	var err error
	w.Server, err = githubtest.Start(options)
	ok(t, err)
	t.Cleanup(func() {
		ok(t, w.Close())
		for _, violation := range w.Violations() {
			t.Errorf("GitHub's description was broken: %s", violation)
		}
		w.log.mu.Lock()
		defer w.log.mu.Unlock()
		noToken(t, "the log", w.log.text.String())
	})
	w.gh, err = w.CreateApp(githubtest.AppOptions{ID: 4711})
	ok(t, err)
	w.repo, err = w.CreateRepository("acme/shop", githubtest.RepositoryOptions{Private: true})
	ok(t, err)
	w.alice = w.CreateUser("alice")
	w.repo.SetPermission(w.alice, "write")
	w.first = w.commit("main", map[string]string{"README.md": "# Shop\n", "src/main.go": "package main\n", "Dockerfile": "FROM scratch\n"})
	w.inst = w.gh.Install("acme")
	w.app = w.newApp()
	w.ResetRequests()
	return w
}

// newApp is our side as a fresh process has it.
func (w *world) newApp() *App {
	w.t.Helper()
	key := filepath.Join(w.t.TempDir(), "app.pem")
	ok(w.t, os.WriteFile(key, w.gh.PrivateKeyPEM, 0o600))
	app, err := New(Config{AppID: w.gh.ID, PrivateKeyFile: key, WebhookSecretFiles: []string{"x"}, APIURL: w.URL},
		Options{Log: slog.New(slog.NewTextHandler(w.log, nil)), Now: w.clock.Now, Observe: w.calls.observe})
	ok(w.t, err)
	w.t.Cleanup(app.CloseIdle)
	return app
}

func (w *world) commit(branch string, files map[string]string) string {
	w.t.Helper()
	sha, err := w.repo.Commit(branch, "Change", files, w.alice)
	ok(w.t, err)
	return sha
}

// another makes one more repository, with a commit on main.
func (w *world) another(name string, options githubtest.RepositoryOptions) (repo *githubtest.Repository, sha string) {
	w.t.Helper()
	repo, err := w.CreateRepository(name, options)
	ok(w.t, err)
	repo.SetPermission(w.alice, "write")
	sha, err = repo.Commit("main", "First", map[string]string{"name": name}, w.alice)
	ok(w.t, err)
	return repo, sha
}

func described(r *githubtest.Repository) jobs.Repository {
	return jobs.Repository{ID: r.ID, Owner: r.Owner.Login, Name: r.Name, DefaultBranch: r.DefaultBranch}
}

// count is how many requests GitHub got for an operation.
func (w *world) count(operation string) int {
	return w.CountRequests(func(r githubtest.Request) bool { return r.Operation == operation })
}

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

type calls struct {
	mu   sync.Mutex
	list []Call
}

func (c *calls) observe(call Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, call)
}

func (c *calls) all() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Call(nil), c.list...)
}

// logs keeps what is logged, to look for tokens in it, and shows it with the test.
type logs struct {
	t    *testing.T
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	return l.t.Output().Write(p)
}

// noToken fails when a text holds one of GitHub's tokens, a JWT, or what sends them.
func noToken(t *testing.T, what, text string) {
	t.Helper()
	for _, mark := range []string{"ghs_", "eyJ", "Bearer ", "Authorization", "token="} {
		if strings.Contains(text, mark) {
			t.Errorf("%s holds %q: %s", what, mark, text)
		}
	}
}

// clean fails when an error, printed in any way, shows a token.
func clean(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		noToken(t, "an error", fmt.Sprintf("%v %+v %#v", e, e, e))
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// records is a jobs.Records in memory that can be told to fail.
type records[T any] struct {
	mu       sync.Mutex
	values   map[string]T
	revision map[string]uint64
	writes   int
	// fail is asked before and after every write takes effect.
	fail func(write int, after bool) error
}

// errDied is what a write fails with at which the process dies.
var errDied = errors.New("the process died")

// dieAt lets the process die at the n-th write, before or after it takes effect, once. What it returns tells whether it did.
func (r *records[T]) dieAt(write int, after bool) (died *bool) {
	died = new(bool)
	r.fail = func(n int, now bool) error {
		if n != write || now != after || *died {
			return nil
		}
		*died = true
		return errDied
	}
	return died
}

func newRecords[T any]() *records[T] {
	return &records[T]{values: map[string]T{}, revision: map[string]uint64{}}
}

func (r *records[T]) Get(_ context.Context, key string) (T, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, there := r.values[key]
	if !there {
		return value, 0, fmt.Errorf("get %s: %w", key, jobs.ErrNotFound)
	}
	return value, r.revision[key], nil
}

func (r *records[T]) Create(_ context.Context, key string, value T) (uint64, error) {
	return r.write(key, value, 0, jobs.ErrExists)
}

func (r *records[T]) Update(_ context.Context, key string, value T, revision uint64) (uint64, error) {
	return r.write(key, value, revision, jobs.ErrConflict)
}

func (r *records[T]) write(key string, value T, revision uint64, otherwise error) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range key {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", c) {
			return 0, fmt.Errorf("key %q: not allowed", key)
		}
	}
	if r.revision[key] != revision {
		return 0, fmt.Errorf("write %s: %w", key, otherwise)
	}
	r.writes++
	if r.fail != nil {
		if err := r.fail(r.writes, false); err != nil {
			return 0, err
		}
	}
	r.values[key] = value
	r.revision[key]++
	if r.fail != nil {
		if err := r.fail(r.writes, true); err != nil {
			return 0, err
		}
	}
	return r.revision[key], nil
}
