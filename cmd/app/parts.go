package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/pipeline"
	"github.com/slipway-ci/slipway/queue"
	"github.com/slipway-ci/slipway/web"
	"github.com/slipway-ci/slipway/webhook"
)

// parts makes the parts of a server, each from what the others share.
type parts struct {
	c       Config
	log     *slog.Logger
	q       *queue.Queue
	stores  *stores
	app     *githubapp.App
	rules   *pipeline.Rules
	metrics *web.Metrics
	name    string
}

func checkouts(c Config) string { return filepath.Join(c.Work.Dir, "checkouts") }

func (p parts) leader(callbacks *web.Callbacks) *jobs.Leader {
	s := p.stores
	planner := &jobs.Planner{
		Decode: decoder(p.rules).Decode, Pulls: p.app, Commits: p.app, People: p.app, Repositories: p.app, Actions: p.app, Rules: p.rules, Pipelines: pipelines{}, Bots: p.rules.Bots(),
		RateLimited: p.rateLimited, Suggest: webhook.Suggestion, Approvals: s.approvals, Replies: s.replies, Causes: s.causes, Timetables: s.schedules, Watches: s.watches, Workflows: s.workflows,
		Decisions: s.decisions, Runs: s.runs, Archive: s.archive, Refs: s.refs, Index: s.index, Meta: s.meta,
		Decided: p.metrics.Decided, Now: time.Now, Log: p.log,
	}
	return &jobs.Leader{
		Name: p.name, Leases: p.q.Leases(), Deliveries: p.q, Runs: s.runs, Sweep: s.timing.sweep, Leading: p.metrics.Leading, Finished: p.metrics.RunFinished, Log: p.log,
		Recovery: p.recovery(), Replies: s.replies, Replier: p.app, Callbacks: callbacks,
		Clock:   &jobs.Clock{Timetables: s.schedules, Accept: s.accept, Next: s.timing.due, Now: time.Now, Log: p.log},
		Planner: planner,
		Scheduler: &jobs.Scheduler{
			Runs: s.runs, Archive: s.archive, Hints: s.hints, Share: p.c.Work.PerRepository, Now: time.Now, Log: p.log,
			Resolve: func(run jobs.Run, job jobs.Job) jobs.Resolution { return resolve(run, job, p.rules.Grant(run.RunInfo)) },
		},
		Sweeper: &jobs.Sweeper{
			Runs: s.runs, Leases: p.q.Leases(), Hints: s.hints, Grace: s.timing.claimTTL, Depth: p.metrics.QueueDepth, Now: time.Now, Log: p.log,
		},
		Reporter: githubapp.NewReporter(githubapp.ReporterConfig{
			App: p.app, Reports: s.reports, Results: s.results,
			URL: p.runURL, EnvironmentURL: p.environmentURL, Siblings: planner.Siblings, Now: time.Now, Log: p.log,
		}),
	}
}

// rateLimited tells what of GitHub's limits holds an installation's calls back, or "".
func (p parts) rateLimited(installation int64) string {
	for _, e := range p.app.RateLimits() {
		if e.Installation == installation && e.Limited() {
			return e.Reason
		}
	}
	return ""
}

// runURL is where people see a run.
func (p parts) runURL(run string) string {
	base := p.c.Server.URL
	if base == "" {
		base = "http://" + p.c.Server.Pages
	}
	return strings.TrimRight(base, "/") + "/runs/" + run
}

// environmentURL is where people reach what a run rolled out to an environment, or "".
func (p parts) environmentURL(run jobs.RunInfo, environment string) string {
	for _, e := range p.rules.Grant(run).Environments {
		if e.Name == environment {
			return e.URL
		}
	}
	return ""
}

func (p parts) runner(source jobs.Source, secrets [][]byte) *jobs.Runner {
	s := p.stores
	return &jobs.Runner{
		Name: p.name, Kinds: s.slots, Runs: s.runs, Results: s.results, Refs: s.refs, Watches: s.watches, Hints: s.hints, Leases: p.q.Leases(),
		Logs: p.q.Logs(), Source: source,
		Grants: p.rules.Grant, Mask: jobs.NewMask(p.secrets(secrets)), ClaimTTL: s.timing.claimTTL, Finished: p.metrics.JobFinished, Now: time.Now, Log: p.log,
	}
}

// secrets lists what must never be kept in a log or result, besides GitHub's tokens, which are known by their form.
func (p parts) secrets(webhooks [][]byte) []string {
	var all []string
	for _, s := range webhooks {
		all = append(all, string(s))
	}
	for _, r := range p.c.Registries {
		// A file that can't be read now is said by the build that needs it.
		if data, err := os.ReadFile(r.PasswordFile); err == nil {
			all = append(all, string(data))
		}
	}
	return all
}

