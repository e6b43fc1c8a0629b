package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // time zones mean the same on every machine, also where none are installed

	"github.com/netresearch/go-cron"

	"github.com/slipway-ci/slipway/jobs"
)

// leastBetween is the least time between two moments of a schedule.
const leastBetween = 5 * time.Minute

// A Schedule is a moment that comes again and again, as a pipeline file names it.
type Schedule struct {
	Cron     string // as the file writes it
	Timezone string // name of the IANA database; "" for UTC

	next  cron.Schedule
	place *time.Location
}

// Next is the first moment after a time, read off a clock in the schedule's time zone; zero when there is none within years.
// A moment that the clock passes over when it is put forward comes as much later as it was put; one that it shows twice
// counts once. So what is written for each night is done each night, once.
func (s Schedule) Next(after time.Time) time.Time {
	for clock := face(after.In(s.place)); ; {
		if clock = s.next.Next(clock); clock.IsZero() {
			return clock
		}
		t := time.Date(clock.Year(), clock.Month(), clock.Day(), clock.Hour(), clock.Minute(), 0, 0, s.place)
		if over := clock.Sub(face(t)); over > 0 {
			t = t.Add(over)
		}
		if t.After(after) {
			return t
		}
	}
}

// face is what a clock shows, as a time that knows no zones.
func face(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// String names a schedule within a file. An event's Schedule is this text.
func (s Schedule) String() string {
	return jobs.ScheduleEntry{Cron: s.Cron, Timezone: s.Timezone}.String()
}

// Schedules are the schedules that the jobs of a pipeline file wait for, each once, at most 20. Faulty ones are left out.
func Schedules(content []byte, path string) []Schedule {
	var list []Schedule
	for _, j := range parse(content, path).jobs {
		if j.trigger == nil {
			continue
		}
		for _, s := range j.trigger.schedules {
			if len(list) < maxSchedules && !slices.ContainsFunc(list, func(other Schedule) bool { return other.String() == s.String() }) {
				list = append(list, s)
			}
		}
	}
	return list
}

// ParseSchedule reads a cron expression as crontab(5) has it: when days of the month and of the week are both narrowed,
// either will do. Its errors are clauses for people.
func ParseSchedule(text, timezone string) (Schedule, error) {
	s := Schedule{Cron: text, Timezone: timezone, place: time.UTC}
	var err error
	switch {
	case len(text) > 100:
		return s, fmt.Errorf("has %d bytes, more than 100", len(text))
	case strings.Contains(text, "="):
		return s, errors.New("can't name a time zone: write it under timezone")
	case strings.HasPrefix(text, "@every"):
		return s, errors.New("has no fixed moments: write it with fields, such as */30 * * * *")
	case timezone == "Local":
		return s, errors.New("needs a time zone that is the same everywhere, such as Asia/Seoul")
	case timezone != "":
		if s.place, err = time.LoadLocation(timezone); err != nil {
			return s, fmt.Errorf("has a timezone %q that there is not; write one such as Asia/Seoul", shorten(timezone))
		}
	}
	parser, err := cron.TryNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor | cron.DowOrDom)
	if err != nil {
		return s, err
	}
	if s.next, err = parser.Parse(text); err != nil {
		return s, fmt.Errorf("can't be read: %s", shorten(err.Error()))
	}
	return s, s.bounded()
}

// bounded refuses what never comes or comes too often. A year of moments is looked at, or as many as fit into a day.
func (s Schedule) bounded() error {
	last := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second) // of a leap year
	end := last.AddDate(1, 0, 1)
	last = s.next.Next(last)
	if last.IsZero() {
		return errors.New("never comes")
	}
	for range int(24 * time.Hour / leastBetween) {
		next := s.next.Next(last)
		switch {
		case next.IsZero() || next.After(end):
			return nil
		case next.Sub(last) < leastBetween:
			return fmt.Errorf("comes every %s at times: leave at least %d minutes between", jobs.Duration(next.Sub(last)), int(leastBetween.Minutes()))
		}
		last = next
	}
	return nil
}

// readSchedules takes on.schedule apart; a faulty one was or is reported.
func (f *file) readSchedules(n *node) []Schedule {
	if n == nil || n.kind != listNode {
		return nil
	}
	var list []Schedule
	for _, item := range n.items {
		if !f.sound(item, OnSchedule{}) {
			continue
		}
		s := Schedule{Cron: item.get("cron").text}
		if zone := item.get("timezone"); zone != nil {
			s.Timezone = zone.text
		}
		known, ok := f.schedules[s.String()]
		switch {
		case !ok && len(f.schedules) > maxSchedules:
			return list // said
		case !ok:
			known.Schedule, known.err = ParseSchedule(s.Cron, s.Timezone)
			f.schedules[s.String()] = known
			if len(f.schedules) > maxSchedules {
				f.report.meaning(item, "the file has more than %d different schedules", maxSchedules)
				return list
			}
		}
		if known.err != nil {
			f.report.meaning(item, "on.schedule: %s %v", shorten(s.Cron), known.err)
			continue
		}
		list = append(list, known.Schedule)
	}
	return list
}

// A parsedSchedule is a schedule, or what is wrong with it.
type parsedSchedule struct {
	Schedule
	err error
}

// matchSchedule holds what came due against on.schedule.
func (t *trigger) matchSchedule(due string) answer {
	switch {
	case len(t.schedules) == 0:
		return no("on names no schedule")
	case slices.ContainsFunc(t.schedules, func(s Schedule) bool { return s.String() == due }):
		return yes("%s of on.schedule came due", shorten(due))
	}
	return no("%s is not among on.schedule", shorten(due))
}
