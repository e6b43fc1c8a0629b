package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/slipway-ci/slipway/jobs"
)

// Logs returns the logs of all jobs. They are kept 90 days, the oldest chunks go first when their stream is full.
// A chunk may be at most MaxRecord bytes as JSON.
func (q *Queue) Logs() jobs.Logs { return logs{q, q.streams[logsStream]} }

type logs struct {
	q      *Queue
	stream stream
}

func logSubject(key jobs.LogKey) (string, error) {
	return tokens(key.Run, key.Job, strconv.Itoa(key.Attempt))
}

func (l logs) Append(ctx context.Context, key jobs.LogKey, chunk jobs.LogChunk) error {
	subject, err := logSubject(key)
	if err != nil {
		return err
	}
	w, err := encode(subject, chunk)
	if err == nil {
		_, err = l.stream.write(ctx, w)
	}
	if err != nil {
		return fmt.Errorf("append to the log of %s: %w", subject, err)
	}
	return nil
}

func (l logs) Read(ctx context.Context, key jobs.LogKey, what jobs.LogRange, each func(jobs.LogChunk) error) error {
	subject, err := logSubject(key)
	if err != nil {
		return err
	}
	r := reading{from: 1, filter: subject}
	if what.Tail > 0 {
		var chunks []jobs.LogChunk
		if chunks, r.from, err = l.tail(ctx, subject, what.Tail); err != nil {
			return err
		}
		for _, c := range chunks {
			if err := each(c); err != nil || c.Last && what.Follow {
				return err
			}
		}
	}
	switch {
	case what.Follow:
		for m := range l.q.tail(ctx, l.stream, r) {
			if last, err := l.hand(m, each); last || err != nil {
				return err
			}
		}
		return ctx.Err()
	case what.Tail == 0:
		for m, err := range l.stream.read(ctx, r) {
			if err == nil {
				_, err = l.hand(m, each)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (l logs) hand(m message, each func(jobs.LogChunk) error) (last bool, err error) {
	chunk, err := logChunk(m)
	if err != nil {
		return false, err
	}
	return chunk.Last, each(chunk)
}

func logChunk(m message) (chunk jobs.LogChunk, err error) {
	if err := decode(m, &chunk); err != nil {
		return chunk, fmt.Errorf("read the log of %s: %w", m.subject, err)
	}
	return chunk, nil
}

// How far back a log's last lines are looked for at first, in messages of the stream, and how much farther each time.
const (
	tailWindow = 64
	tailGrowth = 8
)

// tail returns the chunks with the last n lines, and the sequence behind them. Chunks of other logs lie between those
// of this one, and nothing leads from one to the chunk before it: ever longer stretches are looked through.
func (l logs) tail(ctx context.Context, subject string, n int) (chunks []jobs.LogChunk, next uint64, err error) {
	newest, err := l.stream.last(ctx, subject)
	if errors.Is(err, errNoMessage) {
		return nil, 1, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the end of the log of %s: %w", subject, err)
	}
	c, err := logChunk(newest)
	if err != nil {
		return nil, 0, err
	}
	chunks, lines := []jobs.LogChunk{c}, len(c.Lines)
	for end, window := newest.seq, uint64(tailWindow); lines < n && end > 1 && chunks[0].First > 1; window *= tailGrowth {
		r := reading{from: end - min(window, end-1), to: end, filter: subject}
		var before []jobs.LogChunk
		for m, err := range l.stream.read(ctx, r) {
			if err == nil {
				c, err = logChunk(m)
			}
			if err != nil {
				return nil, 0, err
			}
			before, lines = append(before, c), lines+len(c.Lines)
		}
		chunks, end = append(before, chunks...), r.from
	}
	for over := lines - n; over > 0; {
		first := &chunks[0]
		cut := min(over, len(first.Lines))
		first.First, first.Lines, over = first.First+cut, first.Lines[cut:], over-cut
		if len(first.Lines) == 0 {
			chunks = chunks[1:]
		}
	}
	return chunks, newest.seq + 1, nil
}
