package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// A loop calls handle for each key that is added, never twice at once for one key. handle says after what time to call it again at the
// latest, or with a *Later before when not to; after any other error or a panic it is called again with backoff. Adding a key that waits
// already does nothing.
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
	queued    bool // in ready
	running   bool
	dirty     bool // added while running
	news      bool // there were news while it ran
	errors    int
	tried     time.Time // when it was handled last
	notBefore time.Time // set by an error or a *Later
	timer     *time.Timer
}

const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = time.Minute
	// newsWait is how long after an error a key waits when there are news about it.
	newsWait = 2 * time.Second
)

func newLoop(name string, log *slog.Logger, handle func(context.Context, string) (time.Duration, error)) *loop {
	l := &loop{name: name, handle: handle, log: log, known: map[string]*loopKey{}}
	l.cond = sync.NewCond(&l.mu)
	return l
}

// add asks for the key to be handled soon. What waits after an error goes on waiting.
func (l *loop) add(key string) { l.touch(key, false) }

// changed is add for a key whose record changed: a wait after an error or a *Later is cut short to newsWait.
func (l *loop) changed(key string) { l.touch(key, true) }

func (l *loop) touch(key string, news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.known[key]
	if k == nil {
		k = &loopKey{}
		l.known[key] = k
	}
	switch {
	case k.running:
		k.dirty, k.news = true, k.news || news
	case !k.queued:
		if news {
			k.hasten()
		}
		l.next(key, k, 0)
	}
}

// hasten lets a key wait no longer than news have to.
func (k *loopKey) hasten() {
	if soon := k.tried.Add(newsWait); k.notBefore.After(soon) {
		k.notBefore = soon
	}
}

// next has the key handled after a while, and no sooner than it may be. l.mu is held.
func (l *loop) next(key string, k *loopKey, after time.Duration) {
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	if after = max(after, time.Until(k.notBefore)); after > 0 {
		k.timer = time.AfterFunc(after, func() { l.add(key) })
		return
	}
	k.queued = true
	l.ready = append(l.ready, key)
	l.cond.Signal()
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

// one handles the next key. It returns false when the loop has stopped.
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
	k.queued, k.running, k.dirty, k.news = false, true, false, false
	l.mu.Unlock()

	var again time.Duration
	err := guarded(func() (err error) {
		again, err = l.handle(ctx, key)
		return err
	})

	l.mu.Lock()
	defer l.mu.Unlock()
	k.running, k.tried, k.notBefore = false, time.Now(), time.Time{}
	var later *Later
	switch {
	case err == nil || ctx.Err() != nil:
		k.errors = 0
	case errors.As(err, &later):
		k.errors, again = 0, max(later.After, time.Second)
		k.notBefore = k.tried.Add(again)
		l.log.DebugContext(ctx, l.name+": must wait", "key", key, "for", again, "reason", later.Reason)
	default:
		k.errors++
		if again <= 0 {
			again = backoff(k.errors, backoffFirst, backoffMost)
		}
		k.notBefore = k.tried.Add(again)
		l.log.WarnContext(ctx, l.name+": will try again", "key", key, "in", again, "error", err)
	}
	if k.news {
		k.hasten()
	}
	switch {
	case l.stopped:
	case k.dirty:
		l.next(key, k, 0)
	case again > 0:
		l.next(key, k, again)
	default:
		delete(l.known, key)
	}
	return true
}

// guarded calls do; a panic in it is an error of ours that says where.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
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
