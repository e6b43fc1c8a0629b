package pipeline

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSchedules(t *testing.T) {
	const text = `
on: {schedule: [{cron: "@weekly"}, {cron: "0 3 * * *", timezone: Asia/Seoul}]}
jobs:
  a: {build: {}}
  b: {build: {}}
  c: {on: {schedule: [{cron: "0 3 * * *"}, {cron: "@weekly"}, {cron: "* * * * *"}, {cron: "0 4 * * *", every: day}]}, build: {}}
  d: {on: {push: {}}, build: {unheard: of}}
`
	var got []string
	for _, s := range Schedules([]byte(text), "x") {
		got = append(got, s.String())
	}
	if want := []string{"@weekly", "0 3 * * * Asia/Seoul", "0 3 * * *"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, none := range []string{"", "jobs: [", "jobs: {a: {build: {}}}", "on: {schedule: [{cron: '@daily'}]}\njobs: {a: {on: {push: {}}, build: {}}}"} {
		if got := Schedules([]byte(none), "x"); len(got) > 0 {
			t.Errorf("%q waits for %v", none, got)
		}
	}
}

// A moment is where the clock hangs, also when clocks change; days of the month and of the week are either, as in crontab(5).
func TestScheduleNext(t *testing.T) {
	for _, tt := range []struct{ cron, zone, after, want string }{
		{"0 3 * * *", "", "2026-11-23T02:59:59Z", "2026-11-23T03:00:00Z"},
		{"0 3 * * *", "", "2026-11-23T03:00:00Z", "2026-11-24T03:00:00Z"},
		{"0 3 * * *", "Asia/Seoul", "2026-11-23T02:59:59Z", "2026-11-24T03:00:00+09:00"},
		{"0 3 * * *", "Asia/Seoul", "2026-11-23T17:59:59.5Z", "2026-11-24T03:00:00+09:00"},
		{"@daily", "Asia/Seoul", "2026-11-23T02:00:00Z", "2026-11-24T00:00:00+09:00"},
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T03:30:00+02:00"}, // 02:30 does not exist
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T02:30:00+01:00"}, // 02:30 exists twice
		{"30 2 * * *", "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-26T02:30:00+01:00"},
		{"30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T01:30:00-04:00"},
		{"30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-02T01:30:00-05:00"},
		{"*/5 * * * *", "Europe/Berlin", "2026-03-29T00:55:00Z", "2026-03-29T03:00:00+02:00"},
		{"*/5 * * * *", "Europe/Berlin", "2026-03-29T01:55:00Z", "2026-03-29T04:00:00+02:00"},
		{"0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", "2026-09-06T01:00:00-03:00"}, // there is no midnight
		{"0 0 * * *", "America/Santiago", "2026-09-06T04:00:00Z", "2026-09-07T00:00:00-03:00"},
		{"0 0 13 * FRI", "", "2026-11-23T12:00:00Z", "2026-11-27T00:00:00Z"},
		{"0 0 13 * *", "", "2026-11-23T12:00:00Z", "2026-12-13T00:00:00Z"},
		{"0 0 29 2 *", "", "2026-11-23T12:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 0 * * 7", "", "2026-11-23T12:00:00Z", "2026-11-29T00:00:00Z"},
		{"*/5 9-17 * jan-dec mon-fri", "UTC", "2026-11-20T17:55:00Z", "2026-11-23T09:00:00Z"},
		{"@monthly", "", "2026-11-23T12:00:00Z", "2026-12-01T00:00:00Z"},
	} {
		s, err := ParseSchedule(tt.cron, tt.zone)
		if err != nil {
			t.Errorf("%s %s: %v", tt.cron, tt.zone, err)
			continue
		}
		after, err := time.Parse(time.RFC3339Nano, tt.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(after).Format(time.RFC3339); got != tt.want {
			t.Errorf("%s after %s: %s, want %s", s, tt.after, got, tt.want)
		}
	}
}

// A file that waits for too many moments is refused, and all of them are not even read.
func TestScheduleBounds(t *testing.T) {
	entries := func(n int) string {
		var b strings.Builder
		b.WriteString("jobs:\n  a:\n    on:\n      schedule:\n")
		for i := range n {
			fmt.Fprintf(&b, "        - {cron: \"%d %d 29 2 *\"}\n", i%60, i/60%24)
		}
		b.WriteString("    build: {}\n")
		return b.String()
	}
	if faults := Validate([]byte(entries(maxSchedules)), "x"); len(faults) > 0 {
		t.Errorf("%d schedules: %v", maxSchedules, faults)
	}
	for _, n := range []int{maxSchedules + 1, 1400} {
		start := time.Now()
		faults := fmt.Sprint(Validate([]byte(entries(n)), "x"))
		if !strings.Contains(faults, "more than 20 different schedules") {
			t.Errorf("%d schedules: %v", n, faults)
		}
		if took := time.Since(start); took > soon {
			t.Errorf("%d schedules took %v", n, took)
		}
		if got := len(Schedules([]byte(entries(n)), "x")); got > maxSchedules {
			t.Errorf("%d schedules are waited for", got)
		}
	}
	if _, err := ParseSchedule("0 "+strings.Repeat("1,", 100)+"1 * * *", ""); err == nil || !strings.Contains(err.Error(), "more than 100") {
		t.Errorf("a long expression: %v", err)
	}
}
