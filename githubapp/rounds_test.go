package githubapp

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// Stations of a job that waits for an approval on GitHub half-way.
func testsBefore() jobs.Job  { return tests(jobs.JobQueued) }
func testsWait() jobs.Job    { return tests(jobs.JobOffered, "production") }
func testsFurther() jobs.Job { return inRound(1, tests(jobs.JobRunning)) }
func testsDone() jobs.Job    { return inRound(1, tests(jobs.JobSucceeded)) }

func inRound(n int, j jobs.Job) jobs.Job {
	j.Round = n
	return j
}

// stations are runs of such a job, alone or with another.
func (d *desk) stations(others ...jobs.Job) []jobs.Run {
	ok(d.t, d.results.put("k", progress))
	var list []jobs.Run
	for _, j := range []jobs.Job{testsBefore(), testsWait(), testsFurther()} {
		list = append(list, d.of(push(jobs.RunActive, append([]jobs.Job{j}, others...)...)))
	}
	return append(list, d.of(push(jobs.RunSucceeded, append([]jobs.Job{testsDone()}, others...)...)))
}

func TestApprovalOnGitHubCompletesACheckAndBeginsANewOne(t *testing.T) {
	for _, alone := range []bool{true, false} {
		d := newDesk(t)
		name, others, whole := "slipway / tests", []jobs.Job{image(jobs.JobSucceeded)}, []string{"slipway: in_progress", "slipway / image: success"}
		if alone {
			name, others, whole = CheckName, nil, nil
		}
		shows := func(want ...string) []githubtest.CheckRun {
			t.Helper()
			list := d.shows(append(slices.Clone(whole), want...)...)
			return slices.DeleteFunc(list, func(r githubtest.CheckRun) bool { return r.Name != name })
		}
		for i, run := range d.stations(others...) {
			d.settle(run)
			switch i {
			case 0:
				shows(name + ": in_progress")
			case 1:
				got := shows(name + ": action_required")[0]
				if len(got.Actions) != 1 || got.Actions[0].Identifier != jobs.ButtonApprove || !strings.Contains(got.Summary, "/approve production") || got.CompletedAt.IsZero() {
					t.Errorf("got %+v", got)
				}
			case 2:
				got := shows(name+": action_required", name+": in_progress")
				if got[0].ExternalID != "r-abc123/"+name || got[1].ExternalID != "r-abc123/"+name+"#1" {
					t.Errorf("got %q and %q", got[0].ExternalID, got[1].ExternalID)
				}
			case 3:
				if !alone {
					whole[0] = "slipway: success"
				}
				shows(name+": action_required", name+": success")
			}
			d.clock.advance(time.Minute)
		}
	}
}

// No check stays unfinished, whatever of the job's way the reporter got to see.
func TestRoundsThatWereNotSeen(t *testing.T) {
	for _, test := range []struct {
		name  string
		seen  []int
		again jobs.Job // a station beyond those
		want  []string
	}{
		{name: "the wait", seen: []int{0, 2, 3}, want: []string{"slipway: neutral", "slipway: success"}},
		{name: "all but the end", seen: []int{3}, want: []string{"slipway: success"}},
		{name: "going on", seen: []int{0, 1, 3}, want: []string{"slipway: action_required", "slipway: success"}},
		{name: "the first check", seen: []int{1, 2, 3}, want: []string{"slipway: action_required", "slipway: success"}},
		{name: "a whole round", seen: []int{0}, again: inRound(2, tests(jobs.JobSucceeded)), want: []string{"slipway: neutral", "slipway: success"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t)
			runs := d.stations()
			for _, i := range test.seen {
				d.settle(runs[i])
				d.clock.advance(time.Minute)
			}
			if test.again.Name != "" {
				d.settle(d.of(push(jobs.RunSucceeded, test.again)))
			}
			d.shows(test.want...)
			// Whoever still believes in what was takes nothing back and makes nothing new.
			for _, run := range runs[:3] {
				if _, err := d.Report(t.Context(), run); err != nil {
					t.Error(err)
				}
			}
			for _, r := range d.repo.CheckRuns(d.first) {
				if r.Status != "completed" {
					t.Errorf("%s is %s again", r.ExternalID, r.Status)
				}
			}
			if n := len(d.repo.CheckRuns(d.first)); n != len(test.want) {
				t.Errorf("%d checks", n)
			}
		})
	}
}

