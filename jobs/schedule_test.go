package jobs_test

import (
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

func TestSchedulesComeDue(t *testing.T) {
	w := newTown(t)
	w.schedules = []jobs.ScheduleEntry{{Cron: "hourly"}}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	tables := queue.Set[jobs.Timetable](w.q, queue.Schedules)
	table, _, err := tables.Get(t.Context(), jobs.TimetableKey(5))
	if err != nil || len(table.Entries) != 1 || len(table.Fired) != 1 {
		t.Fatalf("%+v, %v", table, err)
	}
	began := table.Fired[0]
	clock := &jobs.Clock{
		Timetables: tables, Accept: w.q, Log: w.log,
		Next: func(_ jobs.ScheduleEntry, after time.Time) time.Time { return after.Truncate(time.Hour).Add(time.Hour) },
		Now:  func() time.Time { return began },
	}
	tick := func(now time.Time) (stored int) {
		t.Helper()
		clock.Now = func() time.Time { return now }
		if err := clock.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, _, err := w.q.ListDeliveries(t.Context(), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			if d.Event == jobs.ScheduleDelivery {
				stored++
			}
		}
		return stored
	}
	if n := tick(began); n != 0 {
		t.Errorf("%d deliveries before anything was due", n)
	}
	next := began.Truncate(time.Hour).Add(time.Hour)
	if n := tick(next); n != 1 {
		t.Errorf("%d deliveries when it was due", n)
	}
	if n := tick(next.Add(time.Minute)); n != 1 {
		t.Errorf("%d deliveries a minute later", n)
	}
	// After five hours without a leader, the last moment counts.
	if n := tick(next.Add(5*time.Hour + time.Minute)); n != 2 {
		t.Errorf("%d deliveries after a long while", n)
	}
	// A leader that crashed before it noted what it started makes the same delivery again.
	stale, revision, err := tables.Get(t.Context(), jobs.TimetableKey(5))
	if err != nil {
		t.Fatal(err)
	}
	stale.Fired[0] = next
	if _, err := tables.Update(t.Context(), jobs.TimetableKey(5), stale, revision); err != nil {
		t.Fatal(err)
	}
	if n := tick(next.Add(5*time.Hour + time.Minute)); n != 2 {
		t.Errorf("%d deliveries after a crash", n)
	}
	// A pipeline without a schedule ends it.
	w.set(func() { w.schedules = nil })
	w.deliver("guid-push-2", w.push("b"))
	w.finished("guid-push-2")
	if n := tick(next.Add(24 * time.Hour)); n != 2 {
		t.Errorf("%d deliveries when nothing is scheduled", n)
	}
}
