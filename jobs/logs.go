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
		if room := MaxLogLine - len(w.partial); len(line) > room {
			line = line[:max(room, 0)]
		}
		w.partial = append(w.partial, line...)
		if complete {
			w.line(string(bytes.TrimRight(w.partial, "\r")))
			w.partial = w.partial[:0]
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
	full := w.full
	w.full = false
	w.line(firstLine(fmt.Sprintf("slipway: "+format, args...)))
	w.full = full
}

// complete ends a line that was begun.
func (w *logWriter) complete() {
	if len(w.partial) > 0 {
		w.line(string(w.partial))
		w.partial = nil
	}
}

func (w *logWriter) line(text string) {
	if w.full || w.closed {
		return
	}
	text = w.mask(text)
	before := w.total
	w.total += len(text)
	if w.total > MaxLog && before <= MaxLog {
		w.full = true
		text = fmt.Sprintf("slipway: the log is longer than %d MB; the rest is left out", MaxLog>>20)
	}
	w.lines = append(w.lines, text)
	w.size += len(text)
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
