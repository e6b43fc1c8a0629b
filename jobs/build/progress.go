package build

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	"github.com/slipway-ci/slipway/jobs"
)

// Bounds of a build's log. The log's keeper has its own; these keep one noisy step from using it up.
const (
	maxStepLog  = 256 << 10 // bytes of one step's output that are logged
	maxStepLine = 4 << 10   // bytes of one line
	maxSteps    = 5000
	maxWarnings = 10
)

// progress turns BuildKit's stream of states into log lines, and remembers what is needed to explain a failure. A
// step may end and start again: BuildKit reports the same vertex for every use of it. Its last state counts.
type progress struct {
	w        io.Writer
	clean    func(string) string // blanks secrets
	steps    map[digest.Digest]*step
	begun    int
	cut      bool // more than maxSteps
	warnings []*client.VertexWarning
	err      error // of w; the build goes on without a log
}

type step struct {
	number   int // as the log shows it, from 1; 0 until it has begun
	name     string
	over     bool
	ended    bool // its end is in the log
	started  time.Time
	cached   bool
	failure  string
	logged   int // bytes of output in the log
	full     bool
	partial  []byte
	tail     []string // last lines of output, at most jobs.MaxTail
	tailNext int      // where in tail the next line goes, once tail is full
}

func newProgress(w io.Writer, clean func(string) string) *progress {
	return &progress{w: w, clean: clean, steps: map[digest.Digest]*step{}}
}

func (p *progress) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, p.clean(fmt.Sprintf(format, args...))+"\n")
	}
}

// follow consumes the stream until it is closed.
func (p *progress) follow(states <-chan *client.SolveStatus) {
	for s := range states {
		for _, v := range s.Vertexes {
			p.vertex(v)
		}
		for _, l := range s.Logs {
			if st := p.step(l.Vertex, ""); st != nil {
				p.output(st, l.Data)
			}
		}
		for _, w := range s.Warnings {
			if len(p.warnings) < maxWarnings {
				p.warnings = append(p.warnings, w)
			}
		}
	}
	for _, st := range p.steps {
		p.flush(st)
	}
}

// step finds or makes the step of a vertex; nil when there are too many.
func (p *progress) step(d digest.Digest, name string) *step {
	st := p.steps[d]
	if st == nil {
		if len(p.steps) >= maxSteps {
			if !p.cut {
				p.line("more than %d steps: the rest is not shown", maxSteps)
			}
			p.cut = true
			return nil
		}
		st = &step{}
		p.steps[d] = st
	}
	if name != "" {
		st.name = jobs.Cut(strings.Join(strings.Fields(name), " "), 500)
	}
	return st
}

func (p *progress) vertex(v *client.Vertex) {
	st := p.step(v.Digest, v.Name)
	if st == nil || v.Started == nil {
		return
	}
	if st.over && v.Completed != nil && st.cached == v.Cached && st.failure == v.Error && st.started.Equal(*v.Started) {
		return // told twice
	}
	p.begin(st)
	st.started, st.cached, st.failure, st.over = *v.Started, v.Cached, v.Error, v.Completed != nil
	if !st.over {
		return
	}
	p.flush(st)
	took := v.Completed.Sub(st.started)
	switch {
	case v.Error != "":
		p.line("#%d error: %s", st.number, jobs.Cut(v.Error, maxStepLine))
	case v.Cached && !st.ended:
		p.line("#%d cached", st.number)
	// A step that ends anew, or that only looked something up, is worth a line only when it took time.
	case took >= 100*time.Millisecond || !st.ended && st.own():
		p.line("#%d done in %s", st.number, elapsed(took))
	default:
		return
	}
	st.ended = true
}

// begin gives a step its number and shows it, once.
func (p *progress) begin(st *step) {
	if st.number == 0 {
		p.begun++
		st.number = p.begun
		p.line("#%d %s", st.number, st.name)
	}
}

// own reports whether a step is an instruction of the Dockerfile that does something.
func (st *step) own() bool {
	at, what, ok := strings.Cut(st.name, "] ")
	return ok && strings.HasPrefix(at, "[") && at != "[internal" && at != "[auth" && !strings.HasPrefix(what, "FROM ")
}

// elapsed writes a duration for people.
func elapsed(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	if d = d.Round(time.Second); d%time.Minute == 0 {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
}

// output logs a step's output line by line. Of a line that overwrites itself with carriage returns the last state is
// shown, as on a terminal.
func (p *progress) output(st *step, data []byte) {
	st.partial = append(st.partial, data...)
	for {
		i := bytes.IndexByte(st.partial, '\n')
		if i < 0 && len(st.partial) > maxStepLine {
			i = maxStepLine
			p.outputLine(st, st.partial[:i])
			st.partial = st.partial[i:]
			continue
		}
		if i < 0 {
			break
		}
		p.outputLine(st, st.partial[:i])
		st.partial = st.partial[i+1:]
	}
}

func (p *progress) flush(st *step) {
	if len(st.partial) > 0 {
		p.outputLine(st, st.partial)
		st.partial = nil
	}
}

func (p *progress) outputLine(st *step, b []byte) {
	p.begin(st)
	b = bytes.TrimRight(b, "\r")
	if i := bytes.LastIndexByte(b, '\r'); i >= 0 {
		b = b[i+1:]
	}
	text := jobs.Cut(strings.ToValidUTF8(string(b), "�"), maxStepLine)
	st.remember(p.clean(text))
	switch {
	case st.full:
	case st.logged+len(text) > maxStepLog:
		st.full = true
		p.line("#%d more than %d KiB of output: the rest is not kept", st.number, maxStepLog>>10)
	default:
		st.logged += len(text) + 1
		p.line("#%d %s", st.number, text)
	}
}

func (st *step) remember(line string) {
	line = jobs.Cut(line, jobs.MaxTailLine)
	if len(st.tail) < jobs.MaxTail {
		st.tail = append(st.tail, line)
		return
	}
	st.tail[st.tailNext] = line
	st.tailNext = (st.tailNext + 1) % jobs.MaxTail
}

// lastLines returns the step's last lines of output, in their order.
func (st *step) lastLines() []string {
	return append(append([]string{}, st.tail[st.tailNext:]...), st.tail[:st.tailNext]...)
}

// failed finds the step that failed: the named one, or else the last that reported an error of its own.
func (p *progress) failed(vertex string) *step {
	if st := p.steps[digest.Digest(vertex)]; st != nil {
		return st
	}
	var last *step
	for _, st := range p.steps {
		if st.failure != "" && !isCancelled(st.failure) && (last == nil || st.number > last.number) {
			last = st
		}
	}
	return last
}

// count returns how many of the Dockerfile's steps there were, without its FROM, and how many came from the cache.
func (p *progress) count() (steps, cached int64) {
	for _, st := range p.steps {
		if st.over && st.own() {
			steps++
			if st.cached {
				cached++
			}
		}
	}
	return steps, cached
}

// interrupted finds the Dockerfile's step that was at work when the build was stopped; nil when there is none.
func (p *progress) interrupted() *step {
	var last *step
	for _, st := range p.steps {
		if st.number > 0 && st.own() && (!st.over || isCancelled(st.failure)) && (last == nil || st.started.After(last.started)) {
			last = st
		}
	}
	return last
}

func isCancelled(failure string) bool { return strings.Contains(failure, "context canceled") }
