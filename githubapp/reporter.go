package githubapp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/slipway-ci/slipway/jobs"
)

// ReporterConfig is what a Reporter needs.
type ReporterConfig struct {
	App     *App
	Reports jobs.Records[jobs.ReportRecord]
	Results jobs.Records[jobs.Result]
	// URL returns the address of a run's page, or "" when there is none to link.
	URL func(run string) string
	// EnvironmentURL returns the address of what runs in an environment after a run, or "" when there is none. May be nil.
	EnvironmentURL func(run jobs.RunInfo, environment string) string
	// Siblings are the runs that stand on a run's commit beside it, and whether it stands there itself; nil: it is alone.
	Siblings func(ctx context.Context, run jobs.RunInfo) (others []jobs.Run, stands bool, err error)
	Now      func() time.Time // default time.Now
	Log      *slog.Logger
}

// A Reporter makes GitHub show runs as they are: their checks, the deployments they make, and what a pull request's comment
// says. What was said stands in the report records, so that any replica can go on where another stopped; in memory is only which
// permissions GitHub lately said are missing.
type Reporter struct {
	app            *App
	reports        jobs.Records[jobs.ReportRecord]
	results        jobs.Records[jobs.Result]
	url            func(string) string
	siblings       func(context.Context, jobs.RunInfo) ([]jobs.Run, bool, error)
	environmentURL func(jobs.RunInfo, string) string
	now            func() time.Time
	log            *slog.Logger
	denials        *lru.Cache[string, time.Time]
}

var _ jobs.Reporter = (*Reporter)(nil)

const (
	// progressEvery is how often at most an unfinished check is changed.
	progressEvery = 10 * time.Second
	// settle is how long after a create without an answer GitHub may still be about to list the check.
	settle = 10 * time.Second
)

