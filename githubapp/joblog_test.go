package githubapp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// elsewhere makes what GitHub redirects to another host, as it is in truth, and counts the tokens that come there.
func (w *world) elsewhere(change func(http.ResponseWriter, *http.Request) bool) (tokens *atomic.Int32) {
	w.t.Helper()
	tokens = &atomic.Int32{}
	api, err := url.Parse(w.URL)
	ok(w.t, err)
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: api.Scheme, Host: api.Host}) }}
	storage := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			tokens.Add(1)
		}
		if change == nil || !change(rw, r) {
			pass.ServeHTTP(rw, r)
		}
	}))
	w.t.Cleanup(storage.Close)
	there, err := url.Parse(storage.URL)
	ok(w.t, err)
	transport := NewTransport()
	w.app = w.carriedBy(tripper(func(req *http.Request) (*http.Response, error) {
		resp, err := transport.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusFound && req.URL.Host == api.Host {
			to, parseErr := url.Parse(resp.Header.Get("Location"))
			ok(w.t, parseErr)
			to.Host, to.RawQuery = there.Host, "token=SIGNED"
			resp.Header.Set("Location", to.String())
		}
		return resp, err
	}))
	return tokens
}

func TestWorkflowLog(t *testing.T) {
	w := newYard(t)
	tokens := w.elsewhere(nil)
	run := w.started()
	job := run.Jobs()[0].ID
	read := func(lines int) []string {
		t.Helper()
		list, err := w.app.WorkflowLog(t.Context(), w.inst.ID, described(w.repo), job, lines)
		clean(t, err)
		ok(t, err)
		return list
	}
	if list := read(10); list != nil {
		t.Errorf("before it is done: %q", list)
	}
	ok(t, run.Start())
	ok(t, run.Log("hello", "##[group]Run make\n\x1b[36;1mmake\x1b[0m\n##[endgroup]\ngcc: no such file\n##[error]Process completed with exit code 2.\nPost job cleanup."))
	ok(t, run.FinishJob("hello", "failure"))
	if list := read(4); !slices.Equal(list, []string{"Run make", "make", "gcc: no such file", "Error: Process completed with exit code 2."}) {
		t.Errorf("got %q", list)
	}
	if list := read(100); len(list) != 7 || list[0] != "Current runner version: '2.334.0'" {
		t.Errorf("the whole: %q", list)
	}
	if n := tokens.Load(); n != 0 || w.count("storage") != 2 {
		t.Errorf("%d tokens went to another host, by %d requests", n, w.count("storage"))
	}
	for _, status := range []int{404, 410} {
		w.Fail(githubtest.Failure{Operation: "actions/download-job-logs-for-workflow-run", Status: status})
		if list := read(4); list != nil {
			t.Errorf("%d: got %q", status, list)
		}
		w.Fail(githubtest.Failure{Operation: "storage", Status: status})
		if list := read(4); list != nil {
			t.Errorf("%d at the storage: got %q", status, list)
		}
	}
	fails := func(what string, matches func(error) bool) {
		t.Helper()
		_, err := w.app.WorkflowLog(t.Context(), w.inst.ID, described(w.repo), job, 4)
		clean(t, err)
		if err == nil || !matches(err) || strings.Contains(err.Error(), "SIGNED") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	var (
		away  *Unavailable
		later *jobs.Later
		no    *jobs.Refusal
	)
	w.Fail(githubtest.Failure{Operation: "storage", Status: 503})
	fails("the storage is away", func(err error) bool { return errors.As(err, &away) })
	w.Fail(githubtest.Failure{Operation: "storage", Kind: githubtest.LostAnswer, Times: -1})
	fails("the storage is silent", func(err error) bool { return errors.As(err, &away) })
	w.ClearFailures()
	w.Fail(githubtest.Failure{Operation: "actions/download-job-logs-for-workflow-run", Status: 403})
	fails("refused", func(err error) bool { return errors.As(err, &no) && errors.Is(err, ErrDenied) })
	w.Fail(githubtest.Failure{Operation: "actions/download-job-logs-for-workflow-run", Kind: githubtest.SecondaryLimit, RetryAfter: time.Minute})
	fails("limited", func(err error) bool { return errors.As(err, &later) })
}

// Wherever GitHub points, no address but https or the API's own scheme is asked, and not in circles.
func TestStorageThatRedirects(t *testing.T) {
	w := newYard(t)
	var to atomic.Value
	to.Store("ftp://example.com/x")
	w.elsewhere(func(rw http.ResponseWriter, r *http.Request) bool {
		http.Redirect(rw, r, to.Load().(string), http.StatusFound)
		return true
	})
	run := w.started()
	ok(t, run.Finish("success"))
	for _, address := range []string{"ftp://example.com/x", "file:///etc/passwd", "/again"} {
		to.Store(address)
		_, err := w.app.WorkflowLog(t.Context(), w.inst.ID, described(w.repo), run.Jobs()[0].ID, 4)
		clean(t, err)
		if err == nil || !strings.Contains(err.Error(), "the redirect of the log is refused") {
			t.Errorf("%s: got %v", address, err)
		}
	}
}

func TestTidy(t *testing.T) {
	for raw, want := range map[string]string{
		"\ufeff2026-01-01T00:00:00.1234567Z hello\n":                    "hello",
		"2026-01-01T00:00:00Z   indented  \r\n":                         "  indented",
		"2026-01-01T00:00:00.0Z ##[group]Run x":                         "Run x",
		"2026-01-01T00:00:00.0Z ##[endgroup]":                           "(nothing)",
		"##[add-matcher]/home/runner/x.json":                            "(nothing)",
		"##[warning]careful":                                            "Warning: careful",
		"##[error]file.go:1: bad":                                       "Error: file.go:1: bad",
		"[command]/usr/bin/git version":                                 "/usr/bin/git version",
		"[notamark] stays":                                              "[notamark] stays",
		"10%\r50%\r100%":                                                "100%",
		"\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07\x1b": "red link",
		"\x1b]0;title\x1b\\text\x1b[2K\x1b(B":                           "text",
		"a\x00b\x08c\td\u0085e":                                         "abc\tde",
		"broken \xff utf-8":                                             "broken � utf-8",
		"2026-01-01T00:00:00.0Z":                                        "",
		strings.Repeat("ä", 600):                                        strings.Repeat("ä", 498) + "…",
	} {
		got, show := tidy(raw)
		if !show {
			got = "(nothing)"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", raw, got, want)
		}
	}
}

func TestTailOf(t *testing.T) {
	var long strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&long, "line %d %s\n", i, strings.Repeat("x", i%50*200)) // some are cut
	}
	read := func(text string, n int, most int64) []string {
		t.Helper()
		list, err := tailOf(strings.NewReader(text), n, most)
		ok(t, err)
		for _, line := range list {
			if len(line) > maxLogLine {
				t.Errorf("a line of %d bytes", len(line))
			}
		}
		return list
	}
	list := read(long.String(), 3, math.MaxInt64-1)
	if len(list) != 3 || !strings.HasPrefix(list[0], "line 4997 ") || !strings.HasPrefix(list[2], "line 4999 ") || !strings.HasSuffix(list[2], "…") {
		t.Errorf("the end: %.60q", list)
	}
	if list = read("a\nb\n##[error]c\nd\n##[error]e\nf\ng", 3, 100); !slices.Equal(list, []string{"Error: c", "d", "Error: e"}) {
		t.Errorf("up to the last error: %q", list)
	}
	if list = read("a\nb\n##[error]c\nd\n##[error]e\nf\ng", 100, 100); len(list) != 5 || list[0] != "a" {
		t.Errorf("all up to the last error: %q", list)
	}
	if list = read(strings.Repeat("##[error]x\n", 10_000)+"y\n", 2, 1<<20); !slices.Equal(list, []string{"Error: x", "Error: x"}) {
		t.Errorf("many errors: %q", list)
	}
	if list = read(strings.Repeat("0123456789\n", 1<<20), 2, 5<<20); len(list) != 2 || !strings.Contains(list[1], "only its first 5 MB were read") {
		t.Errorf("cut: %q", list)
	}
	if list = read("", 5, 10); len(list) != 0 {
		t.Errorf("empty: %q", list)
	}
	if _, err := tailOf(io.MultiReader(strings.NewReader("a\n"), failing{}), 5, 10); err == nil {
		t.Error("half a log was taken for a whole")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken off") }

func FuzzTailOf(f *testing.F) {
	f.Add([]byte("2026-01-01T00:00:00Z ##[group]\x1b[1mx\r\ny\n##[error]z"), 3)
	f.Fuzz(func(t *testing.T, text []byte, n int) {
		n = min(max(n, 1), 50)
		list, err := tailOf(bytes.NewReader(text), n, 1<<16)
		if err != nil || len(list) > n {
			t.Fatalf("%d lines, %v", len(list), err)
		}
		for _, line := range list {
			if len(line) > maxLogLine || strings.ContainsAny(line, "\n\r\x1b\x00") {
				t.Fatalf("%q", line)
			}
		}
	})
}
