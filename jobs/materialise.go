package jobs

import (
	"context"
	"errors"
	"fmt"
)

// materialise makes what a decision started exist: its ref's record, the end of what it stops or supersedes, its own run,
// the reply to who asked. Every step is idempotent.
func (p *Planner) materialise(ctx context.Context, d Decision) error {
	for _, s := range d.Stops {
		if err := p.end(ctx, s); err != nil {
			return err
		}
	}
	for _, o := range d.Orders {
		_, err := Change(ctx, p.Runs, o.Run, func(run *Run) error {
			if !run.Order(o.Job, o.Order) {
				return ErrUnchanged
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("tell %s of run %s: %w", o.Job, o.Run, err)
		}
	}
	if d.Reply != nil {
		if _, err := p.Replies.Create(ctx, ReplyKey(d.Reply.Comment), *d.Reply); err != nil && !errors.Is(err, ErrExists) {
			return fmt.Errorf("note the reply: %w", err)
		}
	}
	if err := p.noteSchedule(ctx, d); err != nil {
		return err
	}
	superseded, err := p.moveRefs(ctx, d)
	if err == nil {
		err = p.noteObserved(ctx, d)
	}
	if err != nil || d.Run.ID == "" {
		return err
	}
	if _, _, err := p.Archive.Get(ctx, d.Run.ID); err == nil {
		return nil // long over
	} else if !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("look for %s in the archive: %w", d.Run.ID, err)
	}
	run := NewRun(d)
	if d.Again != nil {
		earlier, err := p.find(ctx, d.Again.Run)
		if errors.Is(err, ErrNotFound) {
			p.Log.WarnContext(ctx, "the run to be repeated is no longer kept", "run", d.Again.Run, "delivery", d.Delivery)
			return nil
		}
		if err != nil {
			return err
		}
		run = nextRun(d, earlier)
	}
	if superseded != "" {
		run.RequestStop(Stop{Reason: superseded, Time: p.Now(), Superseded: true})
	}
	if err := p.Index.AppendRun(ctx, RunEntry{ID: run.ID, Repository: run.Repository.ID, Name: run.Repository.FullName(), Created: run.Created}); err != nil {
		return fmt.Errorf("list run %s: %w", run.ID, err)
	}
	if _, err := p.Runs.Create(ctx, run.ID, run); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("create run %s: %w", run.ID, err)
	}
	return nil
}

// end stops a run or one of its jobs; what is over stays as it is.
func (p *Planner) end(ctx context.Context, s StopRequest) error {
	if s.Job == "" {
		return p.stop(ctx, s.Run, Stop{Reason: s.Reason, Time: p.Now()})
	}
	_, err := Change(ctx, p.Runs, s.Run, func(run *Run) error {
		if !run.RequestJobStop(s.Job, s.Reason, p.Now()) {
			return ErrUnchanged
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("stop %s of run %s: %w", s.Job, s.Run, err)
	}
	return nil
}
