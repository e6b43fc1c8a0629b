package queue

import (
	"context"
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

func (l logs) Read(ctx context.Context, key jobs.LogKey, follow bool, each func(jobs.LogChunk) error) error {
	subject, err := logSubject(key)
	if err != nil {
		return err
	}
	r := reading{from: 1, filter: subject}
	if !follow {
		for m, err := range l.stream.read(ctx, r) {
			if err == nil {
				_, err = l.hand(m, each)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	for m := range l.q.tail(ctx, l.stream, r) {
		if last, err := l.hand(m, each); last || err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (l logs) hand(m message, each func(jobs.LogChunk) error) (last bool, err error) {
	var chunk jobs.LogChunk
	if err := decode(m, &chunk); err != nil {
		return false, fmt.Errorf("read the log of %s: %w", m.subject, err)
	}
	return chunk.Last, each(chunk)
}