func (p parts) webhook(secrets [][]byte) (http.Handler, error) {
	return webhook.New(webhook.Options{
		AppID: p.c.GitHub.AppID, Secrets: secrets, Accept: p.stores.accept, Log: p.log,
		Observe: func(outcome string) {
			if outcome == "accepted" {
				p.metrics.DeliveryAccepted()
			} else {
				p.metrics.DeliveryRefused(outcome)
			}
		},
	})
}

func (p parts) web(probes []probe) (*web.Server, error) {
	var checks []web.Check
	for _, probe := range probes[:1] { // readiness is the queue's alone: a cluster that is away must not stop deliveries
		checks = append(checks, web.Check{Name: probe.name, Ask: probe.ask})
	}
	var hosts []string
	if host, _, err := net.SplitHostPort(p.c.Server.Pages); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	submissions, err := p.submissions()
	if err != nil {
		return nil, err
	}
	return web.New(web.Options{
		Submissions: submissions,
		Runs:        p.stores.runs, Archive: p.stores.archive, Index: listing{p.q}, Decisions: p.stores.decisions, Results: p.stores.results,
		Logs: p.q.Logs(), Deliveries: listing{p.q}, URL: p.c.Server.URL, Hosts: hosts, GitHubURL: p.c.GitHub.WebURL(),
		Public: p.c.Server.PagesPublic, Version: version, Checks: checks, Metrics: p.metrics, RateLimits: p.app.RateLimits, Log: p.log,
	})
}

// listing turns the queue's lists into the ones pages ask for.
type listing struct{ q *queue.Queue }

func (l listing) Runs(ctx context.Context, before uint64, n int, repository string) ([]jobs.RunEntry, uint64, error) {
	entries, err := l.q.Runs(ctx, before, n, queue.RunFilter{Name: repository})
	if err != nil || len(entries) < n {
		return entries, 0, err
	}
	return entries, entries[n-1].Seq, nil
}

func (l listing) Deliveries(ctx context.Context, before string, n int) ([]jobs.Delivery, string, error) {
	stored, next, err := l.q.ListDeliveries(ctx, before, n)
	if errors.Is(err, queue.ErrBadCursor) {
		err = jobs.ErrNotFound
	}
	var list []jobs.Delivery
	for _, d := range stored {
		list = append(list, d.Delivery)
	}
	return list, next, err
}

func (l listing) Delivery(ctx context.Context, guid string) (jobs.Delivery, error) {
	return l.q.Delivery(ctx, guid)
}

// pipelines is package pipeline as the planner knows it.
type pipelines struct{}

func (pipelines) Plan(in jobs.PlanInput) jobs.Plan { return pipeline.Plan(in) }
func (pipelines) Workflows(in jobs.PlanInput) []jobs.WorkflowRef {
	return pipeline.Workflows(in)
}
func (pipelines) NeedsChanges(in jobs.PlanInput) bool { return pipeline.NeedsChanges(in) }
func (pipelines) Commands(file []byte, path string) []jobs.DeclaredCommand {
	return pipeline.Commands(file, path)
}

func (pipelines) Schedules(file []byte, path string) []jobs.ScheduleEntry {
	var list []jobs.ScheduleEntry
	for _, s := range pipeline.Schedules(file, path) {
		list = append(list, jobs.ScheduleEntry{Cron: s.Cron, Timezone: s.Timezone})
	}
	return list
}

// nextMoment is when an entry of a timetable comes due after a moment; zero for never.
func nextMoment(e jobs.ScheduleEntry, after time.Time) time.Time {
	s, err := pipeline.ParseSchedule(e.Cron, e.Timezone)
	if err != nil { // it was in order when it was noted
		return time.Time{}
	}
	return s.Next(after)
}

// decoder reads deliveries, commands by the operator's prefix.
func decoder(rules *pipeline.Rules) webhook.Decoder {
	prefix, required := rules.Prefix()
	return webhook.Decoder{Prefix: prefix, RequirePrefix: required}
}

// resolve evaluates what a job takes from the jobs before it.
func resolve(run jobs.Run, job jobs.Job, grant jobs.Grant) jobs.Resolution {
	r, err := pipeline.Resolve(run, job, grant)
	if err != nil {
		return jobs.Resolution{Fault: fmt.Sprintf("the stored job can't be resolved: %v", err)}
	}
	return r
}
