package githubapp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// A desk is a world with a reporter and its records.
type desk struct {
	*world
	reports  *records[jobs.ReportRecord]
	results  *records[jobs.Result]
	reporter *Reporter
}

func (d *desk) Report(ctx context.Context, run jobs.Run) (time.Duration, error) {
	return d.reporter.Report(ctx, run)
}

func newDesk(t *testing.T, change ...func(*githubtest.Options)) *desk {
	t.Helper()
	d := &desk{world: newWorld(t, change...), reports: newRecords[jobs.ReportRecord](), results: newRecords[jobs.Result]()}
	d.restart()
	return d
}

// restart is a new process on the same records.
func (d *desk) restart() {
	d.app = d.newApp()
	d.reporter = NewReporter(ReporterConfig{App: d.app, Reports: d.reports, Results: d.results, Now: d.clock.Now, Log: d.app.log,
		URL:            func(run string) string { return "https://slipway.example.com/runs/" + run },
		EnvironmentURL: func(_ jobs.RunInfo, environment string) string { return "https://" + environment + ".example.com/" }})
}

// of puts a run onto the repository's first commit, in the clock's time.
func (d *desk) of(run jobs.Run) jobs.Run {
	run.RunInfo.Installation, run.RunInfo.Repository, run.SHA = d.inst.ID, described(d.repo), d.first
	shift := d.clock.Now().Sub(began)
	for _, at := range []*time.Time{&run.Created, &run.Started, &run.Finished} {
		if !at.IsZero() {
			*at = at.Add(shift)
		}
	}
	return run
}

// settle reports until GitHub shows the run, as the leader's loop does, and returns how long that took by the clock.
func (d *desk) settle(run jobs.Run) time.Duration {
	d.t.Helper()
	from := d.clock.Now()
	for range 100 {
		again, err := d.Report(d.t.Context(), run)
		clean(d.t, err)
		if err == nil && again == 0 {
			return d.clock.Now().Sub(from)
		}
		d.clock.advance(max(again, time.Second))
	}
	d.t.Fatal("the run is still not shown")
	return 0
}

