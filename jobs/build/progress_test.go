package build

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-ci/slipway/jobs"
)

// script plays states to a progress and returns it with its log.
func script(t testing.TB, clean func(string) string, states ...*client.SolveStatus) (*progress, string) {
	t.Helper()
	var log strings.Builder
	p := newProgress(&log, clean)
	ch := make(chan *client.SolveStatus, len(states))
	for _, s := range states {
		ch <- s
	}
	close(ch)
	p.follow(ch)
	return p, log.String()
}

func asIs(s string) string { return s }

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is a vertex that began at a second, and ended at another unless that is negative.
func at(id, name string, from, to float64, change ...func(*client.Vertex)) *client.SolveStatus {
	v := &client.Vertex{Digest: digest.FromString(id), Name: name}
	if from >= 0 {
		b := began.Add(time.Duration(from * float64(time.Second)))
		v.Started = &b
	}
	if to >= 0 {
		e := began.Add(time.Duration(to * float64(time.Second)))
		v.Completed = &e
	}
	for _, c := range change {
		c(v)
	}
	return &client.SolveStatus{Vertexes: []*client.Vertex{v}}
}

func says(id, text string) *client.SolveStatus {
	return &client.SolveStatus{Logs: []*client.VertexLog{{Vertex: digest.FromString(id), Data: []byte(text)}}}
}

func cachedVertex(v *client.Vertex) { v.Cached = true }

func failedVertex(why string) func(*client.Vertex) { return func(v *client.Vertex) { v.Error = why } }

func TestProgressLog(t *testing.T) {
	p, log := script(t, strings.NewReplacer("hunter22", "***").Replace,
		at("load", "[internal] load build definition from Dockerfile", -1, -1),
		at("load", "[internal] load build definition from Dockerfile", 0, 0.01),
		at("from", "[builder 1/3] FROM golang", 0, 0), // looked up
		at("from", "[builder 1/3] FROM golang", 0, -1),
		at("from", "[builder 1/3] FROM golang", 0, 2.1), // pulled
		at("copy", "[builder 2/3] COPY . .", 2, 2, cachedVertex),
		at("copy", "[builder 2/3] COPY . .", 2, 2, cachedVertex),
		at("run", "[builder 3/3] RUN go build\n  ./...", 2.1, -1),
		says("run", "one\ntwo, first"),
		says("run", " half\nprogress 1%\rprogress 100%\r\n"),
		says("run", "the password is hunter22\n"),
		says("run", "without an end"),
		at("run", "[builder 3/3] RUN go build\n  ./...", 2.1, 65.3),
		at("bad", "[stage-1 2/2] RUN false", 65.4, 65.5, failedVertex("exit code: 1")),
	)
	want := `#1 [internal] load build definition from Dockerfile
#2 [builder 1/3] FROM golang
#2 done in 2.1 s
#3 [builder 2/3] COPY . .
#3 cached
#4 [builder 3/3] RUN go build ./...
#4 one
#4 two, first half
#4 progress 100%
#4 the password is ***
#4 without an end
#4 done in 1 min 3 s
#5 [stage-1 2/2] RUN false
#5 error: exit code: 1
`
	if log != want {
		t.Errorf("got:\n%s\nwant:\n%s", log, want)
	}
	if steps, cached := p.count(); steps != 3 || cached != 1 {
		t.Errorf("%d steps, %d cached", steps, cached)
	}
	if st := p.failed(""); st == nil || st.name != "[stage-1 2/2] RUN false" {
		t.Errorf("failed: %+v", st)
	}
	if st := p.failed(digest.FromString("run").String()); st == nil || st.number != 4 {
		t.Errorf("failed by name: %+v", st)
	}
}

func TestProgressIsBounded(t *testing.T) {
	long := strings.Repeat("x", 3*maxStepLine)
	p, log := script(t, asIs, at("run", "[1/1] RUN yes", 0, -1), says("run", strings.Repeat("y\n", maxStepLog)), says("run", long+"\nlast\n"), says("run", "bad \xff byte"))
	if len(log) > 6*maxStepLog {
		t.Errorf("the log has %d bytes", len(log))
	}
	if n := strings.Count(log, "more than 256 KiB of output: the rest is not kept"); n != 1 {
		t.Errorf("said %d times that it was cut", n)
	}
	tail := p.failed(digest.FromString("run").String()).lastLines()
	if len(tail) != jobs.MaxTail || tail[len(tail)-1] != "bad � byte" || tail[len(tail)-2] != "last" {
		t.Errorf("tail %q", tail)
	}
	for _, l := range strings.Split(log, "\n") {
		if len(l) > maxStepLine+10 {
			t.Errorf("a line of %d bytes", len(l))
		}
	}

	var many []*client.SolveStatus
	for i := range maxSteps + 100 {
		many = append(many, at(fmt.Sprint(i), fmt.Sprintf("[%d/9] RUN x", i), 0, 1))
	}
	p, log = script(t, asIs, many...)
	if len(p.steps) != maxSteps || !strings.Contains(log, "the rest is not shown") {
		t.Errorf("%d steps are held", len(p.steps))
	}

	warn := &client.SolveStatus{}
	for range 100 {
		warn.Warnings = append(warn.Warnings, &client.VertexWarning{Short: []byte("w")})
	}
	if p, _ = script(t, asIs, warn); len(p.warnings) != maxWarnings {
		t.Errorf("%d warnings are held", len(p.warnings))
	}
}

func TestProgressWithoutLog(t *testing.T) {
	p := newProgress(brokenWriter{}, asIs)
	ch := make(chan *client.SolveStatus, 2)
	ch <- at("run", "[1/1] RUN x", 0, -1)
	ch <- says("run", "still heard\n")
	close(ch)
	p.follow(ch) // a log that can't be kept doesn't stop a build
	if st := p.interrupted(); st == nil || st.lastLines()[0] != "still heard" {
		t.Errorf("got %+v", st)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestElapsed(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234 * time.Millisecond: "1.2 s", 0: "0.0 s", 59900 * time.Millisecond: "59.9 s", time.Minute: "1 min", 30 * time.Minute: "30 min", 61400 * time.Millisecond: "1 min 1 s",
	} {
		if got := elapsed(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}
