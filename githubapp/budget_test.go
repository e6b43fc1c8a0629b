package githubapp

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// newTestBudget is a budget and the clock it goes by.
func newTestBudget() (*budget, *clock) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	return newBudget(c.Now), c
}

// make asks for a call that is answered at once, and returns how long it has to wait: 0 when it was made.
func (b *budget) make(t *testing.T, d demand) time.Duration {
	t.Helper()
	leave, err := b.enter(t.Context(), d)
	var later *jobs.Later
	switch {
	case errors.As(err, &later):
		if later.After <= 0 || later.Reason == "" {
			t.Fatalf("held back for %s because %q", later.After, later.Reason)
		}
		return later.After
	case err != nil:
		t.Fatal(err)
	}
	leave()
	return 0
}

var (
	reading   = demand{priority: priorityNew}
	creating  = demand{priority: priorityNew, write: true, content: true}
	ending    = demand{priority: priorityFinal, write: true}
	changing  = demand{priority: priorityProgress, write: true}
	remarking = demand{priority: priorityAside, write: true, content: true}
)

func TestSecondaryLimitsGrowAndAreForgotten(t *testing.T) {
	b, c := newTestBudget()
	for i, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 30 * time.Minute, 30 * time.Minute} {
		if got := b.limited(limit{secondary: true}, ending).After; got != want {
			t.Errorf("complaint %d: wait %s, want %s", i+1, got, want)
		}
		// The answers to calls that were under way don't count again.
		if got := b.limited(limit{secondary: true}, ending).After; got != want {
			t.Errorf("complaint %d, said twice: wait %s, want %s", i+1, got, want)
		}
		c.advance(want + time.Second)
	}
	b.answered()
	if got := b.limited(limit{secondary: true}, ending).After; got != time.Minute {
		t.Errorf("after a good answer: wait %s, want 1m", got)
	}
	// A reset in the past, by our clock, and one in a far future are not believed.
	c.advance(time.Hour)
	if got := b.limited(limit{until: c.Now().Add(-time.Hour)}, ending).After; got != limitLeast {
		t.Errorf("reset in the past: wait %s", got)
	}
	if got := b.limited(limit{until: c.Now().Add(1000 * time.Hour)}, ending).After; got != limitMost {
		t.Errorf("reset in a far future: wait %s", got)
	}
}

// TestSecondaryLimitsAreKept holds GitHub's figures for any minute and hour, however much is wanted.
func TestSecondaryLimitsAreKept(t *testing.T) {
	for name, test := range map[string]struct {
		d           demand
		points      int
		most, least int // of a minute
	}{
		"reading":             {reading, 1, 900, 850},
		"endings":             {ending, 5, 180, 170},
		"new checks":          {creating, 5, 80, 70},
		"comments":            {remarking, 5, 80, 45},
		"endings as comments": {demand{priority: priorityFinal, write: true, content: true}, 5, 80, 75},
	} {
		t.Run(name, func(t *testing.T) {
			b, c := newTestBudget()
			var made []time.Time
			for range 90 * 60 * 5 { // an hour and a half in steps of 200 ms, always asking
				for b.make(t, test.d) == 0 {
					made = append(made, c.Now())
				}
				c.advance(200 * time.Millisecond)
			}
			within := func(window time.Duration) (most int) {
				from := 0
				for to, at := range made {
					for at.Sub(made[from]) >= window {
						from++
					}
					most = max(most, to-from+1)
				}
				return most
			}
			if n := within(time.Minute); n > test.most || n < test.least {
				t.Errorf("%d in a minute, want at most %d and not much less", n, test.most)
			}
			if n := within(time.Hour); test.d.content && (n > contentHour || n < contentHour/2) {
				t.Errorf("%d in an hour, want at most %d", n, contentHour)
			}
		})
	}
}

// TestWhoGoesFirst holds for every secondary limit that, when it runs low, comments stop first, then progress, then what
// is new, and that the end of something is said until nothing is left.
func TestWhoGoesFirst(t *testing.T) {
	for name, content := range map[string]bool{"points": false, "content": true} {
		t.Run(name, func(t *testing.T) {
			b, _ := newTestBudget()
			var stopped []priority
			counts := map[priority]int{}
			for p := priorityAside; p >= priorityFinal; p-- {
				for b.make(t, demand{priority: p, write: true, content: content}) == 0 {
					counts[p]++
				}
				stopped = append(stopped, p)
				// Who was held back before does not get in the way of those that matter more, and waits longer.
				for _, before := range stopped {
					if b.make(t, demand{priority: before, write: true, content: content}) == 0 {
						t.Errorf("priority %d went on after %d stopped", before, p)
					}
				}
			}
			for p, n := range counts {
				if n == 0 {
					t.Errorf("nothing was left for priority %d: %v", p, counts)
				}
			}
		})
	}
}