// A create or update may be lost at any station, and the process may die at every write of a record.
func TestCrashesAmongRounds(t *testing.T) {
	unseen := []int{0, 2, 3}
	for _, stations := range [][]int{{0, 1, 2, 3}, unseen} {
		for write := 1; ; write++ {
			reached := false
			for _, after := range []bool{false, true} {
				d := newDesk(t)
				died := d.reports.dieAt(write, after)
				runs := d.stations()
				for _, i := range stations {
					if _, err := d.Report(t.Context(), runs[i]); errors.Is(err, errDied) {
						d.restart()
						if i < 3 && write%2 == 0 {
							continue // and what it was at went by meanwhile
						}
					}
					d.settle(runs[i])
				}
				reached = reached || *died
				d.mayShow(write, after)
			}
			if !reached {
				if write < 6 {
					t.Errorf("only %d writes were tried", write-1)
				}
				break
			}
		}
	}
	for _, failure := range []githubtest.Failure{
		{Operation: "checks/create", Kind: githubtest.LostAnswer, When: githubtest.After},
		{Operation: "checks/create", Skip: 1, Kind: githubtest.LostAnswer, When: githubtest.After},
		{Operation: "checks/update", Kind: githubtest.LostAnswer, When: githubtest.After},
		{Operation: "checks/create", Skip: 1, Status: 502},
		{Operation: "checks/create", Status: 502},
		{Operation: "checks/update", Status: 502},
	} {
		for _, stations := range [][]int{{0, 1, 2, 3}, unseen} {
			d := newDesk(t)
			d.Fail(failure)
			runs := d.stations()
			for _, i := range stations {
				if _, err := d.Report(t.Context(), runs[i]); err != nil { // it went on before the next try
					d.clock.advance(time.Second)
				}
			}
			d.settle(runs[3])
			d.mayShow(0, failure.When == githubtest.After)
		}
	}
}

// mayShow fails unless there is at most one check of each round, all are completed, and the newest says how the run ended.
func (d *desk) mayShow(write int, after bool) {
	d.t.Helper()
	list := d.repo.CheckRuns(d.first)
	seen := map[string]bool{}
	for _, r := range list {
		if seen[r.ExternalID] || r.Status != "completed" {
			d.t.Errorf("write %d, after %v: %s is %s %s", write, after, r.ExternalID, r.Status, r.Conclusion)
		}
		seen[r.ExternalID] = true
	}
	if n := len(list); n == 0 || n > 2 || list[n-1].Conclusion != "success" || list[n-1].ExternalID != "r-abc123/slipway#1" {
		d.t.Errorf("write %d, after %v: got %+v", write, after, list)
	}
}

func TestWhatIsUnderWayIsHeldBack(t *testing.T) {
	d := newDesk(t)
	ok(t, d.results.put("k", progress))
	report := func(j jobs.Job) time.Duration {
		t.Helper()
		again, err := d.Report(t.Context(), d.of(push(jobs.RunActive, j)))
		ok(t, err)
		return again
	}
	change := func(j jobs.Job, title string) jobs.Job {
		j.Waiting = title
		return j
	}
	now := d.of(push(jobs.RunActive, testsBefore()))
	d.settle(now)
	// News come in quick succession.
	d.clock.advance(4 * time.Second)
	if again := report(change(testsBefore(), "a")); again != 6*time.Second {
		t.Errorf("progress is said again in %s, want 6s", again)
	}
	// What somebody has to do is not held back; what changes while it waits is.
	d.reportNow(change(testsWait(), "waits for approval of production"))
	d.shows("slipway: action_required")
	d.clock.advance(3 * time.Second)
	if again := report(change(testsWait(), "waits for approval of production; 2 of 3 jobs done")); again != 7*time.Second {
		t.Errorf("a change while it waits is said again in %s, want 7s", again)
	}
	// So is that it goes on.
	d.reportNow(testsFurther())
	d.shows("slipway: action_required", "slipway: in_progress")
	if c, u := d.count("checks/create"), d.count("checks/update"); c != 2 || u != 1 {
		t.Errorf("%d creates and %d updates, want 2 and 1", c, u)
	}
}

func (d *desk) reportNow(j jobs.Job) {
	d.t.Helper()
	if again, err := d.Report(d.t.Context(), d.of(push(jobs.RunActive, j))); again != 0 || err != nil {
		d.t.Errorf("again in %s, %v", again, err)
	}
}

// The record of how a job stands is replaced at every step: one that was read too late does not empty the check.
func TestReplacedProgressDoesNotFlap(t *testing.T) {
	d := newDesk(t)
	ok(t, d.results.put("k", progress))
	d.settle(d.of(push(jobs.RunActive, testsBefore())))
	shown := d.shows("slipway: in_progress")[0]
	d.clock.advance(time.Minute)
	gone := testsBefore()
	gone.ResultKey, gone.Waiting = "replaced", "ci.yaml: 2 of 2 jobs done"
	again, err := d.Report(t.Context(), d.of(push(jobs.RunActive, gone)))
	if err != nil || again != time.Second {
		t.Errorf("again in %s, %v", again, err)
	}
	if now := d.shows("slipway: in_progress")[0]; now.Summary != shown.Summary {
		t.Errorf("it shows %q", now.Summary)
	}
	ok(t, d.results.put("replaced", progress))
	d.settle(d.of(push(jobs.RunActive, gone)))
	if now := d.shows("slipway: in_progress")[0]; now.Title != gone.Waiting || !strings.Contains(now.Summary, "Start the database") {
		t.Errorf("it shows %+v", now)
	}
}

