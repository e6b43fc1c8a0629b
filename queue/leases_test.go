package queue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func testLeases(t *testing.T, open opener) {
	ctx, l := within(t), open(t, Limits{}).Leases()
	const long = time.Minute

	_, err := l.Holder(ctx, "leader")
	mustBe(t, err, jobs.ErrNotFound)
	_, err = l.Renew(ctx, "leader", "a", long, 1)
	mustBe(t, err, jobs.ErrConflict)
	must(t, l.Release(ctx, "leader", 1))

	first, err := l.Acquire(ctx, "leader", "a", long)
	must(t, err)
	_, err = l.Acquire(ctx, "leader", "b", long)
	mustBe(t, err, jobs.ErrExists)
	_, err = l.Acquire(ctx, "leader", "a", long)
	mustBe(t, err, jobs.ErrExists)
	other, err := l.Acquire(ctx, "claim.r-1.build", "b", long)
	must(t, err)
	holder, err := l.Holder(ctx, "leader")
	must(t, err)
	equal(t, "holder", holder, "a")

	second, err := l.Renew(ctx, "leader", "a", long, first)
	must(t, err)
	if second <= first {
		t.Fatalf("revision %d does not follow %d", second, first)
	}
	_, err = l.Renew(ctx, "leader", "a", long, first)
	mustBe(t, err, jobs.ErrConflict)
	must(t, l.Release(ctx, "leader", first)) // not the newest: nothing happens
	holder, err = l.Holder(ctx, "leader")
	must(t, err)
	equal(t, "holder", holder, "a")

	must(t, l.Release(ctx, "leader", second))
	must(t, l.Release(ctx, "leader", second))
	_, err = l.Holder(ctx, "leader")
	mustBe(t, err, jobs.ErrNotFound)
	_, err = l.Renew(ctx, "leader", "a", long, second)
	mustBe(t, err, jobs.ErrConflict)
	third, err := l.Acquire(ctx, "leader", "b", long)
	must(t, err)
	if third <= second {
		t.Fatalf("the new holder's revision %d does not fence the old one's %d", third, second)
	}
	_, err = l.Renew(ctx, "claim.r-1.build", "b", long, other)
	must(t, err)
}

func testLeaseExpiry(t *testing.T, open opener) {
	ctx, l := within(t), open(t, Limits{}).Leases()
	const ttl = 2 * time.Second
	start := time.Now()
	lost, err := l.Acquire(ctx, "lost", "a", ttl)
	must(t, err)
	renewed := time.Now() // when the last renewal began, at the latest
	kept, err := l.Acquire(ctx, "kept", "a", ttl)
	must(t, err)
	// keep renews, and begins anew when the test itself stood still for so long that the lease rightly ended.
	keep := func() {
		t.Helper()
		late, before := time.Now(), renewed
		revision, err := l.Renew(ctx, "kept", "a", ttl, kept)
		if errors.Is(err, jobs.ErrConflict) && time.Since(before) >= ttl {
			late = time.Now()
			revision, err = l.Acquire(ctx, "kept", "a", ttl)
		}
		must(t, err)
		kept, renewed = revision, late
	}

	// One is renewed, the other not: it goes when its time has passed, not before.
	renew := time.NewTicker(ttl / 4)
	defer renew.Stop()
	for {
		_, err := l.Holder(ctx, "lost")
		if errors.Is(err, jobs.ErrNotFound) {
			break
		}
		must(t, err)
		select {
		case <-renew.C:
			keep()
		case <-ctx.Done():
			t.Fatal("the lease did not end")
		}
	}
	if held := time.Since(start); held < ttl {
		t.Fatalf("the lease of %v ended after %v", ttl, held)
	}
	_, err = l.Renew(ctx, "lost", "a", ttl, lost)
	mustBe(t, err, jobs.ErrConflict)
	next, err := l.Acquire(ctx, "lost", "b", time.Minute)
	must(t, err)
	if next <= lost {
		t.Fatalf("the new holder's revision %d does not fence the old one's %d", next, lost)
	}
	_, err = l.Renew(ctx, "lost", "a", ttl, lost)
	mustBe(t, err, jobs.ErrConflict)
	for time.Since(start) < 3*ttl { // the renewals count: it is still held long after its first time
		<-renew.C
		keep()
	}
	holder, err := l.Holder(ctx, "kept")
	if errors.Is(err, jobs.ErrNotFound) && time.Since(renewed) >= ttl {
		return // as above
	}
	must(t, err)
	equal(t, "holder", holder, "a")
}

// In a synctest bubble the memory queue's time is the bubble's: whole days of leases, hints and retries pass at once.
func TestMemoryInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, ctx := Memory(), t.Context()
		_, err := q.Leases().Acquire(ctx, "leader", "a", time.Hour)
		must(t, err)
		time.Sleep(time.Hour - 1) //nolint:forbidigo // the bubble's time
		_, err = q.Leases().Acquire(ctx, "leader", "b", time.Hour)
		mustBe(t, err, jobs.ErrExists)
		time.Sleep(time.Nanosecond) //nolint:forbidigo // the bubble's time
		_, err = q.Leases().Acquire(ctx, "leader", "b", time.Hour)
		must(t, err)

		hint := jobs.Hint{Kind: "build", Run: "r-1", Job: "image"}
		must(t, q.Hints().Offer(ctx, hint))
		start := time.Now()
		for i := range 3 { // nobody acknowledges
			_, _, err := q.Hints().Take(ctx, "build")
			must(t, err)
			equal(t, "waited", time.Since(start), time.Duration(i)*hintWait)
		}

		accept(t, q, delivery(1, nil))
		following, cancel := context.WithCancel(ctx)
		defer cancel()
		var tries []time.Time
		err = q.Follow(following, func(context.Context, jobs.Delivery) error {
			if tries = append(tries, time.Now()); len(tries) == 20 {
				cancel()
			}
			return errNotYet
		})
		mustBe(t, err, context.Canceled)
		for i := range tries[1:] {
			most := min(retryFirst<<i, retryMost)
			if pause := tries[i+1].Sub(tries[i]); pause > most || pause < most*4/5-1 {
				t.Errorf("pause %d was %v, want at most %v and at least four fifths of it", i, pause, most)
			}
		}
	})
}
