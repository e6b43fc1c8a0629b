package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// A ScheduleEntry is one line of a pipeline's schedule.
type ScheduleEntry struct {
	Cron     string `json:"cron"`               // as the file writes it
	Timezone string `json:"timezone,omitempty"` // of the IANA database; "" is UTC
}

// String is what a schedule's event is called by.
func (e ScheduleEntry) String() string {
	if e.Timezone == "" {
		return e.Cron
	}
	return e.Cron + " " + e.Timezone
}

// A Timetable is what the newest pipeline on a repository's default branch wants to run by the clock.
type Timetable struct {
	Installation int64           `json:"installation"`
	Repository   Repository      `json:"repository"`
	SHA          string          `json:"sha"` // of the commit that says so
	Entries      []ScheduleEntry `json:"entries,omitempty"`
	Decided      time.Time       `json:"decided"` // when that commit was decided about
	// Fired is up to when what came due was started, by the entry's place.
	Fired []time.Time `json:"fired,omitempty"`
}

// TimetableKey is the key of a repository's Timetable.
func TimetableKey(repository int64) string { return fmt.Sprintf("%d", repository) }

// A ScheduleBody is the body of the delivery that Slipway makes for itself when an entry comes due.
type ScheduleBody struct {
	Installation int64      `json:"installation"`
	Repository   Repository `json:"repository"`
	Entry        string     `json:"entry"`
	Due          time.Time  `json:"due"`
}

// ScheduleDelivery is the name of such a delivery's event. It can't come from outside: the webhook handler refuses names with a dot.
const ScheduleDelivery = "slipway.schedule"

// noteSchedule keeps the timetable of a repository as the pipeline of its default branch has it now.
func (p *Planner) noteSchedule(ctx context.Context, d Decision) error {
	run := d.Run
	if p.Timetables == nil || d.Stale != "" || run.Event != EventPush || !run.OnDefaultBranch() || d.Outcome == OutcomeObserve || d.Outcome == OutcomeIgnored || d.Plan.Faulty() {
		return nil
	}
	entries := d.Plan.Schedule
	_, err := Upsert(ctx, p.Timetables, TimetableKey(run.Repository.ID), func(now *Timetable) error {
		if now.SHA == "" && len(entries) == 0 || now.SHA == run.SHA || now.Decided.After(d.Time) {
			return ErrUnchanged
		}
		next := Timetable{Installation: run.Installation, Repository: run.Repository, SHA: run.SHA, Decided: d.Time, Entries: entries}
		for _, e := range entries {
			fired := d.Time // what came due before is not made up for
			if i := slices.Index(now.Entries, e); i >= 0 {
				fired = now.Fired[i]
			}
			next.Fired = append(next.Fired, fired)
		}
		*now = next
		return nil
	})
	if err != nil {
		return fmt.Errorf("note the timetable of %s: %w", run.Repository.FullName(), err)
	}
	return nil
}

// unschedule empties the timetable of a repository that is gone for us, or that the operator took from us, when an entry of it
// came due.
func (p *Planner) unschedule(ctx context.Context, e Event) error {
	if p.Timetables == nil || e.Kind != EventSchedule {
		return nil
	}
	_, err := Change(ctx, p.Timetables, TimetableKey(e.Repository.ID), func(t *Timetable) error {
		if len(t.Entries) == 0 {
			return ErrUnchanged
		}
		t.Entries, t.Fired = nil, nil
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("end the schedule of %s: %w", e.Repository.FullName(), err)
	}
	return nil
}

// A Clock starts what timetables say. Only the leader's runs. An entry that came due several times while no leader was there
// is started once, for the last of them.
type Clock struct {
	Timetables Set[Timetable]
	Accept     Acceptor
	// Next is when an entry comes due after a moment; zero for never.
	Next func(entry ScheduleEntry, after time.Time) time.Time
	Now  func() time.Time
	Log  *slog.Logger
}

// clockTick is how often the clock is looked at; schedules count in minutes.
const clockTick = 5 * time.Second

// Run looks at all timetables until ctx is done.
func (c *Clock) Run(ctx context.Context) {
	for {
		if err := c.Tick(ctx); err != nil && ctx.Err() == nil {
			c.Log.WarnContext(ctx, "schedules; trying again", "error", err)
		}
		if !pause(ctx, clockTick) {
			return
		}
	}
}

// Tick starts what is due now.
func (c *Clock) Tick(ctx context.Context) error {
	tables := map[string]Timetable{}
	revisions := map[string]uint64{}
	err := c.Timetables.All(ctx, func(key string, t Timetable, revision uint64) error {
		tables[key], revisions[key] = t, revision
		return nil
	})
	faults := []error{err}
	for key, t := range tables {
		faults = append(faults, c.table(ctx, key, t, revisions[key]))
	}
	return errors.Join(faults...)
}

func (c *Clock) table(ctx context.Context, key string, t Timetable, revision uint64) error {
	now, fired := c.Now(), false
	for i, e := range t.Entries {
		var due time.Time
		for next := c.Next(e, t.Fired[i]); !next.IsZero() && !next.After(now); next = c.Next(e, next) {
			due = next
		}
		if due.IsZero() {
			continue
		}
		body, err := json.Marshal(ScheduleBody{t.Installation, t.Repository, e.String(), due.UTC()})
		if err != nil {
			return fmt.Errorf("write a schedule's delivery: %w", err)
		}
		guid := formGUID(fmt.Sprintf("schedule %d %s %d", t.Repository.ID, e, due.Unix()))
		if _, err := c.Accept.Accept(ctx, Delivery{GUID: guid, Event: ScheduleDelivery, Received: now, Body: body}); err != nil {
			return fmt.Errorf("start the schedule %q of %s: %w", e, t.Repository.FullName(), err)
		}
		t.Fired[i], fired = due, true
	}
	if !fired {
		return nil
	}
	// When this is lost, the same delivery is made again, and is known by its GUID.
	if _, err := c.Timetables.Update(ctx, key, t, revision); err != nil && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("note what was started of %s: %w", t.Repository.FullName(), err)
	}
	return nil
}