// TestTheHeldBackComeBackInOrder holds that what was held back gets what comes in before anything that matters less.
func TestTheHeldBackComeBackInOrder(t *testing.T) {
	b, c := newTestBudget()
	for b.make(t, ending) == 0 {
	}
	wait := b.make(t, ending)
	c.advance(wait)
	// The one that ends comes a moment late; the others are there at once, and may not take what it waits for.
	for range 3 {
		for _, other := range []demand{reading, creating, changing, remarking} {
			if b.make(t, other) == 0 {
				t.Fatalf("priority %d took what a final state waits for", other.priority)
			}
		}
	}
	if wait := b.make(t, ending); wait != 0 {
		t.Fatalf("the final state waits another %s", wait)
	}
	c.advance(time.Minute)
	if wait := b.make(t, reading); wait != 0 {
		t.Errorf("afterwards, reading waits %s", wait)
	}
	// One that never comes back is not waited for longer than it would take it.
	for b.make(t, ending) == 0 {
	}
	c.advance(b.make(t, ending) + comeBack + time.Minute/pointsMinute*readPoints*20)
	if wait := b.make(t, reading); wait != 0 {
		t.Errorf("reading waits %s for a call that nobody makes", wait)
	}
}

func TestAfterAComplaintWritesKeepTheirDistance(t *testing.T) {
	b, c := newTestBudget()
	_ = b.limited(limit{secondary: true, until: c.Now().Add(time.Minute)}, changing)
	for p := priorityFinal; p < priorities; p++ {
		d := demand{priority: p, write: true}
		if wait := b.make(t, d); wait != time.Minute+priorityShares[p].grace {
			t.Errorf("priority %d waits %s", p, wait)
		}
	}
	c.advance(time.Minute)
	if wait := b.make(t, ending); wait != 0 {
		t.Errorf("a final state waits %s when the limit is over", wait)
	}
	b.answered()
	if wait := b.make(t, ending); wait != spacedWrites {
		t.Errorf("the next one waits %s, want %s", wait, spacedWrites)
	}
	c.advance(time.Minute)
	for range 3 {
		if wait := b.make(t, creating); wait != 0 {
			t.Errorf("a new check waits %s", wait)
		}
		c.advance(spacedWrites)
	}
	c.advance(spacedFor)
	for range 3 {
		if wait := b.make(t, creating); wait != 0 {
			t.Errorf("long after the complaint, a new check waits %s", wait)
		}
	}
}

// TestTheHoursCallsAreKeptForFinalStates holds what GitHub's figure of the hour's calls means for each priority.
func TestTheHoursCallsAreKeptForFinalStates(t *testing.T) {
	b, c := newTestBudget()
	reset := c.Now().Add(40 * time.Minute)
	for _, test := range []struct {
		remaining int
		held      []demand
		goesOn    []demand
	}{
		{1001, nil, []demand{remarking, changing, creating, reading, ending}},
		{1000, []demand{remarking}, []demand{changing, creating, reading, ending}},
		{500, []demand{remarking, changing}, []demand{creating, reading, ending}},
		{100, []demand{remarking, changing, creating, reading}, []demand{ending}},
		{1, []demand{remarking, changing, creating, reading}, []demand{ending}},
		{0, []demand{remarking, changing, creating, reading, ending}, nil},
	} {
		b.counted(quota{5000, test.remaining, reset})
		for _, d := range test.goesOn {
			if wait := b.make(t, d); wait != 0 {
				t.Errorf("%d left: priority %d waits %s", test.remaining, d.priority, wait)
			}
		}
		for _, d := range test.held {
			if wait := b.make(t, d); wait < 40*time.Minute || wait > 41*time.Minute {
				t.Errorf("%d left: priority %d waits %s, want until the reset", test.remaining, d.priority, wait)
			}
		}
	}
	// An answer that was overtaken does not give anything back.
	b.counted(quota{5000, 4000, reset.Add(time.Second)})
	if wait := b.make(t, ending); wait == 0 {
		t.Error("an old answer lifted the limit")
	}
	c.advance(40*time.Minute + 15*time.Second)
	for _, d := range []demand{ending, creating, reading, changing, remarking} {
		if wait := b.make(t, d); wait != 0 {
			t.Errorf("in the new hour, priority %d waits %s", d.priority, wait)
		}
	}
	b.counted(quota{5000, 4000, reset.Add(time.Hour)})
	if e := b.entry(c.Now(), 1); e.Remaining != 4000 || e.Limit != 5000 {
		t.Errorf("in the new hour: %+v", e)
	}
}

