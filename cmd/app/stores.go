package main

import (
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
	"github.com/slipway-ci/slipway/webhook"
)

// stores are the records as the parts of a server see them. They are in one place so that a
// wrapper (what a test does to let the server die between two steps) can be put around each.
type stores struct {
	accept    webhook.Acceptor
	decisions jobs.Set[jobs.Decision]
	runs      jobs.Set[jobs.Run]
	archive   jobs.Set[jobs.Run]
	refs      jobs.Set[jobs.RefRecord]
	results   jobs.Set[jobs.Result]
	reports   jobs.Set[jobs.ReportRecord]
	meta      jobs.Set[jobs.Start]
	hints     jobs.Hints
	index     jobs.Index
	slots     map[jobs.KindName]jobs.Slot

	// What a test shortens: how long a worker may be silent before its job goes to another, and how long the leader
	// waits between two sweeps. 0 means the usual.
	claimTTL, sweep time.Duration
}

func openStores(q *queue.Queue, slots map[jobs.KindName]jobs.Slot) *stores {
	return &stores{
		accept:    q,
		decisions: queue.Set[jobs.Decision](q, queue.Decisions),
		runs:      queue.Set[jobs.Run](q, queue.Runs),
		archive:   queue.Set[jobs.Run](q, queue.Archive),
		refs:      queue.Set[jobs.RefRecord](q, queue.Refs),
		results:   queue.Set[jobs.Result](q, queue.Results),
		reports:   queue.Set[jobs.ReportRecord](q, queue.Reports),
		meta:      queue.Set[jobs.Start](q, queue.Meta),
		hints:     q.Hints(),
		index:     q,
		slots:     slots,
	}
}
