package githubapp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// What one installation may ask of GitHub ("Rate limits for the REST API", section on secondary limits): at most 100
// requests at once, 900 points a minute with 1 for reading and 5 for writing, 80 creations of content a minute and 500
// an hour. Of what may be asked in a window, a part is there at once and the rest comes in evenly.
const (
	maxConcurrent  = 20
	pointsMinute   = 900
	pointsBurst    = 300
	readPoints     = 1
	writePoints    = 5
	contentMinute  = 80
	contentBurst   = 50
	contentHour    = 500
	hourBurst      = 200
	spacedWrites   = time.Second
	spacedFor      = 10 * time.Minute // after a complaint of GitHub's
	secondaryFirst = time.Minute
	secondaryMost  = 30 * time.Minute
	limitLeast     = time.Second // shortest wait, also for a limit that by our clock has ended
	limitMost      = 2 * time.Hour
	troubleFirst   = time.Second
	troubleMost    = time.Minute
	sameReset      = time.Minute // reset times closer together than this belong to the same hour
	maxHeld        = 1000        // calls held back that are remembered
)

// A budget is what one installation may still ask, and what GitHub said about that. Everything that is
// sent for the installation passes one budget; one installation's limit does not slow another.
type budget struct {
	now   func() time.Time
	slots chan struct{} // requests in flight

	mu      sync.Mutex
	account string
	ownApp  bool // the App speaks for itself: what it creates are tokens, which are no content
	writing writeQueue
	points  *bucket
	minute  *bucket    // creations of content
	hour    *bucket    // the same
	spacing retryQueue // for writes, once GitHub complained

	until      time.Time // no call before
	reason     string    // why
	complaints int       // secondary limits in a row
	complained time.Time // the last of them
	wrote      time.Time
	troubles   int // server errors in a row

	limit     int // calls an hour; 0: GitHub has not said
	remaining int // of them
	reset     time.Time

	held map[string]heldCall // by subject
}

// A heldCall is a call that was held back.
type heldCall struct {
	until  time.Time
	reason string
}

func newBudget(now func() time.Time) *budget {
	return &budget{
		now: now, slots: make(chan struct{}, maxConcurrent), held: map[string]heldCall{},
		points: newBucket(pointsMinute, pointsBurst, time.Minute, "this installation's GitHub calls of the minute are used up"),
		minute: newBucket(contentMinute, contentBurst, time.Minute, "this installation's new checks and comments of the minute are used up"),
		hour:   newBucket(contentHour, hourBurst, time.Hour, "this installation's new checks and comments of the hour are used up"),
	}
}

// of notes whose budget it is.
func (b *budget) of(account string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.account = account
}

// enter waits for a free slot, and a write for its turn, and books the call. When the call may not be made now it returns a
// *jobs.Later at once. Otherwise leave must be called when the answer is there.
func (b *budget) enter(ctx context.Context, d demand) (leave func(), err error) {
	if err := b.open(d); err != nil {
		return nil, err
	}
	if d.write {
		if err := b.turn(ctx, d.priority); err != nil {
			return nil, err
		}
	}
	done := func() {
		if d.write {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.writing.leave()
		}
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
	leave = func() {
		<-b.slots
		done()
	}
	if err := b.book(d); err != nil { // it may have closed while we waited
		leave()
		return nil, err
	}
	return leave, nil
}

// turn waits until no other write is under way: GitHub advises to write one by one.
func (b *budget) turn(ctx context.Context, p priority) error {
	b.mu.Lock()
	in := b.writing.enter(p)
	b.mu.Unlock()
	if in == nil {
		return nil
	}
	select {
	case <-in:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.writing.giveUp(p, in) {
		b.writing.leave()
	}
	return ctx.Err()
}

// open reports whether there is room for the call, and remembers it when there is not.
func (b *budget) open(d demand) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if later, at := b.short(now, d); later != nil {
		b.hold(now, d, later, at)
		return later
	}
	return nil
}

func (b *budget) book(d demand) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if later, at := b.short(now, d); later != nil {
		b.hold(now, d, later, at)
		return later
	}
	for _, bucket := range b.buckets(d) {
		bucket.take(now, bucket.tokens, d.priority)
	}
	if d.write {
		b.wrote = now
		b.spacing.served(d.priority)
	}
	delete(b.held, d.subject)
	return nil
}

