package build

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

var commitTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// A commit is a Source with one commit's files. A content of "-> x" makes a link to x, one that begins with "#!" an
// executable file.
type commit struct {
	dir  string
	root *os.Root
	time time.Time
	err  error
}

func newCommit(t testing.TB, files map[string]string) *commit {
	t.Helper()
	c := &commit{dir: t.TempDir(), time: commitTime}
	for name, content := range files {
		p := filepath.Join(c.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, p)
		} else if strings.HasPrefix(content, "#!") {
			err = os.WriteFile(p, []byte(content), 0o750)
		} else {
			err = os.WriteFile(p, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	c.root = root
	return c
}

func (c *commit) Checkout(context.Context, jobs.RunInfo) (*jobs.Checkout, error) {
	if c.err != nil {
		return nil, c.err
	}
	return &jobs.Checkout{Dir: c.dir, Root: c.root, CommitTime: c.time, Close: func() {}}, nil
}

// allows stands in for the pipeline's globs: "*" within a name's part, "/**" for everything below.
func allows(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if below, ok := strings.CutSuffix(pattern, "/**"); ok {
			return strings.HasPrefix(name, below+"/")
		}
		ok, _ := path.Match(pattern, name)
		return ok
	})
}

// A record collects what a task's callbacks saw.
type record struct {
	mu      sync.Mutex
	log     bytes.Buffer
	written chan struct{} // closed and replaced by every Write
	locks   []string
	stale   string // reason; empty while the run is the newest
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.written)
	r.written = make(chan struct{})
	return r.log.Write(b)
}

// waitFor waits until the log holds a text.
func (r *record) waitFor(t testing.TB, text string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		r.mu.Lock()
		found, written := strings.Contains(r.log.String(), text), r.written
		r.mu.Unlock()
		if found {
			return
		}
		select {
		case <-written:
		case <-late:
			t.Fatalf("the log never said %q:\n%s", text, r.text())
		}
	}
}

func (r *record) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func (r *record) newest(context.Context) (bool, string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stale == "", r.stale, nil
}

func (r *record) lock(ctx context.Context, name string, do func(context.Context) error) error {
	r.mu.Lock()
	r.locks = append(r.locks, name)
	r.mu.Unlock()
	return do(ctx)
}

// newTask is a task as the runner would hand it over: trusted, on the default branch, granted acme/shop and below.
func newTask(t testing.TB, src jobs.Source, host string, spec jobs.BuildSpec) (jobs.Task, *record) {
	t.Helper()
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	rec := &record{written: make(chan struct{})}
	return jobs.Task{
		Run: push("main"), Job: "image", Attempt: 1, Claim: "claim-1", Spec: b, Source: src, Log: rec,
		Grant:  jobs.Grant{Push: []jobs.PushGrant{{Registry: host, Names: []string{"acme/shop", "acme/shop/**"}}}},
		Newest: rec.newest, Lock: rec.lock,
	}, rec
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}
