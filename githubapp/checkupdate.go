package githubapp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// A storedReport is a report record with the revision it was read at.
type storedReport struct {
	reports  jobs.Records[jobs.ReportRecord]
	key      string
	record   jobs.ReportRecord
	revision uint64
}

// readStored reads what was said about something, or notes that it is going to be said.
func (r *Reporter) readStored(ctx context.Context, key string, fresh jobs.ReportRecord) (*storedReport, error) {
	e := &storedReport{reports: r.reports, key: key}
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

// clearAsked clears Asked when a rate limit kept the request from being sent, so that nobody looks for its effect. It returns the
// error it was given, or that of the record.
func (e *storedReport) clearAsked(ctx context.Context, err error) error {
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
func (e *storedReport) store(ctx context.Context) error {
	revision, err := e.reports.Update(ctx, e.key, e.record, e.revision)
	if err != nil {
		return fmt.Errorf("note what is said: %w", err)
	}
	e.revision = revision
	return nil
}

// A checkUpdate is one check on its way to GitHub.
type checkUpdate struct {
	reporter *Reporter
	stored   *storedReport
	run      jobs.RunInfo
	check    Check
	hash     string
}

// create makes the check exist at GitHub, once. found tells that it existed, and has to be updated to show what it should.
// wait is set when it can't be known yet whether it exists.
func (s *checkUpdate) create(ctx context.Context) (wait time.Duration, found bool, err error) {
	if wait, found, err := s.find(ctx); wait > 0 || found || err != nil {
		return wait, found, err
	}
	s.stored.record.Asked = s.reporter.now()
	if err := s.stored.store(ctx); err != nil {
		return 0, false, err
	}
	first, rest := batch(s.check.Annotations)
	body := s.check.body(first)
	body.Name, body.HeadSHA, body.ExternalID = s.check.Name, s.run.SHA, s.stored.record.ExternalID
	made, err := s.reporter.app.createCheck(ctx, s.run, body)
	if invalid(err) {
		s.plain(ctx, err)
		body = s.check.body(nil)
		body.Name, body.HeadSHA, body.ExternalID = s.check.Name, s.run.SHA, s.stored.record.ExternalID
		rest = nil
		made, err = s.reporter.app.createCheck(ctx, s.run, body)
	}
	if err != nil {
		return 0, false, s.stored.clearAsked(ctx, err)
	}
	s.stored.record.GitHubID = made.id
	if len(rest) > 0 {
		return 0, false, s.append(ctx, rest)
	}
	return 0, false, s.shown(ctx)
}

// find looks for the check when an earlier create has no known answer: it may be there. wait is set when it can't be known yet.
func (s *checkUpdate) find(ctx context.Context) (wait time.Duration, found bool, err error) {
	if s.stored.record.Asked.IsZero() {
		return 0, false, nil
	}
	has, ok, err := s.reporter.app.findCheck(ctx, s.run, s.check.Name, s.stored.record.ExternalID)
	if err != nil {
		return 0, false, err
	}
	if ok {
		s.reporter.log.InfoContext(ctx, "found the check of an unanswered create", "run", s.run.ID, "check", s.check.Name, "id", has.id)
		s.stored.record.GitHubID = has.id // Asked stays: what it shows, annotations above all, is not known
		return 0, true, s.stored.store(ctx)
	}
	return max(s.stored.record.Asked.Add(settle).Sub(s.reporter.now()), 0), false, nil
}

// update makes a check that exists show what it should.
func (s *checkUpdate) update(ctx context.Context) error {
	annotations := s.check.Annotations
	if len(annotations) > 0 && !s.stored.record.Asked.IsZero() {
		// Some may have arrived with a request whose answer was lost; GitHub would list them twice.
		has, err := s.reporter.app.readCheck(ctx, s.run, s.stored.record.GitHubID)
		if err != nil {
			return err
		}
		annotations = annotations[min(has.annotations, len(annotations)):]
	}
	noted := false
	if len(annotations) > 0 && s.stored.record.Asked.IsZero() {
		if s.stored.record.Completed { // they were all sent when it was completed
			annotations = nil
		} else {
			s.stored.record.Asked = s.reporter.now()
			if err := s.stored.store(ctx); err != nil {
				return err
			}
			noted = true
		}
	}
	first, rest := batch(annotations)
	_, err := s.reporter.app.updateCheck(ctx, s.run, s.stored.record.GitHubID, s.change(first))
	if invalid(err) {
		s.plain(ctx, err)
		rest = nil
		_, err = s.reporter.app.updateCheck(ctx, s.run, s.stored.record.GitHubID, s.change(nil))
	}
	if err != nil && noted {
		err = s.stored.clearAsked(ctx, err)
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
func (s *checkUpdate) change(annotations []jobs.Annotation) checkBody {
	body := s.check.body(annotations)
	if s.stored.record.Completed && len(body.Actions) == 0 {
		body.Actions = []Button{}
	}
	return body
}

// append sends the annotations beyond the first request's. The final state is said by then.
func (s *checkUpdate) append(ctx context.Context, annotations []jobs.Annotation) error {
	s.stored.record.Asked, s.stored.record.Completed = s.reporter.now(), s.check.Status == "completed"
	if err := s.stored.store(ctx); err != nil { // with the ID, so that a crash here makes no second check
		return err
	}
	for len(annotations) > 0 {
		var some []jobs.Annotation
		some, annotations = batch(annotations)
		body := checkBody{Output: s.check.body(some).Output}
		_, err := s.reporter.app.updateCheck(ctx, s.run, s.stored.record.GitHubID, body)
		if invalid(err) {
			s.reporter.log.ErrorContext(ctx, "GitHub refused some of a check's annotations", "run", s.run.ID, "check", s.check.Name, "error", err)
			break
		}
		if err != nil {
			return err
		}
	}
	return s.shown(ctx)
}

// shown notes what GitHub shows now.
func (s *checkUpdate) shown(ctx context.Context) error {
	s.stored.record.Hash, s.stored.record.Said, s.stored.record.Asked = s.hash, s.reporter.now(), time.Time{}
	s.stored.record.Completed = s.check.Status == "completed"
	return s.stored.store(ctx)
}

// plain drops what GitHub may have found wrong with a check, so that its state at least is shown.
func (s *checkUpdate) plain(ctx context.Context, err error) {
	s.reporter.log.ErrorContext(ctx, "GitHub refused a check; it is said again without annotations and details", "run", s.run.ID, "check", s.check.Name, "error", err)
	s.check.Annotations = nil
	s.check.Summary = "GitHub refused this check's details; they are on the run's page."
}

func batch(annotations []jobs.Annotation) (first, rest []jobs.Annotation) {
	n := min(len(annotations), annotationsPerAnswer)
	return annotations[:n], annotations[n:]
}