// short returns how long a call must wait, and why; nil when it may be made now. at is the line to note the wait in, nil when no
// bucket caused it.
func (b *budget) short(now time.Time, d demand) (later *jobs.Later, at *retryQueue) {
	share := priorityShares[d.priority]
	if wait := b.opens(d).Sub(now); wait > 0 {
		return &jobs.Later{After: wait, Reason: b.reason}, nil
	}
	if share.reserve > 0 && now.Before(b.reset) && b.remaining <= b.limit*share.reserve/100 {
		return &jobs.Later{After: b.reset.Sub(now), Reason: fmt.Sprintf("%d of this installation's %d GitHub calls of the hour are left; until %s they are kept for what matters more",
			b.remaining, b.limit, untilTime(b.reset))}, nil
	}
	if d.write && (b.complaints > 0 || now.Sub(b.complained) < spacedFor) {
		if wait := max(b.spacing.behind(now, d.priority), b.wrote.Add(spacedWrites).Sub(now)); wait > 0 {
			return &jobs.Later{After: wait, Reason: "GitHub asked this installation to write more slowly"}, &b.spacing
		}
	}
	for _, bucket := range b.buckets(d) {
		if wait := bucket.wait(now, bucket.tokens, d.priority); wait > 0 {
			return &jobs.Later{After: wait, Reason: bucket.reason}, &bucket.retryQueue
		}
	}
	return nil, nil
}

// opens is when the last of GitHub's limits is over for a call.
func (b *budget) opens(d demand) time.Time {
	if b.until.IsZero() || b.ownApp { // the App itself says nothing that could come first
		return b.until
	}
	return b.until.Add(priorityShares[d.priority].grace)
}

// A bucketShare is what a call takes of a bucket.
type bucketShare struct {
	*bucket
	tokens int
}

// buckets are those that a call takes from.
func (b *budget) buckets(d demand) []bucketShare {
	points := readPoints
	if d.write {
		points = writePoints
	}
	shares := []bucketShare{{b.points, points + d.reads*readPoints}}
	if d.content && !b.ownApp {
		shares = append(shares, bucketShare{b.minute, 1}, bucketShare{b.hour, 1})
	}
	return shares
}

// hold remembers a call that is held back.
func (b *budget) hold(now time.Time, d demand, later *jobs.Later, at *retryQueue) {
	if at != nil {
		at.held(now, d.priority, later.After)
	}
	if _, known := b.held[d.subject]; known || len(b.held) < maxHeld {
		b.held[d.subject] = heldCall{now.Add(later.After), later.Reason}
	}
}

// limited notes a rate limit and says how long the call that met it has to wait.
func (b *budget) limited(l limit, d demand) *jobs.Later {
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
	b.close(now, until, kind)
	later := &jobs.Later{After: b.opens(d).Sub(now), Reason: b.reason}
	b.hold(now, d, later, nil)
	return later
}

// counted notes what an answer says is left of the hour's calls. The call that uses up the last one is not refused, but
// the next would be.
func (b *budget) counted(r quota) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	sameHour := now.Before(b.reset) && r.reset.Sub(b.reset).Abs() < sameReset
	if sameHour && b.limit == r.limit {
		r.remaining = min(r.remaining, b.remaining) // answers overtake each other
	}
	b.limit, b.remaining, b.reset = r.limit, r.remaining, r.reset
	if r.remaining == 0 {
		b.close(now, r.reset, "rate limit")
	}
}

// close keeps calls back until a limit is over. Times that can't be meant are not believed.
func (b *budget) close(now, until time.Time, kind string) {
	until = clamp(until, now.Add(limitLeast), now.Add(limitMost))
	if until.After(b.until) {
		b.until = until
		b.reason = fmt.Sprintf("GitHub's %s for this installation holds until %s", kind, untilTime(until))
	}
}

// untilTime is a moment of the day as people are shown it.
func untilTime(t time.Time) string { return t.UTC().Format("15:04:05 MST") }

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
