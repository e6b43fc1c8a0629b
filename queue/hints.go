package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-ci/slipway/jobs"
)

// hintWait is how long a hint may stay with a worker that does not acknowledge it.
const hintWait = 30 * time.Second

// Hints returns the work hints. One not acknowledged is offered again after 30 s, one never taken goes after 7 days.
func (q *Queue) Hints() jobs.Hints { return q.hints }

func hintSubject(h jobs.Hint) (string, error) { return tokens(string(h.Kind), h.Run, h.Job) }

// streamHints are hints on a work-queue stream, one subject per job, one consumer per kind.
type streamHints struct {
	stream *jetStream
	log    *slog.Logger
	wait   time.Duration // how long a hint may stay with who took it

	mu    sync.Mutex
	kinds map[jobs.KindName]jetstream.Consumer
}

func (h *streamHints) Offer(ctx context.Context, hint jobs.Hint) error {
	subject, err := hintSubject(hint)
	if err != nil {
		return err
	}
	w, err := encode(subject, hint)
	if err == nil {
		_, err = h.stream.write(ctx, w)
	}
	if err != nil {
		return fmt.Errorf("offer %s: %w", subject, err)
	}
	return nil
}

func (h *streamHints) Take(ctx context.Context, kind jobs.KindName) (jobs.Hint, func(context.Context) error, error) {
	if _, err := tokens(string(kind)); err != nil {
		return jobs.Hint{}, nil, err
	}
	for {
		consumer, err := h.consumer(ctx, kind)
		if err != nil {
			return jobs.Hint{}, nil, fmt.Errorf("take a hint of kind %s: %w", kind, err)
		}
		m, err := next(ctx, consumer)
		switch {
		case ctx.Err() != nil:
			return jobs.Hint{}, nil, ctx.Err()
		case errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrNoMessages):
			continue
		case errors.Is(err, jetstream.ErrNoHeartbeat): // the server was away, and our request with it
			h.forget(kind)
			continue
		case err != nil:
			h.forget(kind)
			return jobs.Hint{}, nil, fmt.Errorf("take a hint of kind %s: %w", kind, h.stream.explain(err))
		}
		var hint jobs.Hint
		if err := json.Unmarshal(m.Data(), &hint); err != nil {
			h.log.Warn("a work hint can't be read and is dropped", "subject", m.Subject(), "error", err)
			_ = m.Term() // if this is lost, it comes again and is dropped again
			continue
		}
		return hint, func(context.Context) error { return m.Ack() }, nil
	}
}

// next asks for one message and waits for it, at most 30 s.
func next(ctx context.Context, c jetstream.Consumer) (jetstream.Msg, error) {
	// The client takes a context's deadline for the time the server should wait, and refuses one that is over.
	endless, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	return c.Next(jetstream.FetchContext(endless), jetstream.FetchHeartbeat(heartbeat))
}

func (h *streamHints) consumer(ctx context.Context, kind jobs.KindName) (jetstream.Consumer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.kinds[kind]; c != nil {
		return c, nil
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	c, err := h.stream.js.CreateOrUpdateConsumer(ctx, h.stream.handle.CachedInfo().Config.Name, jetstream.ConsumerConfig{
		Durable:       "work_" + string(kind),
		FilterSubject: h.stream.subject + string(kind) + ".>",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       h.wait,
		MaxDeliver:    -1,
		MaxAckPending: -1,
		MaxWaiting:    4096,
	})
	if err != nil {
		return nil, h.stream.explain(err)
	}
	h.kinds[kind] = c
	return c, nil
}

func (h *streamHints) forget(kind jobs.KindName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.kinds, kind)
}

// memoryHints are hints in memory.
type memoryHints struct {
	wait time.Duration

	mu      sync.Mutex
	kinds   map[jobs.KindName][]*memoryHint // in the order they were offered
	changed chan struct{}
}

type memoryHint struct {
	jobs.Hint
	taken time.Time // zero when it waits
}

func newMemoryHints() *memoryHints {
	return &memoryHints{wait: hintWait, kinds: map[jobs.KindName][]*memoryHint{}, changed: make(chan struct{})}
}

func (h *memoryHints) Offer(ctx context.Context, hint jobs.Hint) error {
	if _, err := hintSubject(hint); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(func(o *memoryHint) bool { return o.Hint == hint }, hint.Kind)
	h.kinds[hint.Kind] = append(h.kinds[hint.Kind], &memoryHint{Hint: hint})
	close(h.changed)
	h.changed = make(chan struct{})
	return ctx.Err()
}

func (h *memoryHints) remove(which func(*memoryHint) bool, kind jobs.KindName) {
	kept := h.kinds[kind][:0:0]
	for _, o := range h.kinds[kind] {
		if !which(o) {
			kept = append(kept, o)
		}
	}
	h.kinds[kind] = kept
}

func (h *memoryHints) Take(ctx context.Context, kind jobs.KindName) (jobs.Hint, func(context.Context) error, error) {
	if _, err := tokens(string(kind)); err != nil {
		return jobs.Hint{}, nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return jobs.Hint{}, nil, err
		}
		found, wait, changed := h.next(kind)
		if found != nil {
			ack := func(context.Context) error {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.remove(func(o *memoryHint) bool { return o == found }, kind)
				return nil
			}
			return found.Hint, ack, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// next takes a hint that waits, or tells how long the first that is taken may stay with its worker.
func (h *memoryHints) next(kind jobs.KindName) (*memoryHint, time.Duration, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := h.wait
	for _, o := range h.kinds[kind] {
		left := h.wait - time.Since(o.taken)
		if o.taken.IsZero() || left <= 0 {
			o.taken = time.Now()
			return o, 0, nil
		}
		wait = min(wait, left)
	}
	return nil, wait, h.changed
}
