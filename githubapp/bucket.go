package githubapp

import (
	"time"

	"golang.org/x/time/rate"
)

// A retryQueue records, per priority, until when held-back calls are expected to come again. Until then lower priorities leave
// them what comes in.
type retryQueue [priorities]time.Time

// comeBack is the slack given to a caller to return once its wait is over: callers sleep in steps of at least a second.
const comeBack = 2 * time.Second

// behind is how long a call has to wait for those before it.
func (l *retryQueue) behind(now time.Time, p priority) time.Duration {
	for before := range p {
		if wait := l[before].Sub(now); wait > 0 {
			return wait
		}
	}
	return 0
}

// held notes that a call was held back for so long.
func (l *retryQueue) held(now time.Time, p priority, wait time.Duration) {
	l[p] = now.Add(wait + comeBack)
}

// served notes that a call was made.
func (l *retryQueue) served(p priority) { l[p] = time.Time{} }

// A bucket is one of GitHub's secondary limits: so much at once, and then so much as time passes. The two together are
// GitHub's figure for any window.
type bucket struct {
	retryQueue
	limiter *rate.Limiter
	per     time.Duration // what one token takes to come back
	reason  string        // why a call waits for it
}

func newBucket(most, burst int, window time.Duration, reason string) *bucket {
	per := window / time.Duration(most-burst)
	return &bucket{limiter: rate.NewLimiter(rate.Every(per), burst), per: per, reason: reason}
}

// wait is how long a call must wait for n tokens. Nothing is taken.
func (b *bucket) wait(now time.Time, n int, p priority) time.Duration {
	if wait := b.behind(now, p); wait > 0 {
		return wait
	}
	need := float64(n) + float64(b.limiter.Burst()*priorityShares[p].floor)/100
	if lacks := need - b.limiter.TokensAt(now); lacks > 1e-6 { // tokens are fractions: what rounds to enough is enough
		return max(time.Duration(lacks*float64(b.per)), time.Millisecond)
	}
	return 0
}

// take uses up n tokens, which wait said are there.
func (b *bucket) take(now time.Time, n int, p priority) {
	b.limiter.ReserveN(now, n)
	b.served(p)
}

// left is how many tokens there are.
func (b *bucket) left(now time.Time) int { return max(0, int(b.limiter.TokensAt(now)+1e-6)) }

// A writeQueue lets one in at a time: of those that wait, the one with the highest priority that came first. Its methods are
// called with the budget's lock held.
type writeQueue struct {
	busy    bool
	waiting [priorities][]chan struct{}
}

// enter lets the caller in, or returns what is closed when it is in.
func (q *writeQueue) enter(p priority) <-chan struct{} {
	if !q.busy {
		q.busy = true
		return nil
	}
	in := make(chan struct{})
	q.waiting[p] = append(q.waiting[p], in)
	return in
}

// leave lets the next one in.
func (q *writeQueue) leave() {
	for p := range q.waiting {
		if len(q.waiting[p]) > 0 {
			close(q.waiting[p][0])
			q.waiting[p] = q.waiting[p][1:]
			return
		}
	}
	q.busy = false
}

// give up waiting. It reports false when the caller was let in meanwhile.
func (q *writeQueue) giveUp(p priority, in <-chan struct{}) bool {
	for i, waits := range q.waiting[p] {
		if waits == in {
			q.waiting[p] = append(q.waiting[p][:i], q.waiting[p][i+1:]...)
			return true
		}
	}
	return false
}
