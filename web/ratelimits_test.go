package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// limitsOf are the limits of n installations of which the first is held back.
func limitsOf(n int) func() []jobs.RateLimitState {
	list := make([]jobs.RateLimitState, n)
	for i := range list {
		list[i] = jobs.RateLimitState{Installation: int64(i), Limit: 5000, Remaining: 4000 + i, MinuteWrites: 20, HourWrites: 200}
	}
	list[0] = jobs.RateLimitState{
		Installation: 77, Account: "acme", Limit: 5000, Remaining: 12, HourWrites: 3, Waiting: 4,
		HeldUntil: time.Unix(1_800_000_000, 0).UTC(), Reason: "GitHub's secondary rate limit for this installation holds until 08:00:00 UTC",
	}
	return func() []jobs.RateLimitState { return list }
}

func TestRateLimitsAreShown(t *testing.T) {
	m := NewMetrics("")
	m.RateLimits(limitsOf(60))
	s := newWorld().server(t, func(o *Options) { o.Metrics, o.RateLimits = m, limitsOf(600) })

	state := decode[GitHubState](t, s.Pages(), "/api/v1/github")
	if len(state.Installations) != maxRateLimits || !state.Cut || state.Installations[0] != limitsOf(1)()[0] {
		t.Errorf("%d installations, cut %t, first %+v", len(state.Installations), state.Cut, state.Installations[0])
	}

	page := body(t, s.Pages(), "/", http.StatusOK)
	contains(t, page, "<strong>acme</strong>", "secondary rate limit for this installation holds until 08:00:00 UTC", "4 calls wait")
	if n := strings.Count(page, "rate limit"); n != 1 {
		t.Errorf("the page speaks of %d installations, want the one that is held back", n)
	}

	text := body(t, s.Metrics(), "/metrics", http.StatusOK)
	contains(t, text, `slipway_github_calls_remaining{installation="77"} 12`, `slipway_github_creates_left{installation="77",limit="hour"} 3`,
		`slipway_github_creates_left{installation="77",limit="minute"} 0`, `slipway_github_calls_waiting{installation="77"} 4`,
		`slipway_github_held_until_seconds{installation="77"} 1.8e+09`, `slipway_github_held_until_seconds{installation="1"} 0`)
	if n := strings.Count(text, "\nslipway_github_calls_waiting{"); n != maxRateLimitMetrics {
		t.Errorf("%d installations have numbers, want %d", n, maxRateLimitMetrics)
	}
}

func TestRateLimitsWithNothingToSay(t *testing.T) {
	s := newWorld().server(t)
	if state := decode[GitHubState](t, s.Pages(), "/api/v1/github"); len(state.Installations) != 0 || state.Cut {
		t.Errorf("%+v", state)
	}
	if page := body(t, s.Pages(), "/", http.StatusOK); strings.Contains(page, "calls wait") {
		t.Error("the page speaks of limits")
	}
}
