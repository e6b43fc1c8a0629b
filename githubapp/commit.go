package githubapp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// GitHub takes the newest check of a name on a commit for the commit's, whatever run wrote it. Several runs may stand on one
// commit: of two pull requests, of a branch and its pull request, of a stranger's copy of somebody's branch. So the check of
// the whole run, the one to require, shows for every run the worst of all runs on the commit that count (jobs.Speaks).

// checks says what GitHub is to show for a run beside others on its commit.
func (r *Reporter) checks(ctx context.Context, run jobs.Run, results map[string]jobs.Result, others []jobs.Run, stands bool) ([]Check, error) {
	if run.Asked != nil || len(others) == 0 && stands {
		return ChecksOf(run, results), nil
	}
	speaks, worst := jobs.Speaks(run, others)
	checks := ChecksOf(run, results)
	if speaks && stands {
		if worst != nil && worst.ID != run.ID && run.State.Over() {
			r.relay(&checks[0], *worst)
		}
		return checks, nil
	}
	whole := checks[0]
	checks = checksWith(run, results, false)
	said, err := r.said(ctx, run.ID)
	if err != nil || !said || !run.State.Over() {
		return checks, err
	}
	// GitHub shows the newest check of a name. A run that does not count updates the check it has and never creates one.
	if whole.Round, err = r.shownRound(ctx, run.ID, whole); err != nil {
		return nil, err
	}
	if worst != nil && worst.ID != run.ID { // it spoke before another came to, or before it left the commit
		r.relay(&whole, *worst)
	}
	return append([]Check{whole}, checks...), nil
}

// relay lets a check say what another run on the commit says.
func (r *Reporter) relay(c *Check, worst jobs.Run) {
	_, c.Conclusion = runStatus(worst)
	c.Title = fmt.Sprintf("%s: %s", spoken(worst), headline(worst))
	where := "run `" + worst.ID + "`"
	if url := r.url(worst.ID); url != "" {
		where = fmt.Sprintf("[run `%s`](%s)", worst.ID, url)
	}
	c.Summary = fmt.Sprintf("**%s decides here:** the same commit stands there, and GitHub knows one check of a name for a commit. See %s.\n\n---\n\n%s",
		spoken(worst), where, c.Summary)
	c.Annotations, c.Buttons = nil, nil
	*c = c.bound()
}

// spoken is what a run is for, in a word.
func spoken(run jobs.Run) string {
	if run.PullRequest > 0 {
		return fmt.Sprintf("pull request #%d", run.PullRequest)
	}
	return plain(run.Ref)
}

// said reports whether a run's check of the whole was ever posted, or is about to be.
func (r *Reporter) said(ctx context.Context, run string) (bool, error) {
	_, _, err := r.reports.Get(ctx, reportKey(run, CheckName))
	if errors.Is(err, jobs.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read what was said of %s: %w", run, err)
	}
	return true, nil
}

// renew shows again what the check of another run on the commit says, now that one beside it changed.
func (r *Reporter) renew(ctx context.Context, run jobs.Run, others []jobs.Run) (time.Duration, error) {
	if said, err := r.said(ctx, run.ID); err != nil || !said || !run.State.Over() {
		return 0, err
	}
	run.URL = r.url(run.ID)
	results, err := r.resultsOf(ctx, run)
	if err != nil {
		return 0, err
	}
	checks, err := r.checks(ctx, run, results, others, true)
	if err != nil || len(checks) == 0 || checks[0].Name != CheckName {
		return 0, err
	}
	return r.show(ctx, run.RunInfo, checks[0])
}

// besides is the runs but one, with another in its place.
func besides(runs []jobs.Run, one, other jobs.Run) []jobs.Run {
	rest := []jobs.Run{other}
	for _, r := range runs {
		if r.ID != one.ID {
			rest = append(rest, r)
		}
	}
	return rest
}