// The button goes when the job is being stopped while it waits.
func TestStoppedWhileItWaits(t *testing.T) {
	d := newDesk(t)
	runs := d.stations()
	d.settle(runs[1])
	stopped := runs[1]
	stopped.Stop = &jobs.Stop{Reason: "cancelled by alice"}
	d.settle(stopped)
	if now := d.shows("slipway: action_required")[0]; len(now.Actions) != 0 || now.Title != "Stopping: cancelled by alice" {
		t.Errorf("got %+v", now)
	}
	ended := tests(jobs.JobCancelled)
	ended.Round, ended.Summary, ended.Finished = 1, "cancelled by alice", at(50)
	run := d.of(push(jobs.RunCancelled, ended))
	run.Stop = stopped.Stop
	d.settle(run)
	d.shows("slipway: action_required", "slipway: cancelled")
}

// A run that has no say about its commit any more makes no newer check of the name that people require.
func TestARoundThatHasNoSayMakesNoCheck(t *testing.T) {
	d := newDesk(t)
	runs := d.stations()
	d.settle(runs[1])
	pull := d.of(push(jobs.RunActive, image(jobs.JobRunning)))
	pull.ID, pull.Event, pull.Ref, pull.PullRequest, pull.Trust.Level = "r-pull", jobs.EventPullRequest, "refs/pull/7/head", 7, jobs.Trusted
	pushed := runs[3]
	pushed.Branch, pushed.Ref = "feat", "refs/heads/feat"
	d.reporter.siblings = func(_ context.Context, run jobs.RunInfo) ([]jobs.Run, bool, error) {
		if run.ID == pull.ID {
			return []jobs.Run{pushed}, true, nil
		}
		return []jobs.Run{pull}, true, nil
	}
	d.settle(pull)
	d.settle(pushed)
	list := d.repo.CheckRuns(d.first)
	list = slices.DeleteFunc(list, func(r githubtest.CheckRun) bool { return r.Name != CheckName })
	if len(list) != 2 || list[0].ExternalID != "r-abc123/slipway" || list[0].Status != "completed" || list[1].ExternalID != "r-pull/slipway" {
		t.Errorf("got %+v", list)
	}
}

// What GitHub refuses of another run on the commit says nothing of this one, which is shown to the end. A wait is waited for.
func TestASiblingThatIsRefused(t *testing.T) {
	d := newDesk(t)
	pull := d.pull("feat")
	of := func(id string, number int, state jobs.RunState, ended jobs.JobState) jobs.Run {
		run := d.of(push(state, image(ended)))
		run.ID, run.Event, run.PullRequest, run.Ref, run.Trust.Level = id, jobs.EventPullRequest, number, jobs.PullRef(number), jobs.Trusted
		return run
	}
	first, second := of("r-first", pull.Number+1, jobs.RunSucceeded, jobs.JobSucceeded), of("r-second", pull.Number, jobs.RunFailed, jobs.JobFailed)
	second.Faults = []jobs.Fault{{Job: "image", Message: "a fault that the comment tells"}}
	d.settle(first)
	d.reporter.siblings = func(_ context.Context, run jobs.RunInfo) ([]jobs.Run, bool, error) {
		if run.ID == first.ID {
			return []jobs.Run{second}, true, nil
		}
		return []jobs.Run{first}, true, nil
	}
	d.Fail(githubtest.Failure{Operation: "checks/update", Status: 502})
	var down *Unavailable
	if _, err := d.Report(t.Context(), second); !errors.As(err, &down) {
		t.Errorf("GitHub is away: got %v", err)
	}
	d.Fail(githubtest.Failure{Operation: "checks/update", Status: 422, Times: -1})
	if again, err := d.Report(t.Context(), second); again != 0 || err != nil {
		t.Errorf("got %s, %v", again, err)
	}
	d.shows("slipway: success", "slipway: failure")
	if n := len(pull.Comments()); n != 1 {
		t.Errorf("%d comments, want 1", n)
	}
}

// The comment says that somebody is needed as soon as that is so, and that it is settled.
func TestCommentNamesTheApprovalOnGitHub(t *testing.T) {
	d := newDesk(t)
	pull := d.pull("feat")
	runs := d.stations()
	for i := range runs {
		runs[i].Event, runs[i].PullRequest, runs[i].Ref, runs[i].Branch = jobs.EventPullRequest, pull.Number, "refs/pull/1/head", "feat"
		runs[i].Trust.Level = jobs.Trusted
	}
	d.settle(runs[0])
	if n := len(pull.Comments()); n != 0 {
		t.Fatalf("%d comments before there is anything to say", n)
	}
	d.settle(runs[1])
	if list := pull.Comments(); len(list) != 1 || !strings.Contains(list[0].Body, "waits for approval of production") || !strings.Contains(list[0].Body, "/approve production") {
		t.Fatalf("got %+v", list)
	}
	d.settle(runs[2])
	if list := pull.Comments(); len(list) != 1 || strings.Contains(list[0].Body, "/approve") {
		t.Fatalf("got %+v", list)
	}
}
