package jobs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A loop calls one function for keys that may need attention: never twice at once for the same key, again after a
// while when the function says so, and with backoff when it errs. Adding a key that waits already costs nothing.
type loop struct {
	name   string
	handle func(ctx context.Context, key string) (again time.Duration, err error)
	log    *slog.Logger

	mu      sync.Mutex
	cond    *sync.Cond
	ready   []string
	known   map[string]*loopKey
	stopped bool
}

type loopKey struct {
	queued  bool // in ready
	running bool
	dirty   bool // added while running
	errors  int
	timer   *time.Timer
}

const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = time.Minute
)

func newLoop(name string, log *slog.Logger, handle func(context.Context, string) (time.Duration, error)) *loop {
	l := &loop{name: name, handle: handle, log: log, known: map[string]*loopKey{}}
	l.cond = sync.NewCond(&l.mu)
	return l
}

// add asks for the key to be handled soon.
func (l *loop) add(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.known[key]
	if k == nil {
		k = &loopKey{}
		l.known[key] = k
	}
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	switch {
	case k.running:
		k.dirty = true
	case !k.queued:
		k.queued = true
		l.ready = append(l.ready, key)
		l.cond.Signal()
	}
}

// run handles keys with the given number of workers until ctx is done and all have returned.
func (l *loop) run(ctx context.Context, workers int) {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.stopped = true
		for _, k := range l.known {
			if k.timer != nil {
				k.timer.Stop()
			}
		}
		l.cond.Broadcast()
	})
	defer stop()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for l.one(ctx) {
			}
		})
	}
	wg.Wait()
}

func (l *loop) one(ctx context.Context) bool {
	l.mu.Lock()
	for len(l.ready) == 0 && !l.stopped {
		l.cond.Wait()
	}
	if l.stopped {
		l.mu.Unlock()
		return false
	}
	key := l.ready[0]
	l.ready = l.ready[1:]
	k := l.known[key]
	k.queued, k.running, k.dirty = false, true, false
	l.mu.Unlock()

	again, err := l.handle(ctx, key)

	l.mu.Lock()
	defer l.mu.Unlock()
	k.running = false
	if err != nil && ctx.Err() == nil {
		k.errors++
		if again <= 0 {
			again = backoff(k.errors, backoffFirst, backoffMost)
		}
		l.log.WarnContext(ctx, l.name+": will try again", "key", key, "in", again, "error", err)
	} else {
		k.errors = 0
	}
	switch {
	case l.stopped:
	case k.dirty:
		k.queued = true
		l.ready = append(l.ready, key)
		l.cond.Signal()
	case again > 0:
		k.timer = time.AfterFunc(again, func() { l.add(key) })
	default:
		delete(l.known, key)
	}
	return true
}

// backoff is first, doubled with every further failure, at most most.
func backoff(failures int, first, most time.Duration) time.Duration {
	d := first
	for range failures - 1 {
		if d *= 2; d >= most {
			return most
		}
	}
	return d
}
