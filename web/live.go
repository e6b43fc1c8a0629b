package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/jobs"
)

// hub tells live connections that a run changed. However many there are, the store is watched once, and only while
// somebody looks.
type hub struct {
	watch func(context.Context) (<-chan string, error)
	log   *slog.Logger
	retry time.Duration // between attempts to watch

	mu   sync.Mutex
	subs map[*subscriber]struct{}
	stop context.CancelFunc
}

type subscriber struct {
	key  string // "" for every run
	wake chan struct{}
}

// subscribe returns a channel that gets a value, soon and at least once, after the run changed. The channel holds one
// value: several changes may come as one.
func (h *hub) subscribe(key string) (<-chan struct{}, func()) {
	sub := &subscriber{key, make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[*subscriber]struct{}{}
	}
	h.subs[sub] = struct{}{}
	if h.stop == nil {
		var ctx context.Context
		ctx, h.stop = context.WithCancel(context.Background())
		go h.run(ctx)
	}
	return sub.wake, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs, sub)
		if len(h.subs) == 0 && h.stop != nil {
			h.stop()
			h.stop = nil
		}
	}
}

func (h *hub) run(ctx context.Context) {
	for ctx.Err() == nil {
		keys, err := h.watch(ctx)
		if err != nil && ctx.Err() == nil {
			// Live pages still look for themselves every few seconds.
			h.log.Warn("watch runs for live pages", "error", err)
		}
		if err == nil {
			h.notify("") // of what changed while no one watched
			for key := range keys {
				h.notify(key)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(h.retry):
		}
	}
}

// notify wakes who waits for key; "" wakes all.
func (h *hub) notify(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sub := range h.subs {
		if key == "" || sub.key == "" || sub.key == key {
			select {
			case sub.wake <- struct{}{}:
			default:
			}
		}
	}
}

// A stream is one connection of server-sent events.
type stream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	wait time.Duration // for the client to take a piece
	mu   sync.Mutex    // pieces are written one by one
}

func (s *Server) stream(res *echo.Response) *stream {
	return &stream{w: res, rc: http.NewResponseController(res), wait: s.pace.write}
}

// live opens a stream and calls serve with a context that ends when the client leaves, the server closes or the
// stream has lived long enough.
func (s *Server) live(c echo.Context, serve func(ctx context.Context, st *stream) error) error {
	return s.longLived(c, func(ctx context.Context) error {
		h := c.Response().Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // nginx would gather events
		c.Response().WriteHeader(http.StatusOK)
		if c.Request().Method == http.MethodHead {
			return nil
		}
		st := s.stream(c.Response())
		err := st.write("retry: 2000\n\n")
		if err == nil {
			err = serve(ctx, st)
		}
		var gone *goneError
		if err != nil && ctx.Err() == nil && !errors.As(err, &gone) {
			s.o.Log.Warn("live page", "path", c.Request().URL.Path, "error", err)
		}
		return nil // whoever still listens connects again
	})
}

// longLived serves an answer that may take as long as a job does. It limits how many there are at once, and how long each lives.
func (s *Server) longLived(c echo.Context, serve func(ctx context.Context) error) error {
	if n := s.streams.Add(1); n > int64(s.o.MaxStreams) {
		s.streams.Add(-1)
		return refuse(http.StatusServiceUnavailable, "Too many long-lived connections are open (%d). Try again in a moment; reloading a page works.", n-1)
	}
	s.o.Metrics.streams.Inc()
	defer func() {
		s.streams.Add(-1)
		s.o.Metrics.streams.Dec()
	}()
	ctx, cancel := context.WithTimeout(c.Request().Context(), streamLife)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	return serve(ctx)
}

// goneError is a write that failed: the client left, or does not read.
type goneError struct{ error }

func (st *stream) write(text string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	// Every write of a stream proves that someone reads it, so each gets a deadline of its own.
	if err := st.rc.SetWriteDeadline(time.Now().Add(st.wait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return &goneError{err}
	}
	if _, err := st.w.Write([]byte(text)); err != nil {
		return &goneError{err}
	}
	if err := st.rc.Flush(); err != nil {
		return &goneError{err}
	}
	return nil
}

// send writes an event; its data is JSON, which has no line break.
func (st *stream) send(event, id string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", event, err)
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return st.write("event: " + event + "\n" + id + "data: " + string(text) + "\n\n")
}

func (st *stream) beat() error { return st.write(":\n\n") }

// change is what a live page is told: fetch yourself again.
type change struct {
	Revision uint64        `json:"revision"`
	State    jobs.RunState `json:"state,omitempty"`
}

// liveRun tells a run's page when the run changed, and the last lines of the jobs that run, until the run is over.
func (s *Server) liveRun(c echo.Context) error {
	id := param(c, "id")
	if _, _, err := s.findRun(c.Request().Context(), id); err != nil {
		return err
	}
	return s.live(c, func(ctx context.Context, st *stream) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		group, ctx := errgroup.WithContext(ctx)
		tails := &tailer{Server: s, st: st, group: group, running: map[jobs.LogKey]context.CancelFunc{}}
		last := change{}
		look := func() (done bool, err error) {
			run, revision, err := s.findRun(ctx, id)
			if err != nil {
				return false, err
			}
			keys := tailed(s.shapeRun(run, revision))
			tails.end(keys)
			if now := (change{revision, run.State}); now != last {
				last = now
				if err := st.send("change", "", now); err != nil {
					return false, err
				}
			}
			if run.State.Over() {
				return true, st.send("end", "", last)
			}
			tails.begin(ctx, keys) // after the event by which the page learns of these jobs
			return false, nil
		}
		group.Go(func() error {
			defer cancel()
			return s.follow(ctx, st, id, look)
		})
		return group.Wait()
	})
}

// liveRuns tells the list of runs that something changed.
func (s *Server) liveRuns(c echo.Context) error {
	return s.live(c, func(ctx context.Context, st *stream) error {
		var woken uint64
		top := ""
		return s.followAny(ctx, st, "", func(told bool) (bool, error) {
			entries, _, err := s.o.Index.Runs(ctx, 0, 1, "")
			if err != nil {
				return false, err
			}
			now := ""
			if len(entries) > 0 {
				now = entries[0].ID
			}
			if !told && now == top {
				return false, nil
			}
			top = now
			woken++
			return false, st.send("change", "", change{Revision: woken})
		})
	})
}

func (s *Server) follow(ctx context.Context, st *stream, key string, look func() (done bool, err error)) error {
	return s.followAny(ctx, st, key, func(bool) (bool, error) { return look() })
}

// followAny calls look now, when the run changes, and now and then without being told, until look is done or fails.
func (s *Server) followAny(ctx context.Context, st *stream, key string, look func(told bool) (done bool, err error)) error {
	wake, leave := s.hub.subscribe(key)
	defer leave()
	sweep, beat := time.NewTicker(s.pace.sweep), time.NewTicker(s.pace.beat)
	defer sweep.Stop()
	defer beat.Stop()
	told := true
	for {
		done, err := look(told)
		if done || err != nil {
			return err
		}
		// Many changes come close together; a person needs one look.
		if err := pause(ctx, s.pace.settle); err != nil {
			return err
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-beat.C:
				if err := st.beat(); err != nil {
					return err
				}
			case <-wake:
				told, waiting = true, false
			case <-sweep.C:
				told, waiting = false, false
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
