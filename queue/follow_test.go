package queue

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// follow runs Follow until stop is called, which returns when it has ended.
func follow(t *testing.T, q *Queue, handle func(context.Context, jobs.Delivery) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Follow(ctx, handle) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; ctx.Err() == nil || err == nil {
				t.Errorf("Follow ended with %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// collect waits for n deliveries, each once.
func collect(t *testing.T, came <-chan jobs.Delivery, n int) map[string]jobs.Delivery {
	t.Helper()
	ctx, got := within(t), map[string]jobs.Delivery{}
	for len(got) < n {
		select {
		case d := <-came:
			if _, double := got[d.GUID]; double {
				t.Fatalf("%s came twice", d.GUID)
			}
			got[d.GUID] = d
		case <-ctx.Done():
			t.Fatalf("%d deliveries of %d came", len(got), n)
		}
	}
	return got
}

func testFollow(t *testing.T, open opener) {
	q := open(t, Limits{})
	const before, after = 100, 20
	for i := range before - 1 {
		accept(t, q, delivery(i, fmt.Append(nil, "body ", i)))
	}
	large := delivery(before-1, randomBytes(7<<20))
	accept(t, q, large)
	came := make(chan jobs.Delivery, before+after)
	follow(t, q, func(_ context.Context, d jobs.Delivery) error { came <- d; return nil })
	got := collect(t, came, before)
	for i := range before - 1 {
		sameDelivery(t, got[guid(i)], delivery(i, fmt.Append(nil, "body ", i)))
	}
	sameDelivery(t, got[large.GUID], large)
	for i := before; i < before+after; i++ {
		accept(t, q, delivery(i, nil))
	}
	collect(t, came, after)
	select {
	case d := <-came:
		t.Fatalf("%s came without being sent", d.GUID)
	default:
	}
}

func testFollowErrors(t *testing.T, open opener) {
	q := open(t, Limits{})
	const all = 3 * followers
	for i := range all {
		accept(t, q, delivery(i, nil))
	}
	// More fail than are handled at once, and still the others come. Each comes again: the one that names a time not
	// before it, the others after about a second.
	var mu sync.Mutex
	tries := map[string][]time.Time{}
	good, again := make(chan jobs.Delivery, all), make(chan jobs.Delivery, all)
	const pause = 2 * time.Second
	follow(t, q, func(_ context.Context, d jobs.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		tries[d.GUID] = append(tries[d.GUID], time.Now())
		var i int
		_, _ = fmt.Sscanf(d.GUID[len(d.GUID)-12:], "%d", &i)
		switch {
		case i%3 != 0:
			good <- d
			return nil
		case len(tries[d.GUID]) > 1:
			again <- d
			return nil
		case i == 0:
			return fmt.Errorf("handle: %w", &jobs.Later{After: pause, Reason: "it is another's turn"})
		}
		return errNotYet
	})
	collect(t, good, all/3*2)
	collect(t, again, all/3)
	mu.Lock()
	defer mu.Unlock()
	for id, at := range tries {
		if len(at) > 1 && at[1].Sub(at[0]) < retryFirst*3/4 {
			t.Errorf("%s came again after %v", id, at[1].Sub(at[0]))
		}
	}
	if at := tries[guid(0)]; at[1].Sub(at[0]) < pause {
		t.Errorf("what asked for %v came again after %v", pause, at[1].Sub(at[0]))
	}
}

func testWatermark(t *testing.T, open opener) {
	q := open(t, Limits{})
	const all = 60
	for i := range all {
		accept(t, q, delivery(i, nil))
	}
	accept(t, q, delivery(all, randomBytes(7<<20)))
	// All but two are decided; one of these is the large one. Only what is not below them comes again.
	held := map[string]bool{guid(5): true, guid(all): true}
	came := make(chan jobs.Delivery, 2*all)
	stop := follow(t, q, func(_ context.Context, d jobs.Delivery) error {
		if held[d.GUID] {
			return errNotYet
		}
		came <- d
		return nil
	})
	collect(t, came, all-1)
	stop()

	shards := map[stream]bool{q.shard(guid(5)): true, q.shard(guid(all)): true}
	second := make(chan jobs.Delivery, 2*all)
	stop = follow(t, q, func(_ context.Context, d jobs.Delivery) error { second <- d; return nil })
	for open := len(held); open > 0; {
		select {
		case d := <-second:
			if !shards[q.shard(d.GUID)] {
				t.Fatalf("%s came again, from a shard where all was decided", d.GUID)
			}
			if held[d.GUID] {
				open--
			}
		case <-within(t).Done():
			t.Fatal("what was not decided did not come again")
		}
	}
	accept(t, q, delivery(all+1, nil))
	for d := range second {
		if d.GUID == guid(all+1) {
			break
		}
	}
	stop()

	// Now all is decided, and only what is new comes.
	third := make(chan jobs.Delivery, 2*all)
	follow(t, q, func(_ context.Context, d jobs.Delivery) error { third <- d; return nil })
	accept(t, q, delivery(all+2, nil))
	if d := <-third; d.GUID != guid(all+2) {
		t.Fatalf("%s came again", d.GUID)
	}
}

func testEviction(t *testing.T, open opener) {
	ctx, q := within(t), open(t, Limits{Deliveries: minLimit})
	const size = 60 << 10
	n, undecided := 0, map[string]bool{}
	fill := func() error {
		for range 10 * minLimit << 20 / size {
			if _, err := q.Accept(ctx, delivery(n, randomBytes(size))); err != nil {
				return err
			}
			undecided[guid(n)] = true
			n++
		}
		return nil
	}
	mustBe(t, fill(), ErrFull) // nothing was decided, so nothing may go
	for id := range undecided {
		_, err := q.Delivery(ctx, id)
		must(t, err)
	}
	// Every fifth stays undecided: the others make room, these stay.
	stays := map[string]bool{}
	for i := 0; i < n; i += 5 {
		stays[guid(i)] = true
	}
	decided := make(chan jobs.Delivery, n)
	follow(t, q, func(_ context.Context, d jobs.Delivery) error {
		if stays[d.GUID] {
			return &jobs.Later{After: time.Hour, Reason: "the test wants it so"}
		}
		decided <- d
		return nil
	})
	collect(t, decided, n-len(stays))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for { // eviction comes about once a second
		worst := uint64(0)
		for _, s := range q.shards {
			state, err := s.state(ctx)
			must(t, err)
			worst = max(worst, state.bytes)
		}
		if worst <= uint64(q.shardLimit)/4*3 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("a shard holds %d bytes of %d, although most is decided", worst, q.shardLimit)
		}
	}
	for id := range stays {
		_, err := q.Delivery(ctx, id)
		must(t, err)
	}
	accept(t, q, delivery(n, randomBytes(size)))
}
