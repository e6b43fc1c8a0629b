package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// sinceForms says how --since is written, in every command that has it.
const sinceForms = "how long ago, such as 7d or 2h30m; a moment such as 2026-11-23T12:00:00Z; a date, whose beginning in UTC is meant; or now"

// moment reads a --since, which is never in the future.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(form, text); err == nil && !at.After(now) {
			return at, nil
		}
	}
	if ago, ok := length(text); ok {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("--since %s: it must be in the past: %s", text, sinceForms)
}

// length reads a length of time in Go's form, before which there may be days: 90m, 7d, 1d12h.
func length(text string) (time.Duration, bool) {
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, false
	}
	var d time.Duration
	if rest != "" {
		if d, err = time.ParseDuration(rest); err != nil || d < 0 {
			return 0, false
		}
	}
	d += time.Duration(n) * 24 * time.Hour
	return d, (ok || rest != "") && d >= 0
}
