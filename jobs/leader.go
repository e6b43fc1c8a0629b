package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// A Reporter makes GitHub show a run as it is now. It answers when to be asked again (0: GitHub shows it), or an
// error: a *Later when GitHub asks for patience, an *Unreportable when GitHub will never take it.
type Reporter interface {
	Report(ctx context.Context, run Run) (again time.Duration, err error)
}

// Unreportable says that GitHub can't be told about a run any more: the App was removed, the repository is archived.
type Unreportable struct{ Reason string }

func (u *Unreportable) Error() string { return "can't be reported: " + u.Reason }

// A Leader is the one replica that decides: it plans, schedules, reports and sweeps while it holds the lease. What a
// deposed leader still does is harmless, since records change only by compare-and-swap and create-once.
type Leader struct {
	Name       string // of this replica
	Leases     Leases
	Deliveries Deliveries
	Planner    *Planner
	Scheduler  *Scheduler
	Sweeper    *Sweeper
	Reporter   Reporter
	Replies    Set[Reply]
	Replier    Replier
	Clock      *Clock    // may be nil
	Recovery   *Recovery // finds what webhooks did not bring; may be nil
	// Callbacks tell who asked for it that a run is over; may be nil.
	Callbacks interface{ Run(ctx context.Context) }
	Runs      Set[Run]
	TTL       time.Duration  // of the lease; 0 means 6 s
	Sweep     time.Duration  // between two sweeps; 0 means 5 s
	Leading   func(bool)     // told when leadership is won and lost; may be nil
	Finished  func(RunState) // told when a run is over and reported; may be nil
	Log       *slog.Logger
}

const leaderKey = "leader"

// Run tries to lead, leads while it can, and tries again, until ctx is done. It gives the lease up on return.
func (l *Leader) Run(ctx context.Context) {
	ttl := l.TTL
	if ttl == 0 {
		ttl = 6 * time.Second
	}
	for ctx.Err() == nil {
		revision, err := l.Leases.Acquire(ctx, leaderKey, l.Name, ttl)
		if err != nil {
			if !errors.Is(err, ErrExists) && ctx.Err() == nil {
				l.Log.WarnContext(ctx, "can't ask for the leader's lease", "error", err)
			}
			pause(ctx, ttl/6)
			continue
		}
		l.lead(ctx, ttl, revision)
	}
}

func (l *Leader) lead(ctx context.Context, ttl time.Duration, revision uint64) {
	l.Log.InfoContext(ctx, "leading", "epoch", revision)
	if l.Leading != nil {
		l.Leading(true)
		defer l.Leading(false)
	}
	mine, lost := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer lost()
		revision = hold(mine, l.Leases, leaderKey, l.Name, ttl, revision)
	})
	l.work(mine)
	lost()
	wg.Wait()
	release(ctx, l.Leases, leaderKey, revision, l.Log)
	l.Log.InfoContext(ctx, "no longer leading")
}

// hold renews a lease until ctx is done or the lease is lost, and returns its last revision.
func hold(ctx context.Context, leases Leases, key, holder string, ttl time.Duration, revision uint64) uint64 {
	renewed := time.Now()
	for pause(ctx, ttl/3) {
		once, cancel := context.WithTimeout(ctx, ttl/3)
		next, err := leases.Renew(once, key, holder, ttl, revision)
		cancel()
		switch {
		case err == nil:
			revision, renewed = next, time.Now()
		case errors.Is(err, ErrConflict), time.Since(renewed) > ttl-ttl/6:
			return revision
		}
	}
	return revision
}

// release gives a lease up, also when ctx is done already.
func release(ctx context.Context, leases Leases, key string, revision uint64, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := leases.Release(ctx, key, revision); err != nil && !errors.Is(err, ErrConflict) {
		log.DebugContext(ctx, "release lease; it will run out by itself", "key", key, "error", err)
	}
}

