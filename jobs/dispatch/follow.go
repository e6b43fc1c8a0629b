package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// follow takes one look at the workflow run: it ends the job, or says when to look again at the latest. It returns nothing when the
// workflow run was given up for one of the job's own.
func (s *session) follow(ctx context.Context) (*jobs.Result, error) {
	if !s.rec.Claimed {
		claimed, err := s.claim(ctx, s.rec.ID, "")
		if err != nil {
			return nil, err
		}
		if s.rec.Claimed = claimed; !claimed {
			return nil, errors.Join(refuse("workflow run %d is followed by another job already; look at %s", s.rec.ID, s.where()), s.leave(ctx))
		}
		if err := s.save(ctx); err != nil {
			return nil, err
		}
		fmt.Fprintf(s.task.Log, "started: %s\n", s.where())
		if err := s.leave(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.task.Watch(ctx, jobs.WorkflowTopic(s.rec.Repository.ID, s.rec.ID)); err != nil {
		return nil, err
	}
	run, err := s.known(ctx)
	if err != nil {
		return nil, err
	}
	if s.rec.Want != 0 {
		if run, err = s.expect(ctx, run); err != nil {
			return nil, err
		}
	}
	if run, err = s.look(ctx, run); err != nil {
		return nil, err
	}
	waits := s.spec.Wait == nil || *s.spec.Wait
	if !waits && run.SHA == "" { // the one look that such a job takes
		asked, err := s.ask(ctx, s.rec.ID)
		if err != nil {
			return nil, err
		}
		if run, err = s.learn(ctx, asked); err != nil {
			return nil, err
		}
	}
	if moved, err := s.moved(ctx, run); moved != nil || err != nil {
		return moved, err
	}
	late := s.rec.Overdue || !s.Now().Before(s.rec.deadline(s.timeout))
	switch {
	case run.Over() && s.rec.Again:
		return nil, s.repeat(ctx, run)
	case !waits:
		return s.started(ctx, run)
	case run.Over() && !late && s.mayRetry(run):
		return nil, s.retry(ctx)
	case run.Over() && !s.rec.Overdue:
		return s.end(ctx, run)
	case late:
		return s.overdue(ctx, run)
	}
	if err := s.reviews(ctx, run); err != nil {
		return nil, err
	}
	next := min(s.rec.Heard.Add(s.rec.Quiet).Sub(s.Now()), s.rec.deadline(s.timeout).Sub(s.Now()))
	return nil, s.later(next, s.reason(run), run)
}

// known is what deliveries told of the attempt that is followed.
func (s *session) known(ctx context.Context) (jobs.WorkflowRun, error) {
	run, _, err := s.Workflows.Get(ctx, jobs.WorkflowKey(s.rec.Repository.ID, s.rec.ID))
	if err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return run, fmt.Errorf("read what is known of workflow run %d: %w", s.rec.ID, err)
	}
	return s.current(run), nil
}

// current is a run as news tell of it, unless they are about an attempt before the one that is followed.
func (s *session) current(run jobs.WorkflowRun) jobs.WorkflowRun {
	if run.Attempt >= s.rec.Attempt && run.ID == s.rec.ID {
		return run
	}
	last := s.rec.last()
	last.Name, last.SHA, last.Path, last.Title = run.Name, run.SHA, run.Path, run.Title
	return last
}

// look takes in what is new, and asks GitHub when nothing was heard for long.
func (s *session) look(ctx context.Context, run jobs.WorkflowRun) (jobs.WorkflowRun, error) {
	before := s.rec.Print
	if s.rec.Heard.IsZero() {
		s.rec.Heard, s.rec.Quiet = s.Now(), s.Polling.First
	}
	known := fingerprint(run)
	news := known != before
	if news {
		s.rec.Heard, s.rec.Quiet = s.Now(), s.Polling.First
	} else if !run.Over() && s.Now().Sub(s.rec.Heard) >= s.rec.Quiet {
		asked, err := s.ask(ctx, s.rec.ID)
		if err != nil {
			return run, err
		}
		if asked.Jobs, err = s.askJobs(ctx, asked.Attempt); err != nil {
			return run, err
		}
		if run, err = s.learn(ctx, asked); err != nil {
			return run, err
		}
		known = fingerprint(run)
		if news = known != before; news {
			s.rec.Quiet = s.Polling.First
		} else {
			s.rec.Quiet = min(2*s.rec.Quiet, s.Polling.Most)
		}
		s.rec.Heard = s.Now()
	} else {
		return run, nil
	}
	if run.Attempt > s.rec.Attempt { // somebody ran it again on GitHub
		s.rec.Attempt, s.rec.Told, s.rec.NoRetry = run.Attempt, nil, ""
	}
	s.rec.Print = known
	if run.URL != "" {
		s.rec.URL = run.URL
	}
	lines := s.tell(run)
	if err := s.save(ctx); err != nil {
		return run, err
	}
	for _, line := range lines {
		fmt.Fprintln(s.task.Log, line)
	}
	return run, nil
}

// fingerprint tells whether there is news.
func fingerprint(run jobs.WorkflowRun) string {
	run.Updated = time.Time{}
	data, err := json.Marshal(run)
	if err != nil {
		return "" // never: it came from JSON
	}
	return digest(string(data))
}

// ask asks GitHub about a workflow run.
func (s *session) ask(ctx context.Context, id int64) (jobs.WorkflowRun, error) {
	run, err := s.Runs.WorkflowRun(ctx, s.rec.Installation, s.rec.Repository, id)
	if err != nil {
		return run, fmt.Errorf("ask how workflow run %d stands: %w", id, err)
	}
	return run, nil
}

func (s *session) askJobs(ctx context.Context, attempt int) ([]jobs.WorkflowJob, error) {
	list, err := s.Runs.WorkflowJobs(ctx, s.rec.Installation, s.rec.Repository, s.rec.ID, attempt)
	if err != nil {
		return nil, fmt.Errorf("ask for the jobs of workflow run %d: %w", s.rec.ID, err)
	}
	return list, nil
}

// learn keeps what GitHub answered beside what deliveries told, and returns both together.
func (s *session) learn(ctx context.Context, news jobs.WorkflowRun) (jobs.WorkflowRun, error) {
	run, err := jobs.Upsert(ctx, s.Workflows, jobs.WorkflowKey(s.rec.Repository.ID, s.rec.ID), func(run *jobs.WorkflowRun) error {
		if !run.Learn(news) {
			return jobs.ErrUnchanged
		}
		return nil
	})
	if err != nil {
		return run, fmt.Errorf("keep what is known of workflow run %d: %w", news.ID, err)
	}
	return s.current(run), nil
}

// later parks the job, with how the workflow run stands.
func (s *session) later(after time.Duration, reason string, run jobs.WorkflowRun) *jobs.Later {
	var approvals []string
	for _, w := range s.rec.Waits {
		approvals = append(approvals, w.Name)
	}
	return &jobs.Later{After: max(after, time.Second), Reason: reason, Approvals: approvals, Progress: &jobs.Result{
		Summary: jobs.Cut(reason, jobs.MaxSummary), Details: s.details(run, maxProgress), Outputs: s.identity(),
	}}
}
