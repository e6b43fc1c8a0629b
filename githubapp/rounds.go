package githubapp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// id names a check among all of its run, the earlier ones of the same name included.
func (c Check) id() string {
	if c.Round == 0 {
		return c.Name
	}
	return c.Name + "#" + strconv.Itoa(c.Round)
}

// passed is an earlier check of the same name that was left unfinished: what it waited for came and went before it was said.
func (c Check) passed(round int) Check {
	return Check{
		Name: c.Name, Round: round, Status: "completed", Conclusion: "neutral", Title: "It went on", URL: c.URL, Started: c.Started,
		Summary: "What this check stood for is settled. The newer check of the same name shows how it went on.\n",
	}
}

// endRounds sees to it that the earlier checks of a name are completed before a new one is made, so that none stays unfinished. One
// that was never shown is noted as completed all the same: whoever still believes in it makes none.
func (r *Reporter) endRounds(ctx context.Context, run jobs.RunInfo, check Check) (wait time.Duration, err error) {
	for round := range check.Round {
		s, err := r.open(ctx, run, check.passed(round))
		if err != nil {
			return 0, err
		}
		if s.record.Completed {
			continue
		}
		if wait, err := s.end(ctx); wait > 0 || err != nil {
			return wait, err
		}
	}
	return 0, nil
}

// end completes a check that may or may not be at GitHub. It makes none.
func (s *saying) end(ctx context.Context) (wait time.Duration, err error) {
	wants := checkDemand(true, true, s.key)
	if later := s.app.heldBack(s.run, wants); later != nil {
		return 0, later
	}
	ctx = urgency(ctx, wants.priority, wants.subject)
	if s.record.GitHubID == 0 {
		if wait, _, err := s.find(ctx); wait > 0 || err != nil {
			return wait, err
		}
	}
	if s.record.GitHubID == 0 {
		s.record.Completed, s.record.Asked = true, time.Time{}
		return 0, s.store(ctx)
	}
	return 0, s.update(ctx)
}

// shownRound is the newest round of a check that GitHub has, or may have.
func (r *Reporter) shownRound(ctx context.Context, run string, check Check) (int, error) {
	for ; check.Round > 0; check.Round-- {
		record, _, err := r.reports.Get(ctx, reportKey(run, check.id()))
		if err != nil && !errors.Is(err, jobs.ErrNotFound) {
			return 0, fmt.Errorf("read what was said of %s: %w", run, err)
		}
		if err == nil && (record.GitHubID != 0 || !record.Asked.IsZero()) {
			break
		}
	}
	return check.Round, nil
}
