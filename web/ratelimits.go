package web

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ci/slipway/jobs"
)

// Bounds of what is shown of GitHub's limits; the list begins with what is held back.
const (
	maxRateLimits       = 500 // installations in an answer
	maxRateLimitMetrics = 50  // installations with numbers of their own
	maxRateLimitNotes   = 5   // sentences on a page
)

// GitHubState is the answer of /api/v1/github: what may still be asked of GitHub, as far as this replica knows.
type GitHubState struct {
	Installations []jobs.RateLimitState `json:"installations"` // what is held back first, then what has the least left
	Cut           bool                  `json:"cut,omitempty"` // there are more
}

func (s *Server) rateLimits(most int) GitHubState {
	state := GitHubState{Installations: []jobs.RateLimitState{}}
	if s.o.RateLimits != nil {
		state.Installations = s.o.RateLimits()
	}
	if len(state.Installations) > most {
		state.Installations, state.Cut = state.Installations[:most], true
	}
	return state
}

// github answers about all installations: tokens are for repositories, so none is enough for it.
func (a api) github(c echo.Context) error {
	token, err := a.bearer(c)
	switch {
	case err != nil:
		return err
	case token != nil:
		return refuse(http.StatusForbidden, "This is about all installations, and tokens are for repositories. Ask for it on the server's own machine, without a token.")
	}
	return c.JSON(http.StatusOK, a.rateLimits(maxRateLimits))
}

// heldBack is what the list of runs says about GitHub's limits.
func (s *Server) heldBack() []jobs.RateLimitState {
	list := s.rateLimits(maxRateLimitNotes).Installations
	for i, e := range list {
		if !e.Limited() {
			return list[:i]
		}
	}
	return list
}

// rateLimitCollector turns the limits into gauges when Prometheus asks.
type rateLimitCollector struct {
	states func() []jobs.RateLimitState

	remaining, writes, waiting, held *prometheus.Desc
}

// RateLimits has the metrics show what may still be asked of GitHub: of the 50 installations that are held back or have the
// least left. Call it once.
func (m *Metrics) RateLimits(states func() []jobs.RateLimitState) {
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"installation"}, more...), nil)
	}
	m.registry.MustRegister(rateLimitCollector{
		states:    states,
		remaining: desc("slipway_github_calls_remaining", "Calls an installation may still make until GitHub's hour ends; installation 0 is the App itself."),
		writes:    desc("slipway_github_creates_left", "Checks, comments and the like an installation may create now, by the limit that counts them.", "limit"),
		waiting:   desc("slipway_github_calls_waiting", "Calls that GitHub's limits hold back."),
		held:      desc("slipway_github_held_until_seconds", "Unix time until which calls are held back; 0 when none are."),
	})
}

// Describe implements prometheus.Collector.
func (l rateLimitCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{l.remaining, l.writes, l.waiting, l.held} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (l rateLimitCollector) Collect(out chan<- prometheus.Metric) {
	list := l.states()
	for _, e := range list[:min(len(list), maxRateLimitMetrics)] {
		installation := strconv.FormatInt(e.Installation, 10)
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{installation}, labels...)...)
		}
		if e.Limit > 0 {
			gauge(l.remaining, float64(e.Remaining))
		}
		gauge(l.writes, float64(e.MinuteWrites), "minute")
		gauge(l.writes, float64(e.HourWrites), "hour")
		gauge(l.waiting, float64(e.Waiting))
		until := 0.0
		if e.Limited() {
			until = float64(e.HeldUntil.Unix())
		}
		gauge(l.held, until)
	}
}
