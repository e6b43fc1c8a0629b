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

// passed completes an earlier check of the same name that was never finished: what it waited for is settled.
func (c Check) passed(round int) Check {
	return Check{
		Name: c.Name, Round: round, Status: "completed", Conclusion: "neutral", Title: "It went on", URL: c.URL, Started: c.Started,
		Summary: "What this check stood for is settled. The newer check of the same name shows how it went on.\n",
	}
}

// endRounds sees to it that the earlier checks of a name are completed before a new one is made, so that none stays unfinished. A
// round never shown is recorded as completed too, so that whoever still works from the older run creates none.
func (r *Reporter) endRounds(ctx context.Context, run jobs.RunInfo, check Check) (wait time.Duration, err error) {
	for round := range check.Round {
		s, err := r.open(ctx, run, check.passed(round))
		if err != nil {
			return 0, err
		}
		if s.stored.record.Completed {
			continue
		}
		if wait, err := s.end(ctx); wait > 0 || err != nil {
			return wait, err
		}
	}
	return 0, nil
}

// end completes a check that may or may not be at GitHub. It makes none.
func (s *checkUpdate) end(ctx context.Context) (wait time.Duration, err error) {
	wants := checkDemand(true, true, s.stored.key)
	if later := s.reporter.app.heldBack(s.run, wants); later != nil {
		return 0, later
	}
	ctx = urgency(ctx, wants.priority, wants.subject)
	if s.stored.record.GitHubID == 0 {
		if wait, _, err := s.find(ctx); wait > 0 || err != nil {
			return wait, err
		}
	}
	if s.stored.record.GitHubID == 0 {
		s.stored.record.Completed, s.stored.record.Asked = true, time.Time{}
		return 0, s.stored.store(ctx)
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