// shows fails unless GitHub shows exactly these checks, "name: state", whatever the order they were made in.
func (d *desk) shows(want ...string) []githubtest.CheckRun {
	d.t.Helper()
	runs := d.repo.CheckRuns(d.first)
	slices.SortStableFunc(runs, func(a, b githubtest.CheckRun) int { return strings.Compare(a.Name, b.Name) })
	var got []string
	for _, r := range runs {
		state := r.Status
		if r.Conclusion != "" {
			state = r.Conclusion
		}
		got = append(got, r.Name+": "+state)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		d.t.Errorf("GitHub shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return runs
}

func TestWarmPushCostsTwoCallsPerCheck(t *testing.T) {
	d := newDesk(t)
	ok(t, d.results.put("k", jobs.Result{Conclusion: jobs.Success}))
	for _, run := range []jobs.Run{
		push(jobs.RunActive, image(jobs.JobQueued), release(jobs.JobWaiting)),
		push(jobs.RunActive, image(jobs.JobRunning), release(jobs.JobWaiting)),
		push(jobs.RunActive, image(jobs.JobSucceeded), release(jobs.JobRunning)),
	} {
		_, err := d.Report(t.Context(), d.of(run))
		ok(t, err)
		d.clock.advance(time.Second)
	}
	d.settle(d.of(push(jobs.RunSucceeded, image(jobs.JobSucceeded), release(jobs.JobSucceeded))))
	runs := d.shows("slipway: success", "slipway / image: success", "slipway / release: success")
	if c, u := d.count("checks/create"), d.count("checks/update"); c != 3 || u != 3 {
		t.Errorf("%d creates and %d updates, want 3 and 3", c, u)
	}
	if all := d.CountRequests(nil); all != 7 {
		t.Errorf("%d calls in all, want 6 and the token", all)
	}
	for _, r := range runs {
		if !strings.HasPrefix(r.DetailsURL, "https://slipway.example.com/runs/r-abc123") || r.ExternalID != "r-abc123/"+r.Name || r.App != d.gh.ID {
			t.Errorf("%s: %+v", r.Name, r)
		}
		if r.CompletedAt.IsZero() || r.StartedAt.IsZero() || r.CompletedAt.Before(r.StartedAt) {
			t.Errorf("%s: from %s to %s", r.Name, r.StartedAt, r.CompletedAt)
		}
	}
	if got := runs[1].CompletedAt.Sub(runs[1].StartedAt); got != 12*time.Second {
		t.Errorf("the image took 12.4 s, GitHub shows %s", got)
	}
	// Again, and by another process: nothing to say.
	n := d.CountRequests(nil)
	d.restart()
	d.settle(d.of(push(jobs.RunSucceeded, image(jobs.JobSucceeded), release(jobs.JobSucceeded))))
	if got := d.CountRequests(nil) - n; got > 1 && d.count("checks/update") != 3 {
		t.Errorf("%d calls to say the same again", got)
	}
}

func TestProgressIsHeldBackAndFinalStatesAreNot(t *testing.T) {
	d := newDesk(t)
	report := func(run jobs.Run) time.Duration {
		t.Helper()
		again, err := d.Report(t.Context(), run)
		ok(t, err)
		return again
	}
	queued := d.of(push(jobs.RunActive, image(jobs.JobQueued)))
	running := d.of(push(jobs.RunActive, image(jobs.JobRunning)))
	if again := report(queued); again != 0 {
		t.Errorf("the first word was held back for %s", again)
	}
	d.clock.advance(3 * time.Second)
	if again := report(running); again != 7*time.Second || d.count("checks/update") != 0 {
		t.Errorf("progress after 3 s: again in %s after %d updates, want 7s and 0", again, d.count("checks/update"))
	}
	d.clock.advance(7 * time.Second)
	if again := report(running); again != 0 || d.count("checks/update") != 1 {
		t.Errorf("progress after 10 s: again in %s after %d updates, want 0 and 1", again, d.count("checks/update"))
	}
	d.shows("slipway: in_progress")
	if again := report(d.of(push(jobs.RunFailed, image(jobs.JobFailed)))); again != 0 {
		t.Errorf("the end was held back for %s", again)
	}
	d.shows("slipway: failure")
	// What a slower replica still believes takes nothing back.
	if again := report(running); again != 0 {
		t.Errorf("again in %s", again)
	}
	d.shows("slipway: failure")
}

func TestFinalStatesGoFirst(t *testing.T) {
	d := newDesk(t)
	_, err := d.Report(t.Context(), d.of(push(jobs.RunActive, image(jobs.JobRunning), release(jobs.JobWaiting))))
	ok(t, err)
	d.clock.advance(time.Minute)
	d.ResetRequests()
	_, err = d.Report(t.Context(), d.of(push(jobs.RunActive, image(jobs.JobSucceeded), release(jobs.JobRunning))))
	ok(t, err)
	requests := d.Requests()
	if len(requests) != 3 || !strings.Contains(requests[0].Body, `"completed"`) || strings.Contains(requests[1].Body, `"completed"`) {
		t.Errorf("got %+v", requests)
	}
}

// A create or update may fail before or after it took effect, and the process may die at any write of a record: there is
// never a second check, and in the end it is complete.
func TestAnswersThatAreLost(t *testing.T) {
	failures := map[string]githubtest.Failure{
		"502 before":        {Status: 502},
		"502 after":         {Status: 502, When: githubtest.After},
		"lost before":       {Kind: githubtest.LostAnswer},
		"lost after":        {Kind: githubtest.LostAnswer, When: githubtest.After},
		"primary limit":     {Kind: githubtest.PrimaryLimit, RetryAfter: 20 * time.Minute},
		"secondary limit":   {Kind: githubtest.SecondaryLimit, RetryAfter: 2 * time.Minute},
		"storm before":      {Status: 503, Times: 5},
		"storm after":       {Status: 503, Times: 3, When: githubtest.After},
		"lost after, often": {Kind: githubtest.LostAnswer, When: githubtest.After, Times: 3},
	}
	for name, failure := range failures {
		for _, operation := range []string{"checks/create", "checks/update"} {
			t.Run(name+" "+operation, func(t *testing.T) {
				d := newDesk(t)
				failure.Operation = operation
				if operation == "checks/create" && failure.When == githubtest.After {
					failure.Times = 1 // it takes effect, so there is no second create to fail
				}
				d.Fail(failure)
				if operation == "checks/update" {
					d.ClearFailures()
					d.settle(d.of(push(jobs.RunActive, image(jobs.JobRunning))))
					d.Fail(failure)
				}
				run := d.of(push(jobs.RunFailed, image(jobs.JobFailed)))
				ok(t, d.results.put("k", buildFailure))
				d.settle(run)
				shown := d.shows("slipway: failure")
				if len(shown) == 1 && len(shown[0].Annotations) != 1 {
					t.Errorf("%d annotations, want 1: %+v", len(shown[0].Annotations), shown[0].Annotations)
				}
			})
		}
	}
}

func TestCrashAtEveryWriteOfARecord(t *testing.T) {
	for write := 1; ; write++ {
		reached := false
		for _, after := range []bool{false, true} {
			d := newDesk(t)
			died := d.reports.dieAt(write, after)
			ok(t, d.results.put("k", buildFailure))
			for _, run := range []jobs.Run{
				d.of(push(jobs.RunActive, image(jobs.JobRunning), release(jobs.JobWaiting))),
				d.of(push(jobs.RunFailed, image(jobs.JobFailed), release(jobs.JobSkipped))),
			} {
				if _, err := d.Report(t.Context(), run); errors.Is(err, errDied) {
					d.restart()
				}
				d.settle(run)
			}
			reached = reached || *died
			shown := d.shows("slipway: failure", "slipway / image: failure", "slipway / release: skipped")
			if len(shown) > 1 && len(shown[1].Annotations) != 1 {
				t.Errorf("write %d, after %v: %d annotations", write, after, len(shown[1].Annotations))
			}
		}
		if !reached {
			if write < 6 {
				t.Errorf("only %d writes were tried", write-1)
			}
			return
		}
	}
}

func TestUnansweredCreateIsAskedForBeforeItIsTriedAgain(t *testing.T) {
	d := newDesk(t)
	run := d.of(push(jobs.RunActive, image(jobs.JobQueued)))
	d.Fail(githubtest.Failure{Operation: "checks/create", Status: 502})
	if _, err := d.Report(t.Context(), run); err == nil {
		t.Fatal("no error")
	}
	// Not listed yet is not the same as not there.
	again, err := d.Report(t.Context(), run)
	if err != nil || again <= 0 || again > settle {
		t.Errorf("right after: again in %s, %v", again, err)
	}
	if n := d.count("checks/create"); n != 1 {
		t.Errorf("%d creates, want 1", n)
	}
	d.clock.advance(settle)
	_, err = d.Report(t.Context(), run)
	ok(t, err)
	d.shows("slipway: queued")
}

func TestAdoptionTakesOnlyOurOwn(t *testing.T) {
	d := newDesk(t)
	run := d.of(push(jobs.RunSucceeded, image(jobs.JobSucceeded)))
	d.Fail(githubtest.Failure{Operation: "checks/create", Kind: githubtest.LostAnswer, When: githubtest.After})
	if _, err := d.Report(t.Context(), run); err == nil {
		t.Fatal("the answer was not lost")
	}
	// Another run's check, newer and of the same name on the same commit, is not the one to find.
	other := run
	other.ID = "r-other"
	d.settle(other)
	d.settle(run)
	shown := d.shows("slipway: success", "slipway: success")
	if len(shown) == 2 && (shown[0].ExternalID != "r-abc123/slipway" || shown[1].ExternalID != "r-other/slipway") {
		t.Errorf("got %q and %q", shown[0].ExternalID, shown[1].ExternalID)
	}
	record, _, err := d.reports.Get(t.Context(), reportKey(run.ID, CheckName))
	if err != nil || len(shown) == 2 && record.GitHubID != shown[0].ID {
		t.Errorf("the record holds %+v, %v", record, err)
	}
}

func TestGitHubAwayForAnHour(t *testing.T) {
	d := newDesk(t)
	_, err := d.Report(t.Context(), d.of(push(jobs.RunActive, image(jobs.JobRunning), release(jobs.JobWaiting))))
	ok(t, err)
	d.Down(true)
	ended := d.of(push(jobs.RunSucceeded, image(jobs.JobSucceeded), release(jobs.JobSucceeded)))
	tries := 0
	for back := d.clock.Now().Add(time.Hour); d.clock.Now().Before(back); tries++ {
		again, err := d.Report(t.Context(), ended)
		var down *Unavailable
		if !errors.As(err, &down) || again <= 0 {
			t.Fatalf("got %s, %v", again, err)
		}
		d.clock.advance(again)
	}
	if tries > 200 {
		t.Errorf("%d tries in an hour", tries)
	}
	d.Down(false)
	d.settle(ended) // with a token that expired meanwhile
	shown := d.shows("slipway: success", "slipway / image: success", "slipway / release: success")
	for _, r := range shown {
		if r.CompletedAt.After(ended.Finished.Add(2 * time.Hour)) {
			t.Errorf("%s: completed at %s", r.Name, r.CompletedAt)
		}
	}
}

func TestManyAnnotationsComeInBatchesOnce(t *testing.T) {
	prepare := func(d *desk) jobs.Run {
		run := push(jobs.RunFailed)
		run.Outcome, run.Reason = jobs.OutcomeFault, ".slipway.yaml has 120 faults"
		for i := range 120 {
			run.Faults = append(run.Faults, jobs.Fault{Line: i + 1, Message: fmt.Sprintf("fault %d", i+1)})
		}
		return d.of(run)
	}
	check := func(d *desk) {
		t.Helper()
		shown := d.shows("slipway: failure")
		if len(shown) != 1 {
			return
		}
		if len(shown[0].Annotations) != 120 {
			t.Errorf("%d annotations, want 120", len(shown[0].Annotations))
		}
		for i, a := range shown[0].Annotations {
			if a.StartLine != i+1 || a.Message != fmt.Sprintf("fault %d", i+1) {
				t.Errorf("annotation %d is %+v", i, a)
				break
			}
		}
	}
	d := newDesk(t)
	d.settle(prepare(d))
	check(d)
	if c, u := d.count("checks/create"), d.count("checks/update"); c != 1 || u != 2 {
		t.Errorf("%d creates and %d updates, want 1 and 2", c, u)
	}
	for _, failure := range []githubtest.Failure{
		{Operation: "checks/create", Kind: githubtest.LostAnswer, When: githubtest.After},
		{Operation: "checks/update", Kind: githubtest.LostAnswer, When: githubtest.After},
		{Operation: "checks/update", Skip: 1, Kind: githubtest.LostAnswer, When: githubtest.After},
		{Operation: "checks/update", Status: 502},
	} {
		d := newDesk(t)
		d.Fail(failure)
		d.settle(prepare(d))
		check(d)
	}
}

func TestWhatCanNeverBeShown(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*desk)
		says    string
	}{
		"App removed":     {func(d *desk) { d.inst.Uninstall() }, "removed"},
		"App suspended":   {func(d *desk) { d.inst.Suspend(true) }, "suspended"},
		"repository gone": {func(d *desk) { ok(t, d.DeleteRepository(d.repo)) }, "reaches"},
		"no permission": {func(d *desk) {
			d.Fail(githubtest.Failure{Operation: "checks/create", Status: 403, Times: -1})
		}, "permission"},
		"refused": {func(d *desk) {
			d.Fail(githubtest.Failure{Operation: "checks/create", Status: 422, Times: -1})
		}, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			run := d.of(push(jobs.RunSucceeded, image(jobs.JobSucceeded)))
			test.prepare(d)
			_, err := d.Report(t.Context(), run)
			var never *jobs.Unreportable
			if !errors.As(err, &never) || !strings.Contains(never.Reason, test.says) {
				t.Errorf("got %v, want a *jobs.Unreportable with %q", err, test.says)
			}
			clean(t, err)
		})
	}
	d := newDesk(t)
	run := d.of(push(jobs.RunSucceeded))
	run.SHA = ""
	var never *jobs.Unreportable
	if _, err := d.Report(t.Context(), run); !errors.As(err, &never) {
		t.Errorf("no commit: got %v", err)
	}
	run.SHA = "00000000000000000000000000000000000000ff"
	if _, err := d.Report(t.Context(), run); !errors.As(err, &never) {
		t.Errorf("no such commit: got %v", err)
	}
}

