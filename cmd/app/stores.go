package main

import (
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/dispatch"
	"github.com/slipway-ci/slipway/queue"
	"github.com/slipway-ci/slipway/web"
	"github.com/slipway-ci/slipway/webhook"
)

// stores are the records as the parts of a server see them. They are in one place so that a
// wrapper (what a test does to let the server die between two steps) can be put around each.
type stores struct {
	accept     webhook.Acceptor
	decisions  jobs.Set[jobs.Decision]
	runs       jobs.Set[jobs.Run]
	archive    jobs.Set[jobs.Run]
	refs       jobs.Set[jobs.RefRecord]
	results    jobs.Set[jobs.Result]
	reports    jobs.Set[jobs.ReportRecord]
	approvals  jobs.Set[jobs.Approvals]
	replies    jobs.Set[jobs.Reply]
	causes     jobs.Set[jobs.Cause]
	schedules  jobs.Set[jobs.Timetable]
	watches    jobs.Set[jobs.Watch]
	workflows  jobs.Set[jobs.WorkflowRun]
	dispatches jobs.Set[dispatch.Record]
	lanes      jobs.Set[dispatch.Lane]
	asked      jobs.Set[web.RequestRecord]
	tokens     jobs.Set[web.Token]
	meta       jobs.Set[jobs.Start]
	marks      jobs.Records[jobs.Mark]
	requests   jobs.Records[jobs.RecoverRequest]
	seen       jobs.Records[jobs.SeenHeads]
	hints      jobs.Hints
	index      jobs.Index
	slots      map[jobs.KindName]jobs.Slot

	// What a test shortens: how long a worker may be silent before its job goes to another, and how long the leader
	// waits between two sweeps; how long between two readings of GitHub's delivery log, and how long a head without a
	// decision may be one whose delivery is on its way. 0 means the usual; recover below 0 means never.
	claimTTL, sweep, recover, settle time.Duration
	// How long a workflow run without an ID is looked for, and how long nothing must be heard of one before GitHub is asked.
	search, poll time.Duration
	// When an entry of a timetable comes due after a moment; a test lets it be soon.
	next func(jobs.ScheduleEntry, time.Time) time.Time
}

func openStores(q *queue.Queue, slots map[jobs.KindName]jobs.Slot) *stores {
	return &stores{
		accept:     q,
		decisions:  queue.Set[jobs.Decision](q, queue.Decisions),
		runs:       queue.Set[jobs.Run](q, queue.Runs),
		archive:    queue.Set[jobs.Run](q, queue.Archive),
		refs:       queue.Set[jobs.RefRecord](q, queue.Refs),
		results:    queue.Set[jobs.Result](q, queue.Results),
		reports:    queue.Set[jobs.ReportRecord](q, queue.Reports),
		approvals:  queue.Set[jobs.Approvals](q, queue.Approvals),
		replies:    queue.Set[jobs.Reply](q, queue.Replies),
		causes:     queue.Set[jobs.Cause](q, queue.Causes),
		schedules:  queue.Set[jobs.Timetable](q, queue.Schedules),
		watches:    queue.Set[jobs.Watch](q, queue.Watches),
		workflows:  queue.Set[jobs.WorkflowRun](q, queue.Workflows),
		dispatches: queue.Set[dispatch.Record](q, queue.Dispatches),
		lanes:      queue.Set[dispatch.Lane](q, queue.Dispatches),
		asked:      queue.Set[web.RequestRecord](q, queue.Requests),
		tokens:     queue.Set[web.Token](q, queue.Tokens),
		next:       nextMoment,
		meta:       queue.Set[jobs.Start](q, queue.Meta),
		marks:      queue.Set[jobs.Mark](q, queue.Meta),
		requests:   queue.Set[jobs.RecoverRequest](q, queue.Meta),
		seen:       queue.Set[jobs.SeenHeads](q, queue.Refs),
		hints:      q.Hints(),
		index:      q,
		slots:      slots,
	}
}
