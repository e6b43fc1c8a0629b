package githubapp

import (
	"cmp"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// RateLimits is what each installation may still ask, as far as this replica knows: what is held back first, then what has the
// least left. At most 4,096 installations are remembered. Installation 0 is the App speaking for itself.
func (a *App) RateLimits() []jobs.RateLimitState {
	now := a.now()
	entries := []jobs.RateLimitState{a.own.entry(now, 0)}
	for _, installation := range a.budgets.Keys() {
		if b, ok := a.budgets.Peek(installation); ok {
			entries = append(entries, b.entry(now, installation))
		}
	}
	slices.SortFunc(entries, func(x, y jobs.RateLimitState) int {
		switch {
		case x.Limited() && !y.Limited():
			return -1
		case y.Limited() && !x.Limited():
			return 1
		}
		// The share that is left, without dividing by an unknown limit.
		return cmp.Or(cmp.Compare(leftOf(x), leftOf(y)), cmp.Compare(x.Installation, y.Installation))
	})
	return entries
}

func leftOf(e jobs.RateLimitState) float64 {
	if e.Limit == 0 {
		return 1
	}
	return float64(e.Remaining) / float64(e.Limit)
}

// forgotten is how long after its time a call that was held back, and that nobody made since, still counts as waiting.
const forgotten = time.Minute

func (b *budget) entry(now time.Time, installation int64) jobs.RateLimitState {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := jobs.RateLimitState{
		Installation: installation, Account: b.account, Limit: b.limit, Remaining: b.remaining, Reset: b.reset,
		Points: b.points.left(now), MinuteWrites: b.minute.left(now), HourWrites: b.hour.left(now), Running: len(b.slots),
	}
	if !now.Before(b.reset) { // a new hour, of which GitHub has said nothing yet
		e.Remaining, e.Reset = e.Limit, time.Time{}
	}
	for subject, held := range b.held {
		if now.Sub(held.until) > forgotten {
			delete(b.held, subject)
		} else if held.until.After(now) && held.until.After(e.HeldUntil) {
			e.HeldUntil, e.Reason = held.until, held.reason
		}
	}
	e.Waiting = len(b.held)
	if b.until.After(now) { // whether or not anybody wanted to call since
		e.HeldUntil, e.Reason = b.until, b.reason
	}
	return e
}