func TestRefusedDetailsDoNotHoldTheStateBack(t *testing.T) {
	d := newDesk(t)
	ok(t, d.results.put("k", buildFailure))
	d.Fail(githubtest.Failure{Operation: "checks/create", Status: 422})
	d.settle(d.of(push(jobs.RunFailed, image(jobs.JobFailed))))
	shown := d.shows("slipway: failure")
	if len(shown) == 1 && (len(shown[0].Annotations) != 0 || !strings.Contains(shown[0].Summary, "refused")) {
		t.Errorf("got %+v", shown[0])
	}
}

func TestHeldAndNothingAreShown(t *testing.T) {
	for name, want := range map[string]string{"held-fork": "slipway: action_required", "nothing": "slipway: neutral", "fault": "slipway: failure"} {
		d := newDesk(t)
		d.settle(d.of(projections()[name].run))
		d.shows(want)
		if n := d.count("checks/create") + d.count("checks/update"); n != 1 {
			t.Errorf("%s: %d calls, want 1", name, n)
		}
	}
}

func TestTwoReportersMakeOneCheck(t *testing.T) {
	d := newDesk(t)
	ok(t, d.results.put("k", jobs.Result{Conclusion: jobs.Success}))
	run := d.of(push(jobs.RunSucceeded, image(jobs.JobSucceeded), release(jobs.JobSucceeded)))
	other := NewReporter(ReporterConfig{App: d.newApp(), Reports: d.reports, Results: d.results, Now: d.clock.Now, URL: d.reporter.url})
	var group sync.WaitGroup
	for _, r := range []*Reporter{d.reporter, other, d.reporter, other} {
		group.Go(func() {
			if _, err := r.Report(t.Context(), run); err != nil && !errors.Is(err, jobs.ErrConflict) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	d.settle(run)
	if n := len(d.repo.CheckRuns(d.first)); n != 3 {
		t.Errorf("%d checks, want 3", n)
	}
}

func TestManyInstallationsAtOnce(t *testing.T) {
	d := newDesk(t)
	type tenant struct {
		repo *githubtest.Repository
		run  jobs.Run
	}
	var tenants []tenant
	for i := range 6 {
		owner := fmt.Sprintf("org%d", i)
		repo, sha := d.another(owner+"/app", githubtest.RepositoryOptions{Private: true})
		run := d.of(push(jobs.RunSucceeded, image(jobs.JobSucceeded), release(jobs.JobSucceeded)))
		run.ID, run.RunInfo.Installation, run.RunInfo.Repository, run.SHA = fmt.Sprintf("r-%d", i), d.gh.Install(owner).ID, described(repo), sha
		tenants = append(tenants, tenant{repo, run})
	}
	limited := tenants[0].run.RunInfo.Installation
	d.Fail(githubtest.Failure{Installation: limited, Kind: githubtest.SecondaryLimit, RetryAfter: time.Hour, Times: -1})
	var group sync.WaitGroup
	for i, tenant := range tenants {
		group.Go(func() {
			_, err := d.Report(t.Context(), tenant.run)
			var later *jobs.Later
			if i == 0 && !errors.As(err, &later) || i > 0 && err != nil {
				t.Errorf("tenant %d: got %v", i, err)
			}
		})
	}
	group.Wait()
	for i, tenant := range tenants {
		want := 3
		if i == 0 {
			want = 0
		}
		if n := len(tenant.repo.CheckRuns("")); n != want {
			t.Errorf("tenant %d has %d checks, want %d", i, n, want)
		}
	}
}

// put stores a value whatever was there.
func (r *records[T]) put(key string, value T) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[key] = value
	r.revision[key]++
	return nil
}