// NewReporter returns a reporter.
func NewReporter(config ReporterConfig) *Reporter {
	denials, err := lru.New[string, time.Time](maxDenials)
	if err != nil {
		panic(err) // the size is positive
	}
	r := &Reporter{app: config.App, reports: config.Reports, results: config.Results, url: config.URL, environmentURL: config.EnvironmentURL, siblings: config.Siblings,
		now: config.Now, log: config.Log, denials: denials}
	if r.url == nil {
		r.url = func(string) string { return "" }
	}
	if r.siblings == nil {
		r.siblings = func(context.Context, jobs.RunInfo) ([]jobs.Run, bool, error) { return nil, true, nil }
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r
}

// Report makes GitHub show the run as it is now, final states first. It returns 0 when GitHub shows it, or when to be
// called again because something was held back. When it must wait for GitHub it returns a *jobs.Later, and when GitHub can
// never show the run a *jobs.Unreportable. Any other error is worth another try, after the given time if there is one.
//
// Checks come first, those that are final before the others; then the checks of other runs on the commit, deployments, and the pull
// request's comment last. What can't be shown of other runs, deployments and comments does not keep a run from counting as shown.
//
// Calling it twice, at the same time or after a crash anywhere, makes no second check.
func (r *Reporter) Report(ctx context.Context, run jobs.Run) (again time.Duration, err error) {
	if !ValidSHA(run.SHA) {
		return 0, &jobs.Unreportable{Reason: "the run has no commit that a check could stand on"}
	}
	run.URL = r.url(run.ID)
	results, err := r.resultsOf(ctx, run)
	if err != nil {
		return 0, err
	}
	others, stands, err := r.siblings(ctx, run.RunInfo)
	if err != nil {
		return 0, err
	}
	checks, err := r.checks(ctx, run, results, others, stands)
	if err != nil {
		return 0, err
	}
	slices.SortStableFunc(checks, func(a, b Check) int { return rank(a) - rank(b) })
	for _, check := range checks {
		wait, err := r.show(ctx, run.RunInfo, check)
		if err != nil {
			return r.judge(ctx, run.RunInfo, check, err)
		}
		again = sooner(again, wait)
	}
	for _, other := range others {
		wait, err := r.renew(ctx, other, besides(others, other, run))
		if err != nil {
			wait, err = r.judge(ctx, other.RunInfo, Check{Name: CheckName}, err)
		}
		if never := (*jobs.Unreportable)(nil); errors.As(err, &never) { // it says nothing of this run
			r.log.WarnContext(ctx, "what another run on the commit says can't be shown anew", "run", other.ID, "beside", run.ID, "reason", never.Reason)
			continue
		}
		if err != nil {
			return wait, err
		}
		again = sooner(again, wait)
	}
	wait, err := r.showDeployments(ctx, run, results)
	if err != nil {
		return wait, err
	}
	again = sooner(again, wait)
	if wait, err = r.showComment(ctx, run); err != nil {
		return wait, err
	}
	return sooner(again, wait), nil
}

func rank(c Check) int {
	if c.Status == "completed" {
		return 0
	}
	return 1
}

func (r *Reporter) resultsOf(ctx context.Context, run jobs.Run) (map[string]jobs.Result, error) {
	results := map[string]jobs.Result{}
	for _, j := range run.Jobs {
		if j.ResultKey == "" {
			continue
		}
		result, _, err := r.results.Get(ctx, j.ResultKey)
		if errors.Is(err, jobs.ErrNotFound) { // the job's summary stands in the run; that will do
			continue
		} else if err != nil {
			return nil, fmt.Errorf("read the result of %s in %s: %w", j.Name, run.ID, err)
		}
		results[j.Name] = result
	}
	return results, nil
}

// judge sorts the errors of showing a check: what can never be shown, what is to be shown later, and the rest.
func (r *Reporter) judge(ctx context.Context, run jobs.RunInfo, check Check, err error) (time.Duration, error) {
	var (
		gone  *jobs.Gone
		later *jobs.Later
		down  *Unavailable
	)
	switch {
	case errors.As(err, &later):
		return later.After, later
	case errors.As(err, &down):
		return down.After, err
	case errors.As(err, &gone):
		return 0, &jobs.Unreportable{Reason: gone.Reason}
	case errors.Is(err, ErrDenied):
		r.log.ErrorContext(ctx, "the App may not write checks; grant it the permission Checks: read and write", "repository", run.Repository.FullName(), "error", err)
		return 0, &jobs.Unreportable{Reason: "the App was not granted the permission to write checks on " + run.Repository.FullName()}
	case invalid(err), status(err) == http.StatusNotFound:
		r.log.ErrorContext(ctx, "GitHub refused a check", "run", run.ID, "check", check.Name, "error", err)
		return 0, &jobs.Unreportable{Reason: fmt.Sprintf("GitHub refused the check %q: %s", check.Name, refusal(err))}
	}
	return 0, fmt.Errorf("show %q of %s: %w", check.Name, run.ID, err)
}

// reportKey is the key of the record of what was said about one check or deployment of a run.
func reportKey(run, check string) string {
	sum := sha256.Sum256([]byte(check))
	return run + "." + hex.EncodeToString(sum[:8])
}

// show makes GitHub show one check. It returns how long to wait when the change is held back.
func (r *Reporter) show(ctx context.Context, run jobs.RunInfo, check Check) (wait time.Duration, err error) {
	s, err := r.open(ctx, run, check)
	if err != nil {
		return 0, err
	}
	done := check.Status == "completed"
	known := s.stored.record.GitHubID != 0
	progress := known && (!done || check.open && s.stored.record.Completed)
	switch {
	case s.stored.record.Hash == s.hash:
		return 0, nil
	case s.stored.record.Completed && (!done || !known):
		return 0, nil // the run we were given is older than what was said
	case known && check.stale:
		return time.Second, nil
	case progress:
		if wait := s.stored.record.Said.Add(progressEvery).Sub(r.now()); wait > 0 {
			return wait, nil
		}
	}
	if !known {
		if wait, err := r.endRounds(ctx, run, check); wait > 0 || err != nil {
			return wait, err
		}
	}
	wants := checkDemand(done && !progress, known, s.stored.key)
	if later := r.app.heldBack(run, wants); later != nil { // before anything is noted
		if wants.priority == priorityProgress {
			return later.After, nil // another check may have more to say
		}
		return 0, later
	}
	ctx = urgency(ctx, wants.priority, wants.subject)
	if s.stored.record.GitHubID == 0 {
		if wait, found, err := s.create(ctx); !found || err != nil {
			return wait, err
		}
	}
	return 0, s.update(ctx)
}

// open reads what was said about the check, or notes that it is going to be said.
func (r *Reporter) open(ctx context.Context, run jobs.RunInfo, check Check) (*checkUpdate, error) {
	id := check.id()
	e, err := r.readStored(ctx, reportKey(run.ID, id), jobs.ReportRecord{Run: run.ID, Check: check.Name, ExternalID: run.ID + "/" + id})
	if err != nil {
		return nil, err
	}
	return &checkUpdate{reporter: r, stored: e, run: run, check: check, hash: digest(check.body(check.Annotations))}, nil
}

// digest stands for everything GitHub shows of something.
func digest(body any) string {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings, numbers and times
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