func TestQuotaOf(t *testing.T) {
	for name, test := range map[string]struct {
		limit, remaining, reset, resource string
		want                              quota
		ok                                bool
	}{
		"core":            {"5000", "17", "1800000300", "core", quota{5000, 17, time.Unix(1800000300, 0)}, true},
		"no resource":     {"60", "0", "1800000300", "", quota{60, 0, time.Unix(1800000300, 0)}, true},
		"search":          {"30", "0", "1800000300", "search", quota{}, false},
		"nothing":         {"", "", "", "", quota{}, false},
		"no reset":        {"5000", "17", "", "core", quota{}, false},
		"negative":        {"5000", "-1", "1800000300", "core", quota{}, false},
		"not a number":    {"many", "17", "1800000300", "core", quota{}, false},
		"zero as a limit": {"0", "0", "1800000300", "core", quota{}, false},
	} {
		header := http.Header{}
		for k, v := range map[string]string{"Limit": test.limit, "Remaining": test.remaining, "Reset": test.reset, "Resource": test.resource} {
			if v != "" {
				header.Set("X-RateLimit-"+k, v)
			}
		}
		if got, ok := quotaOf(header); ok != test.ok || got.limit != test.want.limit || got.remaining != test.want.remaining || !got.reset.Equal(test.want.reset) {
			t.Errorf("%s: got %+v, %t", name, got, ok)
		}
	}
}

func TestDemandOf(t *testing.T) {
	for _, test := range []struct {
		method, operation string
		set               priority // when not -1
		want              demand
	}{
		{"GET", "repos/get-content", -1, demand{priority: priorityNew}},
		{"GET", "checks/list-for-ref", priorityFinal, demand{priority: priorityFinal}},
		{"POST", "checks/create", priorityNew, demand{priority: priorityNew, write: true, content: true}},
		{"PATCH", "checks/update", priorityFinal, demand{priority: priorityFinal, write: true}},
		{"POST", "repos/create-deployment", -1, demand{priority: priorityNew, write: true, content: true}},
		{"POST", "issues/create-comment", -1, demand{priority: priorityAside, write: true, content: true}},
		{"POST", "issues/create-comment", priorityNew, demand{priority: priorityNew, write: true, content: true}},
		{"PATCH", "issues/update-comment", -1, demand{priority: priorityAside, write: true, content: true}},
		{"GET", "issues/list-comments", -1, demand{priority: priorityAside}},
		{"POST", "reactions/create-for-issue-comment", -1, demand{priority: priorityAside, write: true, content: true}},
		{"POST", "repos/create-commit-comment", -1, demand{priority: priorityAside, write: true, content: true}},
	} {
		ctx := operation(t.Context(), test.operation)
		test.want.subject = test.method + " /x"
		if test.set >= 0 {
			ctx = urgency(ctx, test.set, "mine")
			test.want.subject = "mine"
		}
		if got := demandOf(httptest.NewRequest(test.method, "/x", nil).WithContext(ctx)); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.operation, got, test.want)
		}
	}
}

func TestBudgetBoundsConcurrencyAndWritesGoOneByOne(t *testing.T) {
	b := newBudget(time.Now)
	var leaves []func()
	for range maxConcurrent {
		leave, err := b.enter(t.Context(), reading)
		ok(t, err)
		leaves = append(leaves, leave)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 2)
	for _, d := range []demand{reading, ending} {
		go func() { _, err := b.enter(ctx, d); got <- err }()
	}
	cancel()
	for range 2 {
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("one too many got in: %v", err)
		}
	}
	for _, leave := range leaves {
		leave()
	}
	leave, err := b.enter(t.Context(), ending)
	ok(t, err)
	second := make(chan error, 1)
	go func() {
		leave, err := b.enter(t.Context(), ending)
		if err == nil {
			leave()
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Errorf("two writes at once: %v", err)
	default:
	}
	leave()
	ok(t, <-second)
}

