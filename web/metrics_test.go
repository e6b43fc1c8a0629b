package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func TestMetrics(t *testing.T) {
	m := NewMetrics("v1.2.3")
	m.DeliveryAccepted()
	m.DeliveryRefused("signature")
	m.Decided(jobs.OutcomeRun)
	m.Decided("something new")
	m.RunFinished(jobs.RunFailed)
	m.JobFinished(jobs.KindBuild, jobs.JobSucceeded, 20*time.Second)
	m.QueueDepth(jobs.KindDeploy, 3)
	m.GitHubCall("checks/create", 201)
	m.GitHubCall("checks/create", 0)
	m.GitHubCall("checks/create", 12345)
	m.Leading(true)
	m.DeliveryRecovered("log")
	m.HighWater(time.Now().Add(-time.Hour))
	text := body(t, newWorld().server(t, func(o *Options) { o.Metrics = m }).Metrics(), "/metrics", http.StatusOK)
	contains(t, text,
		"\nslipway_deliveries_accepted_total 1\n",
		`slipway_deliveries_refused_total{reason="signature"} 1`,
		`slipway_decisions_total{outcome="run"} 1`,
		`slipway_decisions_total{outcome="other"} 1`,
		`slipway_runs_finished_total{state="failed"} 1`,
		`slipway_job_duration_seconds_bucket{kind="build",state="succeeded",le="15"} 0`,
		`slipway_job_duration_seconds_bucket{kind="build",state="succeeded",le="30"} 1`,
		`slipway_queue_depth{kind="deploy"} 3`,
		`slipway_github_calls_total{operation="checks/create",status="201"} 1`,
		`slipway_github_calls_total{operation="checks/create",status="0"} 1`,
		`slipway_github_calls_total{operation="checks/create",status="other"} 1`,
		`slipway_deliveries_recovered_total{from="log"} 1`, "\nslipway_delivery_log_age_seconds 3600.",
		"\nslipway_leader 1\n", "\nslipway_sse_clients 0\n", `slipway_build_info{version="v1.2.3"} 1`, "go_goroutines", "process_open_fds")
	m.Leading(false)
	contains(t, body(t, newWorld().server(t, func(o *Options) { o.Metrics = m }).Metrics(), "/metrics", http.StatusOK), "\nslipway_leader 0\n", "\nslipway_delivery_log_age_seconds 0\n")
}

// A scraper that takes gzip gets it once.
func TestMetricsOverHTTP(t *testing.T) {
	server := httptest.NewServer(newWorld().server(t, func(o *Options) { o.Metrics = NewMetrics("v1") }).Metrics())
	defer server.Close()
	answer, err := http.Get(server.URL + "/metrics") // asks for gzip, and takes it off
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || !answer.Uncompressed {
		t.Fatalf("compressed: %t, %v", answer.Uncompressed, err)
	}
	contains(t, string(text), "\nslipway_leader 0\n")
}

// A caller that puts names into labels can't grow them without end.
func TestLabelsAreBounded(t *testing.T) {
	m := NewMetrics("")
	for i := range 1000 {
		m.DeliveryRefused(fmt.Sprint("reason ", i))
		m.GitHubCall(fmt.Sprint("repos/", i), 200)
		m.Decided(jobs.Outcome(fmt.Sprint(i)))
		m.JobFinished(jobs.KindName(fmt.Sprint(i)), jobs.JobState(fmt.Sprint(i)), time.Second)
		m.QueueDepth(jobs.KindName(fmt.Sprint(i)), i)
	}
	m.DeliveryRefused(strings.Repeat("x", 1000))
	text := body(t, newWorld().server(t, func(o *Options) { o.Metrics = m }).Metrics(), "/metrics", http.StatusOK)
	for name, most := range map[string]int{"slipway_deliveries_refused_total{": maxLabels + 1, "slipway_github_calls_total{": maxLabels + 1, "slipway_decisions_total{": 1, "slipway_queue_depth{": 1, "slipway_job_duration_seconds_sum{": 1} {
		if n := strings.Count(text, name); n == 0 || n > most {
			t.Errorf("%d series of %s, at most %d", n, name, most)
		}
	}
}

func TestHealth(t *testing.T) {
	var broken error
	var log strings.Builder
	checks := []Check{
		{"queue", func(context.Context) error { return broken }},
		{"GitHub App", func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); !ok {
				return errors.New("no deadline")
			}
			return nil
		}},
	}
	h := newWorld().server(t, func(o *Options) { o.Checks, o.Log = checks, slog.New(slog.NewTextHandler(&log, nil)) }).Metrics()
	if got := body(t, h, "/healthz", http.StatusOK); got != "ok\n" {
		t.Errorf("%q", got)
	}
	if got := body(t, h, "/readyz", http.StatusOK); got != "queue: ok\nGitHub App: ok\nready\n" {
		t.Errorf("%q", got)
	}
	broken = errors.New("no responders at 10.0.0.9")
	for range 3 {
		if got := body(t, h, "/readyz", http.StatusServiceUnavailable); got != "queue: failing\nGitHub App: ok\n" {
			t.Errorf("%q", got)
		}
	}
	body(t, h, "/healthz", http.StatusOK) // the process is alive all the same
	broken = nil
	body(t, h, "/readyz", http.StatusOK)
	if n := strings.Count(log.String(), "not ready"); n != 1 || strings.Count(log.String(), "ready again") != 1 || !strings.Contains(log.String(), "10.0.0.9") {
		t.Errorf("a change is logged once, with its cause:\n%s", log.String())
	}
}
