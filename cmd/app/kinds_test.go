package main

import (
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/jobs"
)

// Without webhooks nothing tells of workflows: they are asked for sooner.
func TestPolling(t *testing.T) {
	if got, want := polling(githubapp.Config{}).OrDefault(), (jobs.Polling{First: 5 * time.Minute, Most: 30 * time.Minute}); got != want {
		t.Errorf("with webhooks: %+v, want %+v", got, want)
	}
	polls := polling(githubapp.Config{Intake: githubapp.IntakePoll}).OrDefault()
	if want := (jobs.Polling{First: 20 * time.Second, Most: 2 * time.Minute}); polls != want {
		t.Errorf("without: %+v, want %+v", polls, want)
	}
	for waited, want := range map[time.Duration]time.Duration{0: 20 * time.Second, time.Minute: time.Minute, time.Hour: 2 * time.Minute} {
		if got := polls.After(waited); got != want {
			t.Errorf("after %s the next question comes in %s, want %s", waited, got, want)
		}
	}
}
