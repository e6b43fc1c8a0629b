package githubapp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// A recorded thing is one that something was said about: its record, as it was read.
type recorded struct {
	reports  jobs.Records[jobs.ReportRecord]
	key      string
	record   jobs.ReportRecord
	revision uint64
}

// recorded reads what was said about something, or notes that it is going to be said.
func (r *Reporter) recorded(ctx context.Context, key string, fresh jobs.ReportRecord) (*recorded, error) {
	e := &recorded{reports: r.reports, key: key}
	var err error
	e.record, e.revision, err = r.reports.Get(ctx, key)
	if errors.Is(err, jobs.ErrNotFound) {
		e.record = fresh
		e.revision, err = r.reports.Create(ctx, key, fresh)
		if errors.Is(err, jobs.ErrExists) {
			e.record, e.revision, err = r.reports.Get(ctx, key)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read what was said: %w", err)
	}
	return e, nil
}

// unsent takes the note of a request back that a limit kept from being made, so that nobody looks for what it did.
func (e *recorded) unsent(ctx context.Context, err error) error {
	if later := (*jobs.Later)(nil); !errors.As(err, &later) {
		return err
	}
	e.record.Asked = time.Time{}
	if failed := e.store(ctx); failed != nil {
		return failed
	}
	return err
}

// store writes the record if nobody else has since it was read. When another did, this one is behind and gives up: it is
// called again with what is true then.
func (e *recorded) store(ctx context.Context) error {
	revision, err := e.reports.Update(ctx, e.key, e.record, e.revision)
	if err != nil {
		return fmt.Errorf("note what is said: %w", err)
	}
	e.revision = revision
	return nil
}

// A saying is one check on its way to GitHub.
type saying struct {
	*Reporter
	*recorded
	run   jobs.RunInfo
	check Check
	hash  string
}

// create makes the check exist at GitHub, once. found tells that it existed, and has to be updated to show what it should.
// wait is set when it can't be known yet whether it exists.
func (s *saying) create(ctx context.Context) (wait time.Duration, found bool, err error) {
	if wait, found, err := s.find(ctx); wait > 0 || found || err != nil {
		return wait, found, err
	}
	s.record.Asked = s.now()
	if err := s.store(ctx); err != nil {
		return 0, false, err
	}
	first, rest := batch(s.check.Annotations)
	body := s.check.body(first)
	body.Name, body.HeadSHA, body.ExternalID = s.check.Name, s.run.SHA, s.record.ExternalID
	made, err := s.app.createCheck(ctx, s.run, body)
	if invalid(err) {
		s.plain(ctx, err)
		body = s.check.body(nil)
		body.Name, body.HeadSHA, body.ExternalID = s.check.Name, s.run.SHA, s.record.ExternalID
		rest = nil
		made, err = s.app.createCheck(ctx, s.run, body)
	}
	if err != nil {
		return 0, false, s.unsent(ctx, err)
	}
	s.record.GitHubID = made.id
	if len(rest) > 0 {
		return 0, false, s.append(ctx, rest)
	}
	return 0, false, s.shown(ctx)
}

// find looks for the check when an earlier create has no known answer: it may be there. wait is set when it can't be known yet.
func (s *saying) find(ctx context.Context) (wait time.Duration, found bool, err error) {
	if s.record.Asked.IsZero() {
		return 0, false, nil
	}
	has, ok, err := s.app.findCheck(ctx, s.run, s.check.Name, s.record.ExternalID)
	if err != nil {
		return 0, false, err
	}
	if ok {
		s.log.InfoContext(ctx, "found the check of an unanswered create", "run", s.run.ID, "check", s.check.Name, "id", has.id)
		s.record.GitHubID = has.id // Asked stays: what it shows, annotations above all, is not known
		return 0, true, s.store(ctx)
	}
	return max(s.record.Asked.Add(settle).Sub(s.now()), 0), false, nil
}

// update makes a check that exists show what it should.
func (s *saying) update(ctx context.Context) error {
	annotations := s.check.Annotations
	if len(annotations) > 0 && !s.record.Asked.IsZero() {
		// Some may have arrived with a request whose answer was lost; GitHub would list them twice.
		has, err := s.app.readCheck(ctx, s.run, s.record.GitHubID)
		if err != nil {
			return err
		}
		annotations = annotations[min(has.annotations, len(annotations)):]
	}
	noted := false
	if len(annotations) > 0 && s.record.Asked.IsZero() {
		if s.record.Completed { // they were all sent when it was completed
			annotations = nil
		} else {
			s.record.Asked = s.now()
			if err := s.store(ctx); err != nil {
				return err
			}
			noted = true
		}
	}
	first, rest := batch(annotations)
	_, err := s.app.updateCheck(ctx, s.run, s.record.GitHubID, s.change(first))
	if invalid(err) {
		s.plain(ctx, err)
		rest = nil
		_, err = s.app.updateCheck(ctx, s.run, s.record.GitHubID, s.change(nil))
	}
	if err != nil && noted {
		err = s.unsent(ctx, err)
	}
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return s.append(ctx, rest)
	}
	return s.shown(ctx)
}

// change says a check that is there already, and takes away the buttons that it has no more.
func (s *saying) change(annotations []jobs.Annotation) checkBody {
	body := s.check.body(annotations)
	if s.record.Completed && len(body.Actions) == 0 {
		body.Actions = []Button{}
	}
	return body
}

// append sends the annotations beyond the first request's. The final state is said by then.
func (s *saying) append(ctx context.Context, annotations []jobs.Annotation) error {
	s.record.Asked, s.record.Completed = s.now(), s.check.Status == "completed"
	if err := s.store(ctx); err != nil { // with the ID, so that a crash here makes no second check
		return err
	}
	for len(annotations) > 0 {
		var some []jobs.Annotation
		some, annotations = batch(annotations)
		body := checkBody{Output: s.check.body(some).Output}
		_, err := s.app.updateCheck(ctx, s.run, s.record.GitHubID, body)
		if invalid(err) {
			s.log.ErrorContext(ctx, "GitHub refused some of a check's annotations", "run", s.run.ID, "check", s.check.Name, "error", err)
			break
		}
		if err != nil {
			return err
		}
	}
	return s.shown(ctx)
}

// shown notes what GitHub shows now.
func (s *saying) shown(ctx context.Context) error {
	s.record.Hash, s.record.Said, s.record.Asked = s.hash, s.now(), time.Time{}
	s.record.Completed = s.check.Status == "completed"
	return s.store(ctx)
}

// plain drops what GitHub may have found wrong with a check, so that its state at least is shown.
func (s *saying) plain(ctx context.Context, err error) {
	s.log.ErrorContext(ctx, "GitHub refused a check; it is said again without annotations and details", "run", s.run.ID, "check", s.check.Name, "error", err)
	s.check.Annotations = nil
	s.check.Summary = "GitHub refused this check's details; they are on the run's page."
}

func batch(annotations []jobs.Annotation) (first, rest []jobs.Annotation) {
	n := min(len(annotations), annotationsPerAnswer)
	return annotations[:n], annotations[n:]
}
