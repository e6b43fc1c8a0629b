package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/dispatch"
	"github.com/slipway-ci/slipway/web"
	"github.com/slipway-ci/slipway/webhook"
)

// A crash ends the process at a step.
type crash struct {
	step, when string
	left       atomic.Int32
}

func newCrash(at string) *crash {
	fields := strings.Split(at, ":")
	c := &crash{step: fields[0], when: fields[1]}
	c.left.Store(1)
	if len(fields) == 3 {
		var n int32
		if _, err := fmt.Sscan(fields[2], &n); err != nil {
			panic("CRASH=" + at + ": " + err.Error())
		}
		c.left.Store(n)
	}
	return c
}

// around does a step, and dies where it was told to.
func (c *crash) around(step string, do func() error) error {
	c.maybe(step, "before")
	err := do()
	if err == nil || errors.Is(err, jobs.ErrExists) {
		c.maybe(step, "after")
	}
	return err
}

func (c *crash) maybe(step, when string) {
	if c.step == "*" {
		fmt.Fprintf(os.Stderr, "STEP %s %s\n", step, when)
	}
	if step != c.step || when != c.when || c.left.Add(-1) != 0 {
		return
	}
	fmt.Fprintf(os.Stderr, "dying %s %s\n", when, step)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // no further instruction
}

func (c *crash) wrap(s *stores) {
	s.accept = crashAccept{c, s.accept}
	s.decisions = crashSet[jobs.Decision]{s.decisions, c, "decisions"}
	s.runs = crashSet[jobs.Run]{s.runs, c, "runs"}
	s.archive = crashSet[jobs.Run]{s.archive, c, "archive"}
	s.refs = crashSet[jobs.RefRecord]{s.refs, c, "refs"}
	s.results = crashSet[jobs.Result]{s.results, c, "results"}
	s.reports = crashSet[jobs.ReportRecord]{s.reports, c, "reports"}
	s.causes = crashSet[jobs.Cause]{s.causes, c, "causes"}
	s.approvals = crashSet[jobs.Approvals]{s.approvals, c, "approvals"}
	s.replies = crashSet[jobs.Reply]{s.replies, c, "replies"}
	s.requests = crashSet[web.RequestRecord]{s.requests, c, "requests"}
	s.watches = crashSet[jobs.Watch]{s.watches, c, "watches"}
	s.workflows = crashSet[jobs.WorkflowRun]{s.workflows, c, "workflows"}
	s.dispatches = crashSet[dispatch.Record]{s.dispatches, c, "dispatches"}
	s.lanes = crashSet[dispatch.Lane]{s.lanes, c, "lanes"}
	s.hints = crashHints{s.hints, c}
	s.index = crashIndex{s.index, c}
	for name, slot := range s.slots {
		slot.Kind = crashKind{slot.Kind, c, string(name)}
		s.slots[name] = slot
	}
}

type crashAccept struct {
	*crash
	next webhook.Acceptor
}

func (c crashAccept) Accept(ctx context.Context, d jobs.Delivery) (created bool, err error) {
	err = c.around("accept", func() error { created, err = c.next.Accept(ctx, d); return err })
	return created, err
}

type crashSet[T any] struct {
	jobs.Set[T]
	c    *crash
	name string
}

func (s crashSet[T]) Create(ctx context.Context, key string, value T) (revision uint64, err error) {
	err = s.c.around(s.name+".create", func() error { revision, err = s.Set.Create(ctx, key, value); return err })
	return revision, err
}

func (s crashSet[T]) Update(ctx context.Context, key string, value T, revision uint64) (next uint64, err error) {
	err = s.c.around(s.name+".update", func() error { next, err = s.Set.Update(ctx, key, value, revision); return err })
	return next, err
}

func (s crashSet[T]) Delete(ctx context.Context, key string, revision uint64) error {
	return s.c.around(s.name+".delete", func() error { return s.Set.Delete(ctx, key, revision) })
}

type crashHints struct {
	jobs.Hints
	c *crash
}

func (h crashHints) Offer(ctx context.Context, hint jobs.Hint) error {
	return h.c.around("hints.offer", func() error { return h.Hints.Offer(ctx, hint) })
}

func (h crashHints) Take(ctx context.Context, kind jobs.KindName) (jobs.Hint, func(context.Context) error, error) {
	hint, ack, err := h.Hints.Take(ctx, kind)
	return hint, func(ctx context.Context) error {
		return h.c.around("hints.ack", func() error { return ack(ctx) })
	}, err
}

type crashIndex struct {
	jobs.Index
	c *crash
}

func (i crashIndex) AppendRun(ctx context.Context, entry jobs.RunEntry) error {
	return i.c.around("index.append", func() error { return i.Index.AppendRun(ctx, entry) })
}

type crashKind struct {
	jobs.Kind
	c    *crash
	name string
}

func (k crashKind) Run(ctx context.Context, task jobs.Task) (result jobs.Result, err error) {
	err = k.c.around(k.name, func() error { result, err = k.Kind.Run(ctx, task); return err })
	return result, err
}