// TestTurns holds that of those that wait to write, the one that matters most is next, and that one that gave up does not
// keep the turn.
func TestTurns(t *testing.T) {
	b := newBudget(time.Now)
	leave, err := b.enter(t.Context(), changing)
	ok(t, err)
	waits := func(p priority, n int) {
		t.Helper()
		for {
			b.mu.Lock()
			there := len(b.writing.waiting[p])
			b.mu.Unlock()
			if there == n {
				return
			}
			select {
			case <-t.Context().Done():
				t.Fatal("nobody waits")
			case <-time.After(time.Millisecond):
			}
		}
	}
	order := make(chan priority, 10)
	enter := func(ctx context.Context, p priority) {
		leave, err := b.enter(ctx, demand{priority: p, write: true})
		if err != nil {
			order <- -1
			return
		}
		order <- p
		leave()
	}
	for _, p := range []priority{priorityAside, priorityProgress, priorityFinal, priorityNew} {
		go enter(t.Context(), p)
		waits(p, 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go enter(ctx, priorityFinal)
	waits(priorityFinal, 2)
	cancel()
	if p := <-order; p != -1 {
		t.Errorf("priority %d wrote out of turn", p)
	}
	waits(priorityFinal, 1)
	leave()
	for want := priorityFinal; want < priorities; want++ {
		if got := <-order; got != want {
			t.Errorf("priority %d wrote, want %d", got, want)
		}
	}
	leave, err = b.enter(t.Context(), ending)
	ok(t, err)
	leave()
}

func TestWaitsGrowWhileTroubleLasts(t *testing.T) {
	b := newBudget(time.Now)
	var last time.Duration
	for range 10 {
		last = b.failed()
	}
	if last < troubleMost/2 || last > troubleMost {
		t.Errorf("after 10 errors: wait %s, want %s to %s", last, troubleMost/2, troubleMost)
	}
	b.answered()
	if first := b.failed(); first > troubleFirst {
		t.Errorf("after a good answer: wait %s", first)
	}
}

func TestRateLimitState(t *testing.T) {
	b, c := newTestBudget()
	b.of("acme")
	e := b.entry(c.Now(), 7)
	if want := (jobs.RateLimitState{Installation: 7, Account: "acme", Points: pointsBurst, MinuteWrites: contentBurst, HourWrites: hourBurst}); e != want || e.Limited() {
		t.Errorf("at first: %+v", e)
	}
	b.make(t, creating)
	b.make(t, changing)
	b.counted(quota{5000, 900, c.Now().Add(time.Hour)})
	for _, subject := range []string{"one", "two", "one"} {
		d := remarking
		d.subject = subject
		b.make(t, d)
	}
	e = b.entry(c.Now(), 7)
	if e.Limit != 5000 || e.Remaining != 900 || e.Points != pointsBurst-10 || e.MinuteWrites != contentBurst-1 || e.HourWrites != hourBurst-1 {
		t.Errorf("after two writes: %+v", e)
	}
	if !e.Limited() || !e.HeldUntil.Equal(c.Now().Add(time.Hour)) || e.Waiting != 2 || !strings.Contains(e.Reason, "900 of this installation's 5000") {
		t.Errorf("with two comments held back: %+v", e)
	}
	c.advance(time.Hour)
	d := remarking
	d.subject = "one"
	if wait := b.make(t, d); wait != 0 {
		t.Errorf("the comment waits %s", wait)
	}
	if e = b.entry(c.Now(), 7); e.Limited() || e.Waiting != 1 || e.Remaining != 5000 || !e.Reset.IsZero() {
		t.Errorf("with one of them written: %+v", e)
	}
	c.advance(forgotten + time.Second)
	if e = b.entry(c.Now(), 7); e.Waiting != 0 {
		t.Errorf("one that nobody wants any more still waits: %+v", e)
	}
	_ = b.limited(limit{secondary: true}, reading)
	if e = b.entry(c.Now(), 7); !e.Limited() || !strings.Contains(e.Reason, "secondary") || e.Waiting != 1 {
		t.Errorf("while GitHub wants no calls: %+v", e)
	}
	for i := range 2 * maxHeld {
		d := reading
		d.subject = strings.Repeat("x", i)
		b.make(t, d)
	}
	if e = b.entry(c.Now(), 7); e.Waiting != maxHeld {
		t.Errorf("%d calls wait, want at most %d", e.Waiting, maxHeld)
	}
}
