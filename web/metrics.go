package web

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/slipway-ci/slipway/jobs"
)

// maxLabels bounds the values of a label; what comes after is counted as "other".
const maxLabels = 64

// Metrics are the server's numbers for Prometheus. Its methods are what other packages' hooks are wired to; all are
// safe for concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	accepted   prometheus.Counter
	refused    *prometheus.CounterVec
	decisions  *prometheus.CounterVec
	runs       *prometheus.CounterVec
	jobSeconds *prometheus.HistogramVec
	depth      *prometheus.GaugeVec
	github     *prometheus.CounterVec
	leader     prometheus.Gauge
	streams    prometheus.Gauge
	recovered  *prometheus.CounterVec
	highWater  atomic.Int64 // Unix milliseconds; 0: not known

	reasons, operations, sources labels
}

// NewMetrics makes a set with its own registry, the process's and Go's numbers included.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_deliveries_accepted_total", Help: "Webhook deliveries stored and answered with 2xx."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_deliveries_refused_total", Help: "Webhook requests refused, by reason."}, []string{"reason"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_decisions_total", Help: "Deliveries decided, by outcome."}, []string{"outcome"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_runs_finished_total", Help: "Runs that ended, by final state."}, []string{"state"}),
		jobSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_job_duration_seconds", Help: "Time from a job's first claim to its end.",
			Buckets: []float64{1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600}}, []string{"kind", "state"}),
		depth: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "slipway_queue_depth", Help: "Jobs ready to be worked on that no worker has claimed, by kind."}, []string{"kind"}),
		github: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_github_calls_total", Help: "Requests to GitHub, by operation and status (0: no answer)."}, []string{"operation", "status"}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "slipway_leader", Help: "1 while this replica leads."}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "slipway_sse_clients", Help: "Live pages and logs being followed."}),
		recovered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_deliveries_recovered_total", Help: "Deliveries that no webhook brought, stored from GitHub's delivery log or made of what heads are at."}, []string{"from"}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "slipway_delivery_log_age_seconds", Help: "Time since which GitHub's delivery log was not read to its end; 0 on a replica that does not read it."}, m.logAge)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "slipway_build_info", Help: "Always 1; the version is the label.", ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build,
		m.accepted, m.refused, m.decisions, m.runs, m.jobSeconds, m.depth, m.github, m.leader, m.streams, m.recovered, age,
	)
	return m
}

// DeliveryAccepted counts a delivery that was stored.
func (m *Metrics) DeliveryAccepted() { m.accepted.Inc() }

// DeliveryRefused counts a request that was not. reason is a short fixed word such as "signature" or "too large".
func (m *Metrics) DeliveryRefused(reason string) {
	m.refused.WithLabelValues(m.reasons.bound(reason)).Inc()
}

// Decided counts a decision.
func (m *Metrics) Decided(outcome jobs.Outcome) {
	m.decisions.WithLabelValues(known(outcome, outcomes)).Inc()
}

// RunFinished counts a run that ended.
func (m *Metrics) RunFinished(state jobs.RunState) {
	m.runs.WithLabelValues(known(state, runStates)).Inc()
}

// JobFinished counts a job that ended, and how long it took.
func (m *Metrics) JobFinished(kind jobs.KindName, state jobs.JobState, took time.Duration) {
	m.jobSeconds.WithLabelValues(known(kind, kinds), known(state, jobStates)).Observe(took.Seconds())
}

// QueueDepth sets how many jobs of a kind wait for a worker.
func (m *Metrics) QueueDepth(kind jobs.KindName, n int) {
	m.depth.WithLabelValues(known(kind, kinds)).Set(float64(n))
}

// GitHubCall counts a request to GitHub. operation is a fixed name such as "checks/create", never a path with names
// in it; status is 0 when no answer came.
func (m *Metrics) GitHubCall(operation string, status int) {
	text := "other"
	if status == 0 || (status >= 100 && status <= 599) {
		text = strconv.Itoa(status)
	}
	m.github.WithLabelValues(m.operations.bound(operation), text).Inc()
}

// Leading says whether this replica leads.
func (m *Metrics) Leading(yes bool) {
	if yes {
		m.leader.Set(1)
	} else {
		m.leader.Set(0)
		m.highWater.Store(0)
	}
}

// DeliveryRecovered counts a delivery that no webhook brought. from is "log" or "heads".
func (m *Metrics) DeliveryRecovered(from string) {
	m.recovered.WithLabelValues(m.sources.bound(from)).Inc()
}

// HighWater says until when GitHub's delivery log was read.
func (m *Metrics) HighWater(through time.Time) { m.highWater.Store(through.UnixMilli()) }

func (m *Metrics) logAge() float64 {
	through := m.highWater.Load()
	if through == 0 {
		return 0
	}
	return time.Since(time.UnixMilli(through)).Seconds()
}

// Registry is where a package with collectors of its own registers them.
func (m *Metrics) Registry() prometheus.Registerer { return m.registry }

// handler leaves compression to what all answers pass, so that it is not done twice.
func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second, DisableCompression: true})
}

var (
	kinds     = []jobs.KindName{jobs.KindBuild, jobs.KindDeploy, jobs.KindDispatch, jobs.KindAwait}
	jobStates = []jobs.JobState{jobs.JobSucceeded, jobs.JobFailed, jobs.JobCancelled, jobs.JobSkipped, jobs.JobHeld}
)

func known[T ~string](v T, all []T) string {
	for _, k := range all {
		if v == k {
			return string(v)
		}
	}
	return "other"
}

// labels remembers the values of a label, so that a mistake in naming can't grow the set without end.
type labels struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (l *labels) bound(value string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[value] {
		return value
	}
	if len(l.seen) >= maxLabels || len(value) > 64 {
		return "other"
	}
	if l.seen == nil {
		l.seen = map[string]bool{}
	}
	l.seen[value] = true
	return value
}