// work does all that a leader does, until ctx is done.
func (l *Leader) work(ctx context.Context) {
	var schedule, report *loop
	schedule = newLoop("schedule", l.Log, func(ctx context.Context, id string) (time.Duration, error) {
		return l.Scheduler.step(ctx, id, func(other string) { schedule.add(other) })
	})
	report = newLoop("report", l.Log, l.report)
	changed := func(id string) {
		schedule.changed(id)
		report.changed(id)
	}
	touch := func(id string) {
		schedule.add(id)
		report.add(id)
	}
	l.Scheduler.reset()

	var wg sync.WaitGroup
	wg.Go(func() { l.watch(ctx, changed) })
	wg.Go(func() { l.sweep(ctx, touch) })
	if l.Recovery != nil {
		wg.Go(func() { l.Recovery.Run(ctx) })
	}
	if l.Clock != nil {
		wg.Go(func() { l.Clock.Run(ctx) })
	}
	if l.Callbacks != nil {
		wg.Go(func() { l.Callbacks.Run(ctx) })
	}
	if l.Replier != nil {
		wg.Go(func() { l.reply(ctx) })
	}
	wg.Go(func() { schedule.run(ctx, 4) })
	wg.Go(func() { report.run(ctx, 8) })
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := l.Deliveries.Follow(ctx, l.Planner.handle); err != nil && ctx.Err() == nil {
				l.Log.WarnContext(ctx, "reading deliveries was interrupted", "error", err)
				pause(ctx, time.Second)
			}
		}
	})
	wg.Wait()
}

func (l *Leader) watch(ctx context.Context, changed func(string)) {
	Follower{
		Watch: l.Runs.Watch, Changed: changed,
		Trouble: func(err error) { l.Log.WarnContext(ctx, "can't watch runs; sweeping goes on", "error", err) },
	}.Run(ctx)
}

// listReplies is how often all replies are looked through for one that a watch missed.
const listReplies = 5 * time.Minute

// reply shows what comments are answered: those that were not when this leader began, and new ones.
func (l *Leader) reply(ctx context.Context) {
	r := &replies{set: l.Replies, replier: l.Replier, run: l.Planner.find, now: l.Planner.Now}
	work := newLoop("reply", l.Log, r.step)
	var wg sync.WaitGroup
	wg.Go(func() { work.run(ctx, 4) })
	Follower{
		Watch: l.Replies.Watch, Every: listReplies,
		Changed: work.add, // made by the planner once, and then by ourselves: what waits is not hastened
		List: func(ctx context.Context) error {
			return l.Replies.All(ctx, func(key string, reply Reply, _ uint64) error {
				if !reply.over() {
					work.add(key)
				}
				return nil
			})
		},
		Trouble: func(err error) { l.Log.WarnContext(ctx, "can't tell what is to be answered", "error", err) },
	}.Run(ctx)
	wg.Wait()
}

func (l *Leader) sweep(ctx context.Context, touch func(string)) {
	every := l.Sweep
	if every == 0 {
		every = 5 * time.Second
	}
	for {
		if err := l.Sweeper.Sweep(ctx, touch); err != nil && ctx.Err() == nil {
			l.Log.WarnContext(ctx, "sweep", "error", err)
		}
		if !pause(ctx, every) {
			return
		}
	}
}

// report makes GitHub show a run, and notes in the record when its end is shown or can't be.
func (l *Leader) report(ctx context.Context, id string) (time.Duration, error) {
	run, _, err := l.Runs.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil || run.Reported {
		return 0, err
	}
	again, err := l.Reporter.Report(ctx, run)
	var never *Unreportable
	switch {
	case errors.As(err, &never):
	case err != nil || again > 0 || !run.State.Over():
		return again, err
	}
	_, err = Change(ctx, l.Runs, id, func(now *Run) error {
		if now.Reported || !now.State.Over() {
			return ErrUnchanged
		}
		now.Reported = true
		if never != nil {
			now.Unreported = never.Reason
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err == nil && l.Finished != nil && run.State.Over() {
		l.Finished(run.State)
	}
	return 0, err
}

// pause waits and reports whether ctx is still going on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
