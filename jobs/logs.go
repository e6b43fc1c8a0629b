package jobs

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// Limits of a job's log; what is beyond is left out, and the log says so.
const (
	MaxLog       = 8 << 20  // bytes in one claim's log
	MaxLogLine   = 4 << 10  // bytes of a line
	logSlack     = 8 << 10  // bytes beyond that are read: a secret of up to this length is masked also across a line's end
	logChunk     = 64 << 10 // bytes gathered before a chunk is stored
	logChunkTime = 250 * time.Millisecond
)

// A logWriter turns what a kind prints into masked lines and stores them in chunks.
type logWriter struct {
	ctx  context.Context
	logs Logs
	key  LogKey
	mask func(string) string
	now  func() time.Time

	mu      sync.Mutex
	partial []byte
	cut     bool // partial is not all of its line
	lines   []string
	size    int // of lines
	total   int
	seq     uint64
	number  int // of the next line
	timer   *time.Timer
	full    bool
	closed  bool
}

// newLogWriter continues the log of an attempt: each claim writes behind what the claims before it wrote.
func newLogWriter(ctx context.Context, logs Logs, key LogKey, claim int, mask func(string) string, now func() time.Time) *logWriter {
	w := &logWriter{ctx: context.WithoutCancel(ctx), logs: logs, key: key, mask: mask, now: now, number: 1}
	if claim > 1 {
		// The end of what is there; a log that can't be read now starts its count again, which only people notice.
		_ = logs.Read(ctx, key, LogRange{Tail: 1}, func(c LogChunk) error {
			w.seq, w.number = max(w.seq, c.Seq), max(w.number, c.First+len(c.Lines))
			return nil
		})
	}
	return w
}

// Write takes text; complete lines go to the log soon, an incomplete one when it is completed or the log is closed.
func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		line, rest, complete := bytes.Cut(p, []byte("\n"))
		if room := MaxLogLine + logSlack - len(w.partial); len(line) > room {
			line, w.cut = line[:room], true
		}
		w.partial = append(w.partial, line...)
		if complete {
			w.end()
		}
		p = rest
	}
	return n, nil
}

// printf adds a line of our own, on a line of its own, also to a log that is full.
func (w *logWriter) printf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complete()
	w.put(Cut(w.mask(firstLine(fmt.Sprintf("slipway: "+format, args...))), MaxLogLine))
}

// complete ends a line that was begun.
func (w *logWriter) complete() {
	if len(w.partial) > 0 {
		w.end()
	}
}

// end takes the line that partial holds. It is masked before it is shortened: what is left of a secret that was cut is no longer
// known for one.
func (w *logWriter) end() {
	text, cut := string(bytes.TrimRight(w.partial, "\r")), w.cut
	w.partial, w.cut = w.partial[:0], false
	if w.full {
		return
	}
	text = w.mask(text)
	if cut { // perhaps within a secret: it began in what is left out here
		text = text[:max(len(text)-logSlack, 0)] + "…"
	}
	text = Cut(text, MaxLogLine)
	if w.total += len(text) + 1; w.total > MaxLog {
		w.full = true
		text = fmt.Sprintf("slipway: the log is longer than %d MB; the rest is left out", MaxLog>>20)
	}
	w.put(text)
}

// put adds a line to the next chunk.
func (w *logWriter) put(text string) {
	if w.closed {
		return
	}
	w.lines = append(w.lines, text)
	w.size += len(text) + 1
	switch {
	case w.size >= logChunk:
		w.flush(false)
	case w.timer == nil:
		w.timer = time.AfterFunc(logChunkTime, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.flush(false)
		})
	}
}

func (w *logWriter) flush(last bool) {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if len(w.lines) == 0 && !last {
		return
	}
	w.seq++
	chunk := LogChunk{Seq: w.seq, First: w.number, Time: w.now(), Lines: w.lines, Last: last}
	w.number += len(w.lines)
	w.lines, w.size = nil, 0
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	// A log is for people; a chunk that can't be stored is not worth failing a job for. Its lines' numbers are
	// missing then, which shows.
	_ = w.logs.Append(ctx, w.key, chunk)
}

// close stores what is left; last says that nothing will follow from a later claim either.
func (w *logWriter) close(last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.complete()
	w.flush(last)
	w.closed = true
}
