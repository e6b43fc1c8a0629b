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
	requests   jobs.Set[web.RequestRecord]
	tokens     jobs.Set[web.Token]
	meta       jobs.Set[jobs.Start]
	watermarks jobs.Records[jobs.LogWatermark]
	recoveries jobs.Records[jobs.RecoverRequest]
	seen       jobs.Records[jobs.SeenHeads]
	hints      jobs.Hints
	index      jobs.Index
	slots      map[jobs.KindName]jobs.Slot

	timing timing
}

// timing is what a test shortens; the zero value means the usual.
type timing struct {
	claimTTL time.Duration // how long a worker may be silent before its job goes to another
	sweep    time.Duration // between two sweeps of the leader
	recover  time.Duration // between two readings of GitHub's delivery log; below 0 never
	settle   time.Duration // how long a head without a decision may be one whose delivery is on its way
	search   time.Duration // how long a workflow run without an ID is looked for
	polling  jobs.Polling  // of workflow runs and checks that no delivery tells of
	// due is when an entry of a timetable comes due after a moment; never nil.
	due func(entry jobs.ScheduleEntry, after time.Time) time.Time
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
		requests:   queue.Set[web.RequestRecord](q, queue.Requests),
		tokens:     queue.Set[web.Token](q, queue.Tokens),
		timing:     timing{due: nextMoment},
		meta:       queue.Set[jobs.Start](q, queue.Meta),
		watermarks: queue.Set[jobs.LogWatermark](q, queue.Meta),
		recoveries: queue.Set[jobs.RecoverRequest](q, queue.Meta),
		seen:       queue.Set[jobs.SeenHeads](q, queue.Refs),
		hints:      q.Hints(),
		index:      q,
		slots:      slots,
	}
}
