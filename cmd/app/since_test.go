package main

import (
	"strings"
	"testing"
	"time"
)

// Every --since is read alike: what one command takes, all take.
func TestMoment(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"now": "2026-11-23T12:00:00Z", "7d": "2026-11-16T12:00:00Z", "0d": "2026-11-23T12:00:00Z", "90m": "2026-11-23T10:30:00Z",
		"2h30m": "2026-11-23T09:30:00Z", "0s": "2026-11-23T12:00:00Z", "1d12h": "2026-11-22T00:00:00Z", "2026-11-01": "2026-11-01T00:00:00Z", "2026-11-23": "2026-11-23T00:00:00Z",
		"2026-11-01T00:00:00Z": "2026-11-01T00:00:00Z", "2026-11-01T09:00:00+09:00": "2026-11-01T09:00:00+09:00",
		"": "", "-1h": "", "1d-1h": "", "d": "", "dd": "", "1w": "", "99999999d": "", "65535d2562047h": "", "yesterday": "",
		"2026-11-24": "", "2026-11-23T12:00:01Z": "", "2026-13-01": "", "12:00": "", "3": "",
	} {
		got, err := moment(text, now)
		switch {
		case (err != nil) != (want == ""), err == nil && got.Format(time.RFC3339) != want:
			t.Errorf("%q: %s %v", text, got, err)
		case err != nil && !strings.HasPrefix(err.Error(), "--since "+text+": it must be in the past: how long ago, such as 7d"):
			t.Errorf("%q: %v", text, err)
		}
	}
}
