package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// swept runs a loop of one worker for a while of the bubble's time, and has its key added every five seconds, as a leader's sweep does.
// It returns after which times the key was handled.
func swept(t *testing.T, lasting time.Duration, handle func(l *loop, call int) (time.Duration, error), meanwhile func(l *loop)) (calls []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		var l *loop
		l = newLoop("test", slog.New(slog.DiscardHandler), func(context.Context, string) (time.Duration, error) {
			calls = append(calls, time.Since(begin))
			return handle(l, len(calls))
		})
		var wg sync.WaitGroup
		wg.Go(func() { l.run(ctx, 1) })
		wg.Go(func() {
			for l.add("key"); pause(ctx, 5*time.Second); l.add("key") {
			}
		})
		if meanwhile != nil {
			wg.Go(func() { meanwhile(l) })
		}
		time.Sleep(lasting) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		cancel()
		wg.Wait()
	})
	return calls
}

func TestALoopWaitsHoweverOftenItIsSwept(t *testing.T) {
	trouble := errors.New("trouble")
	for name, c := range map[string]struct {
		handle    func(l *loop, call int) (time.Duration, error)
		meanwhile func(l *loop)
		want      string
	}{
		"errors":                   {func(*loop, int) (time.Duration, error) { return 0, trouble }, nil, "[0s 500ms 1.5s 3.5s 7.5s 15.5s 31.5s 1m3.5s 2m3.5s]"},
		"an error that tells when": {func(*loop, int) (time.Duration, error) { return time.Minute, trouble }, nil, "[0s 1m0s 2m0s]"},
		"a Later": {func(*loop, int) (time.Duration, error) {
			return 0, fmt.Errorf("ask: %w", &Later{After: 50 * time.Second})
		}, nil, "[0s 50s 1m40s]"},
		"a Later for now": {func(_ *loop, call int) (time.Duration, error) {
			if call < 3 {
				return 0, &Later{}
			}
			return 0, &Later{After: time.Hour}
		}, nil, "[0s 1s 2s]"},
		"an echo of its own change": {func(l *loop, _ int) (time.Duration, error) {
			l.add("key")
			return 0, &Later{After: time.Minute}
		}, nil, "[0s 1m0s 2m0s]"},
		"a panic": {func(_ *loop, call int) (time.Duration, error) {
			if call == 1 {
				panic("a bad record")
			}
			return 0, &Later{After: time.Hour}
		}, nil, "[0s 500ms]"},
		"news": {func(*loop, int) (time.Duration, error) { return 0, &Later{After: time.Hour} }, func(l *loop) {
			time.Sleep(12 * time.Second) //nolint:forbidigo // the bubble's time
			l.changed("key")             // is handled at once
			time.Sleep(time.Second)      //nolint:forbidigo // the bubble's time
			l.changed("key")             // comes too soon after
		}, "[0s 12s 14s]"},
		"news while it is handled": {func(l *loop, call int) (time.Duration, error) {
			if call == 1 {
				l.changed("key")
				l.add("key")
			}
			return 0, &Later{After: time.Hour}
		}, nil, "[0s 2s]"},
		// Nothing is wrong: what the sweep finds may be news that were missed.
		"looking again": {func(*loop, int) (time.Duration, error) { return 50 * time.Second, nil }, nil,
			"[0s 5s 10s 15s 20s 25s 30s 35s 40s 45s 50s 55s 1m0s 1m5s 1m10s 1m15s 1m20s 1m25s 1m30s 1m35s 1m40s 1m45s 1m50s 1m55s 2m0s]"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fmt.Sprint(swept(t, 2*time.Minute+4*time.Second, c.handle, c.meanwhile)); got != c.want {
				t.Errorf("handled after\n%s, want\n%s", got, c.want)
			}
		})
	}
}

func TestAPanicSaysWhere(t *testing.T) {
	err := guarded(func() error { panic("a bad record") })
	if err == nil || !strings.Contains(err.Error(), "a bad record") || !strings.Contains(err.Error(), "TestAPanicSaysWhere") {
		t.Errorf("%v", err)
	}
	// A planner without its records crashes at the first of them.
	if err := new(Planner).handle(t.Context(), Delivery{GUID: "guid-1"}); err == nil || !strings.Contains(err.Error(), "panic: ") {
		t.Errorf("%v", err)
	}
}

func TestAReadersCommentCountsOnce(t *testing.T) {
	var q questions
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for range 3 * readersShare { // tried again and again
		if !q.take(5, 6, 1, now) {
			t.Fatal("a comment was taken for many")
		}
		now = now.Add(time.Second)
	}
	for id := int64(2); id <= readersShare+2; id++ {
		if got, want := q.take(5, 6, id, now), id <= readersShare; got != want {
			t.Errorf("comment %d: %t, want %t", id, got, want)
		}
	}
	if !q.take(5, 7, 100, now) || !q.take(4, 6, 101, now) || !q.take(5, 6, 2, now) {
		t.Error("another account, another repository or a comment counted before was refused")
	}
	if !q.take(5, 6, 102, now.Add(time.Hour)) {
		t.Error("an hour later the share is still used up")
	}
}
