package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/webhook"
)

var update = flag.Bool("update", false, "write what commands print into the scripts that compare it")

// program is the slipway that scripts run: the real one, but for two things a script may ask for by environment.
// PRETEND makes its kinds of jobs only note what they were asked to do. CRASH=STEP:WHEN[:N] lets it die, as by kill -9,
// right before or after the Nth time it takes a step such as decisions.create.
func program() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, func(s *stores) {
		if os.Getenv("PRETEND") != "" {
			for name, slot := range s.slots {
				slot.Kind = pretender{name}
				s.slots[name] = slot
			}
		}
		if at := os.Getenv("CRASH"); at != "" {
			newCrash(at).wrap(s)
		}
	}))
}

// A pretender is a kind that notes each job it is given in the file $BUILT. What a job's image or release is called says
// how it goes: …/fails fails, …/slow takes until it is no longer wanted, …/trouble meets trouble of ours twice.
type pretender struct{ kind jobs.KindName }

func (p pretender) Run(ctx context.Context, task jobs.Task) (jobs.Result, error) {
	var spec jobs.BuildSpec
	_ = json.Unmarshal(task.Spec, &spec) // a deploy spec has no image
	f, err := os.OpenFile(os.Getenv("BUILT"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return jobs.Result{}, err
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s %s of %s: %s\n", p.kind, task.Job, task.Run.ID, task.Spec); err != nil {
		return jobs.Result{}, err
	}
	fmt.Fprintf(task.Log, "pretending to %s\n", p.kind)
	switch {
	case strings.HasSuffix(spec.Image, "/fails"):
		return jobs.Result{Conclusion: jobs.Failure, Summary: "it was meant to fail", Tail: []string{"the last line"}}, nil
	case strings.HasSuffix(spec.Image, "/slow"):
		<-ctx.Done()
		return jobs.Result{}, ctx.Err()
	}
	return jobs.Result{
		Conclusion: jobs.Success, Summary: "pretended",
		Outputs: map[string]any{"digest": "sha256:" + strings.Repeat("0", 64), "image": spec.Image},
	}, nil
}

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
	if step != c.step || when != c.when || c.left.Add(-1) != 0 {
		return
	}
	fmt.Fprintf(os.Stderr, "CRASH %s %s\n", when, step)
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
	s.hints = crashHints{s.hints, c}
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

type crashKind struct {
	jobs.Kind
	c    *crash
	name string
}

func (k crashKind) Run(ctx context.Context, task jobs.Task) (result jobs.Result, err error) {
	err = k.c.around(k.name, func() error { result, err = k.Kind.Run(ctx, task); return err })
	return result, err
}
