package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// sending bounds one request, so that what was written down before it is not long past when it is made.
const sending = time.Minute

// start has the workflow started, or the one of the attempt before run again. It returns nothing when there is something to find or
// to follow. When the job ends without anything started, that is noted before it is said.
func (s *session) start(ctx context.Context) (*jobs.Result, error) {
	if s.rec.Ended != "" {
		return s.over(ctx, s.rec.Ended, s.rec.Why)
	}
	result, err := s.launch(ctx)
	var refusal *jobs.Refusal
	if errors.As(err, &refusal) && s.rec.Sent.IsZero() {
		if _, noted := s.over(ctx, jobs.Failure, refusal.Sentence); noted != nil {
			return nil, noted
		}
	}
	return result, err
}

// over ends a job that started nothing. From then on nothing can be: a worker that stood still meanwhile, and still believes the job to
// be its own, can't store that it sends any more.
func (s *session) over(ctx context.Context, conclusion jobs.Conclusion, summary string) (*jobs.Result, error) {
	if s.rec.Ended != conclusion || s.rec.Why != summary {
		s.rec.Run, s.rec.Job = s.task.Run.ID, s.task.Job
		s.rec.Ended, s.rec.Why = conclusion, summary
		if err := s.save(ctx); err != nil {
			return nil, err
		}
	}
	return &jobs.Result{Conclusion: conclusion, Summary: summary}, s.leave(ctx) // not before: the next goes at once
}

// launch is start without its end.
func (s *session) launch(ctx context.Context) (*jobs.Result, error) {
	if s.revision == 0 {
		if err := s.prepare(ctx); err != nil {
			return nil, err
		}
	} else if err := s.still(); err != nil {
		return nil, err
	}
	if s.task.Earlier != "" && s.rec.Earlier == "" {
		if err := s.resume(ctx); err != nil || s.rec.ID != 0 {
			return nil, err
		}
	}
	if behind, err := s.behind(ctx); behind != nil || err != nil {
		return behind, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	return nil, s.send(ctx)
}

// still asks the operator's policy once more: it may have changed while the job waited.
func (s *session) still() error {
	if err := s.trusted(s.rec.Own); err != nil {
		return err
	}
	grant, err := s.grant(s.rec.Repository.FullName())
	if err != nil {
		return err
	}
	return s.allowed(grant)
}

// behind ends the job when its branch has a newer commit: GitHub would start the workflow on that.
func (s *session) behind(ctx context.Context) (*jobs.Result, error) {
	if !s.rec.Own || s.task.Newest == nil {
		return nil, nil
	}
	newest, why, err := s.task.Newest(ctx)
	if errors.Is(err, jobs.ErrNotFound) {
		return nil, nil // the workflow run's own commit will tell
	}
	if err != nil || newest {
		return nil, err
	}
	fmt.Fprintf(s.task.Log, "not dispatched: %s\n", why)
	return s.over(ctx, jobs.Skipped, fmt.Sprintf("not dispatched: %s, and GitHub starts workflows on a branch's newest commit only", why))
}

// send asks GitHub, once.
func (s *session) send(job context.Context) error {
	ctx, cancel := context.WithTimeout(job, sending)
	defer cancel()
	s.rec.Sent = s.Now()
	if err := s.save(ctx); err != nil {
		return err
	}
	r := s.rec
	fmt.Fprintf(s.task.Log, "dispatching %s of %s on %s\n", r.Workflow, r.Repository.FullName(), r.branch())
	id, err := int64(0), s.prompt(s.turn)
	if err == nil {
		id, err = s.Starter.Dispatch(ctx, r.Installation, r.Repository, r.Workflow, r.Ref, r.Inputs)
	}
	switch {
	case err == nil && id != 0:
		s.rec.ID, s.rec.Attempt, s.rec.Inputs = id, 1, nil
		s.rec.URL = s.page(id)
		return s.save(ctx)
	case err == nil:
		fmt.Fprintln(s.task.Log, "GitHub took it without naming the workflow run; looking for it")
		return nil
	case unclear(ctx, err):
		fmt.Fprintln(s.task.Log, "no clear answer came from GitHub; looking for the workflow run instead of asking again")
		return job.Err()
	}
	// Surely nothing was started.
	ctx = context.WithoutCancel(job)
	s.rec.Sent = time.Time{}
	if noted := s.save(ctx); noted != nil {
		return noted
	}
	if left := s.leave(ctx); left != nil {
		return left
	}
	return fmt.Errorf("dispatch %s of %s on %s: %w", r.Workflow, r.Repository.FullName(), r.branch(), err)
}

// errStoodStill means that a request was not made, because what was written down for it was too long past.
var errStoodStill = errors.New("this server stood still before it could ask GitHub; nothing was asked")

// prompt returns an error when it is too late for a request that others know of since a time, or for the turn to make it: they may have
// given it up by now. A timeout alone does not tell, since its clock may have stood still, too.
func (s *session) prompt(since time.Time) error {
	if s.Now().Sub(since) >= sending {
		return errStoodStill
	}
	return nil
}

// unclear reports whether GitHub may have done what it was asked for, although an error came back.
func unclear(ctx context.Context, err error) bool {
	var refusal *jobs.Refusal
	var later *jobs.Later
	known := errors.As(err, &refusal) || errors.As(err, &later) || errors.Is(err, errStoodStill)
	return errors.Is(err, jobs.ErrUnclear) || ctx.Err() != nil && !known
}

// page is where people see a workflow run, until GitHub tells.
func (s *session) page(id int64) string {
	if s.Page == nil {
		return ""
	}
	return s.Page(s.rec.Repository, id)
}

// where is a place to look at the workflow run, for people.
func (s *session) where() string {
	return cmp.Or(s.rec.URL, fmt.Sprintf("workflow run %d of %s", s.rec.ID, s.rec.Repository.FullName()))
}
