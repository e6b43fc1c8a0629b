package githubapp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/slipway-ci/slipway/jobs"
)

// What one installation may ask of GitHub ("Rate limits for the REST API", section on secondary limits), with room left:
// at most 100 requests at once, 900 points a minute with 1 for reading and 5 for writing, 80 writes of content a minute.
const (
	maxConcurrent  = 20
	pointsRate     = 750.0 / 60 // a second
	pointsBurst    = 150        // 750 and 150 make 900 in any minute
	readPoints     = 1
	writePoints    = 5
	writesRate     = 60.0 / 60 // a second
	writesBurst    = 20        // 60 and 20 make 80 in any minute
	spacedWrites   = time.Second
	spacedFor      = 10 * time.Minute // after a complaint of GitHub's
	secondaryFirst = time.Minute
	secondaryMost  = 30 * time.Minute
	limitLeast     = time.Second // a limit that is over already, by our clock, still holds this long
	limitMost      = 2 * time.Hour
	troubleFirst   = time.Second
	troubleMost    = time.Minute
)

// A budget is what one installation may still ask, and what GitHub said about that. Everything that is sent for the
// installation passes one budget; one installation's limit does not slow another.
type budget struct {
	now     func() time.Time
	slots   chan struct{} // requests in flight
	writing chan struct{} // one write at a time, as GitHub advises

	points *rate.Limiter
	writes *rate.Limiter

	mu         sync.Mutex
	until      time.Time // no call before
	reason     string    // why
	complaints int       // secondary limits in a row
	complained time.Time // the last of them
	wrote      time.Time
	troubles   int // server errors in a row
}

func newBudget(now func() time.Time) *budget {
	return &budget{
		now: now, slots: make(chan struct{}, maxConcurrent), writing: make(chan struct{}, 1),
		points: rate.NewLimiter(pointsRate, pointsBurst), writes: rate.NewLimiter(writesRate, writesBurst),
	}
}

// enter waits for a free slot and books the call. When the call may not be made now it returns a *jobs.Later at once.
// Otherwise leave must be called when the answer is there.
func (b *budget) enter(ctx context.Context, write bool) (leave func(), err error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	if write {
		select {
		case b.writing <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		if write {
			<-b.writing
		}
		return nil, ctx.Err()
	}
	leave = func() {
		<-b.slots
		if write {
			<-b.writing
		}
	}
	if err := b.book(write); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// open reports whether GitHub takes calls at all, as far as it said.
func (b *budget) open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if wait := b.until.Sub(b.now()); wait > 0 {
		return &jobs.Later{After: wait, Reason: b.reason}
	}
	return nil
}

func (b *budget) book(write bool) error {
	if err := b.open(); err != nil { // it may have closed while we waited for a slot
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	points := readPoints
	if write {
		points = writePoints
		if b.complaints > 0 || now.Sub(b.complained) < spacedFor {
			if wait := b.wrote.Add(spacedWrites).Sub(now); wait > 0 {
				return &jobs.Later{After: wait, Reason: "GitHub asked this installation to write more slowly"}
			}
		}
		if wait := reserve(b.writes, now, 1); wait > 0 {
			return &jobs.Later{After: wait, Reason: "this installation's GitHub writes of the minute are used up"}
		}
		b.wrote = now
	}
	if wait := reserve(b.points, now, points); wait > 0 {
		return &jobs.Later{After: wait, Reason: "this installation's GitHub calls of the minute are used up"}
	}
	return nil
}

// reserve takes n from the limiter, or nothing and tells how long to wait.
func reserve(limiter *rate.Limiter, now time.Time, n int) time.Duration {
	booking := limiter.ReserveN(now, n)
	wait := booking.DelayFrom(now)
	if wait > 0 {
		booking.CancelAt(now)
	}
	return wait
}

// spare reports whether there is room for a write that could as well be left out, so that progress never takes the
// place of a final state.
func (b *budget) spare() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	return !now.Before(b.until) && b.writes.TokensAt(now) > writesBurst/2 && b.points.TokensAt(now) > pointsBurst/2
}

// limited notes a rate limit and says how long to wait.
func (b *budget) limited(l limit) *jobs.Later {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	kind := "rate limit"
	if l.secondary {
		kind = "secondary rate limit"
		if now.After(b.until) { // answers to calls that were under way together count once
			b.complaints++
		}
		b.complained = now
	}
	until := l.until
	if until.IsZero() {
		until = now.Add(grow(secondaryFirst, secondaryMost, b.complaints))
	}
	until = clamp(until, now.Add(limitLeast), now.Add(limitMost))
	if until.After(b.until) {
		b.until = until
		b.reason = fmt.Sprintf("GitHub's %s for this installation holds until %s", kind, until.UTC().Format("15:04:05 MST"))
	}
	return &jobs.Later{After: b.until.Sub(now), Reason: b.reason}
}

// spent notes that an answer used up the last call before the reset.
func (b *budget) spent(reset time.Time) { _ = b.limited(limit{until: reset}) }

// answered notes a call that GitHub took.
func (b *budget) answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints, b.troubles = 0, 0
}

// failed notes a server error or a lost connection and suggests how long to wait.
func (b *budget) failed() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles++
	wait := grow(troubleFirst, troubleMost, b.troubles)
	return wait/2 + rand.N(wait/2+1) // spread, so that not all come back at the same moment
}

// grow is first, doubled for every further time, at most most.
func grow(first, most time.Duration, times int) time.Duration {
	for ; times > 1 && first < most; times-- {
		first *= 2
	}
	return min(first, most)
}

func clamp(t, least, most time.Time) time.Time {
	if t.Before(least) {
		return least
	}
	if t.After(most) {
		return most
	}
	return t
}
