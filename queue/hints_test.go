package queue

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func testHints(t *testing.T, open opener) {
	ctx, h := within(t), open(t, Limits{}).Hints()
	build := jobs.Hint{Kind: "build", Run: "r-1", Job: "image"}
	deploy := jobs.Hint{Kind: "deploy", Run: "r-1", Job: "image"}

	// Take waits for what is to come.
	type taken struct {
		hint jobs.Hint
		ack  func(context.Context) error
		err  error
	}
	came := make(chan taken)
	go func() {
		hint, ack, err := h.Take(ctx, "deploy")
		came <- taken{hint, ack, err}
	}()
	must(t, h.Offer(ctx, build))
	must(t, h.Offer(ctx, build)) // replaces the first
	must(t, h.Offer(ctx, deploy))
	first := <-came
	must(t, first.err)
	equal(t, "hint", first.hint, deploy)
	must(t, first.ack(ctx))

	hint, ack, err := h.Take(ctx, "build")
	must(t, err)
	equal(t, "hint", hint, build)
	nothing(t, h, "build") // it is with us
	must(t, ack(ctx))
	nothing(t, h, "build")
	nothing(t, h, "deploy")

	// After the acknowledgement the same job may be offered again.
	must(t, h.Offer(ctx, build))
	_, ack, err = h.Take(ctx, "build")
	must(t, err)
	must(t, ack(ctx))

	// Many takers share many hints; none comes twice.
	const hints, takers = 50, 5
	var mu sync.Mutex
	seen := map[jobs.Hint]int{}
	var all, wg sync.WaitGroup
	all.Add(hints)
	end, cancel := context.WithCancel(ctx)
	for range takers {
		wg.Go(func() {
			for {
				hint, ack, err := h.Take(end, "build")
				if end.Err() != nil {
					return
				}
				if err == nil {
					err = ack(ctx)
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen[hint]++
				mu.Unlock()
				all.Done()
			}
		})
	}
	for i := range hints {
		must(t, h.Offer(ctx, jobs.Hint{Kind: "build", Run: "r-2", Job: fmt.Sprint("leg-", i)}))
	}
	all.Wait()
	cancel()
	wg.Wait()
	equal(t, "hints taken", len(seen), hints)
}

// nothing checks that there is no hint to take.
func nothing(t *testing.T, h jobs.Hints, kind jobs.KindName) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	hint, _, err := h.Take(ctx, kind)
	if err == nil {
		t.Fatalf("got %v, want nothing", hint)
	}
	mustBe(t, err, context.DeadlineExceeded)
}

func testHintAgain(t *testing.T, open opener) {
	ctx, h := within(t), open(t, Limits{}).Hints()
	const wait = time.Second
	switch h := h.(type) {
	case *streamHints:
		h.wait = wait
	case *memoryHints:
		h.wait = wait
	}
	hint := jobs.Hint{Kind: "build", Run: "r-1", Job: "image"}
	must(t, h.Offer(ctx, hint))
	start := time.Now()
	_, lost, err := h.Take(ctx, "build")
	must(t, err)
	again, ack, err := h.Take(ctx, "build")
	must(t, err)
	equal(t, "hint", again, hint)
	if took := time.Since(start); took < wait/2 {
		t.Fatalf("it came again after %v, not after %v", took, wait)
	}
	must(t, ack(ctx))
	must(t, lost(ctx)) // late, and without a meaning
	nothing(t, h, "build")

	// One that is replaced while it is with someone is offered at once.
	must(t, h.Offer(ctx, hint))
	_, lost, err = h.Take(ctx, "build")
	must(t, err)
	must(t, h.Offer(ctx, hint))
	_, ack, err = h.Take(ctx, "build")
	must(t, err)
	must(t, lost(ctx))
	must(t, ack(ctx))
	nothing(t, h, "build")
}
