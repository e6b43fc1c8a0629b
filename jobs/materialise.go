package jobs

import (
	"context"
	"errors"
	"fmt"
)

// materialise makes what a decision started exist: its ref's record, the end of the run it supersedes, its own run.
// Each step is right again when it is repeated.
func (p *Planner) materialise(ctx context.Context, d Decision) error {
	superseded, err := p.moveRef(ctx, d)
	if err != nil || d.Run.ID == "" {
		return err
	}
	if _, _, err := p.Archive.Get(ctx, d.Run.ID); err == nil {
		return nil // long over
	} else if !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("look for %s in the archive: %w", d.Run.ID, err)
	}
	run := NewRun(d)
	if superseded != "" {
		run.RequestStop(superseded, p.Now())
	}
	if err := p.Index.AppendRun(ctx, RunEntry{ID: run.ID, Repository: run.Repository.ID, Name: run.Repository.FullName(), Created: run.Created}); err != nil {
		return fmt.Errorf("list run %s: %w", run.ID, err)
	}
	if _, err := p.Runs.Create(ctx, run.ID, run); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("create run %s: %w", run.ID, err)
	}
	return nil
}
