package githubapp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// trusted is a run of a push that is trusted, as pushes are.
func trusted(state jobs.RunState, list ...jobs.Job) jobs.Run {
	run := push(state, list...)
	run.Trust = jobs.Trust{Level: jobs.Trusted, Reason: "pushed to the repository itself"}
	return run
}

func TestDeploymentsOf(t *testing.T) {
	change := func(j jobs.Job, f func(*jobs.Job)) jobs.Job { f(&j); return j }
	for name, test := range map[string]struct {
		run  jobs.Run
		want []string
	}{
		"waits for its needs":  {trusted(jobs.RunActive, toProduction(jobs.JobWaiting)), nil},
		"about to be taken":    {trusted(jobs.RunActive, change(toProduction(jobs.JobQueued), func(j *jobs.Job) { j.Waiting = "" })), nil},
		"waits for its turn":   {trusted(jobs.RunActive, toProduction(jobs.JobQueued)), []string{"staging queued waits: release tks/shop is being rolled out by run r-other", "production queued waits: release tks/shop is being rolled out by run r-other"}},
		"at work":              {trusted(jobs.RunActive, toProduction(jobs.JobRunning)), []string{"staging in_progress ", "production queued comes after staging"}},
		"done":                 {trusted(jobs.RunSucceeded, toProduction(jobs.JobSucceeded)), []string{"staging success Rolled out tks/shop to staging.", "production success Rolled out tks/shop to staging."}},
		"failed, who knows at": {trusted(jobs.RunFailed, toProduction(jobs.JobFailed)), []string{"staging failure pods of tks/shop did not become ready in production", "production failure pods of tks/shop did not become ready in production"}},
		"failed in the second": {trusted(jobs.RunFailed, change(toProduction(jobs.JobFailed), func(j *jobs.Job) { j.Outputs = map[string]any{"environments": "staging"} })),
			[]string{"staging success rolled out before the job failed", "production failure pods of tks/shop did not become ready in production"}},
		"failed before the third": {trusted(jobs.RunFailed, change(toProduction(jobs.JobFailed), func(j *jobs.Job) {
			j.Spec, j.Outputs, j.Summary = []byte(`{"environments":["a","b","c"]}`), map[string]any{"environments": "a"}, "it broke"
		})), []string{"a success rolled out before the job failed", "b failure it broke", "c inactive not reached: it broke"}},
		"cancelled":       {trusted(jobs.RunCancelled, change(toProduction(jobs.JobCancelled), func(j *jobs.Job) { j.Summary = "cancelled by alice" })), []string{"staging error cancelled: cancelled by alice", "production error cancelled: cancelled by alice"}},
		"behind":          {trusted(jobs.RunSucceeded, change(toProduction(jobs.JobSkipped), func(j *jobs.Job) { j.Summary = "not rolled out: a newer push" })), []string{"staging inactive not rolled out: a newer push", "production inactive not rolled out: a newer push"}},
		"held":            {trusted(jobs.RunWaits, toProduction(jobs.JobHeld)), nil},
		"taken over":      {trusted(jobs.RunSucceeded, change(toProduction(jobs.JobSucceeded), func(j *jobs.Job) { j.Reused = true })), nil},
		"not for this":    {trusted(jobs.RunNothing, change(toProduction(jobs.JobSkipped), func(j *jobs.Job) { j.Unplanned = true })), nil},
		"a build":         {trusted(jobs.RunSucceeded, image(jobs.JobSucceeded)), nil},
		"not trusted":     {push(jobs.RunSucceeded, toProduction(jobs.JobSucceeded)), nil},
		"not yet known":   {trusted(jobs.RunActive, change(toProduction(jobs.JobRunning), func(j *jobs.Job) { j.Spec = nil })), nil},
		"a long sentence": {trusted(jobs.RunFailed, change(toProduction(jobs.JobFailed), func(j *jobs.Job) { j.Spec, j.Summary = []byte(`{"environments":["a"]}`), strings.Repeat("ä", 200) })), []string{"a failure " + strings.Repeat("ä", 139) + "…"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range DeploymentsOf(test.run, nil) {
				got = append(got, fmt.Sprintf("%s %s %s", d.Environment, d.State, d.Description))
				if d.Task != "deploy" {
					t.Errorf("task %q", d.Task)
				}
			}
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
	back := toProduction(jobs.JobSucceeded)
	back.Spec = []byte(`{"environments":["staging"],"rollback":{}}`)
	if got := DeploymentsOf(trusted(jobs.RunSucceeded, back), nil); len(got) != 1 || got[0].Task != "rollback" {
		t.Errorf("a rollback: got %+v", got)
	}
	if list := runButtons(trusted(jobs.RunSucceeded, back)); len(list) != 0 {
		t.Errorf("a rollback can be rolled back: %+v", list)
	}
}

// deployed fails unless GitHub shows exactly these deployments, "environment: state, state", whatever the order they were made in.
func (d *desk) deployed(want ...string) []githubtest.Deployment {
	d.t.Helper()
	list := d.repo.Deployments()
	var got []string
	for _, one := range list {
		var states []string
		for _, s := range one.Statuses {
			states = append(states, s.State)
		}
		got = append(got, one.Environment+": "+strings.Join(states, ", "))
	}
	slices.Sort(got)
	slices.Sort(want)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		d.t.Errorf("GitHub shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return list
}

func TestDeployments(t *testing.T) {
	d := newDesk(t)
	var last jobs.Run
	for _, run := range []jobs.Run{
		trusted(jobs.RunActive, toProduction(jobs.JobWaiting)),
		trusted(jobs.RunActive, toProduction(jobs.JobRunning)),
		trusted(jobs.RunSucceeded, toProduction(jobs.JobSucceeded)),
	} {
		last = d.of(run)
		d.settle(last)
		d.clock.advance(time.Minute)
	}
	list := d.deployed("staging: in_progress, success", "production: queued, success")
	for _, one := range list {
		last := one.Statuses[1]
		if one.SHA != d.first || one.Ref != d.first || last.LogURL != "https://slipway.example.com/runs/r-abc123#job-release" ||
			last.EnvironmentURL != "https://"+one.Environment+".example.com/" || last.Description != "Rolled out tks/shop to staging." {
			t.Errorf("got %+v", one)
		}
	}
	for _, r := range d.Requests() {
		if r.Operation == "repos/create-deployment" && (!strings.Contains(r.Body, `"auto_merge":false`) || !strings.Contains(r.Body, `"required_contexts":[]`)) {
			t.Errorf("GitHub's defaults bite: %s", r.Body)
		}
	}
	// Nothing more to say, by this process or another.
	n := d.CountRequests(nil)
	d.restart()
	d.settle(last)
	if got := d.CountRequests(nil) - n; got != 0 {
		t.Errorf("%d calls to say the same again", got)
	}
	// The next attempt is a rollout of its own.
	again := d.of(trusted(jobs.RunSucceeded, toProduction(jobs.JobSucceeded)))
	again.ID, again.Root, again.Attempt = "r-again", "r-abc123", 2
	d.settle(again)
	d.deployed("staging: in_progress, success, inactive", "production: queued, success", "staging: success", "production: success")
}

// A job that ended before it began leaves no deployment, unless GitHub heard that it waits.
func TestDeploymentsThatNeverBegan(t *testing.T) {
	cancelled := toProduction(jobs.JobCancelled)
	cancelled.Summary, cancelled.Finished = "cancelled by alice", at(20)
	d := newDesk(t)
	d.settle(d.of(trusted(jobs.RunCancelled, cancelled)))
	d.deployed()

	d.settle(d.of(trusted(jobs.RunActive, toProduction(jobs.JobQueued))))
	d.settle(d.of(trusted(jobs.RunCancelled, cancelled)))
	d.deployed("staging: queued, error", "production: queued, error")
}

func TestDeploymentsWhoseAnswerIsLost(t *testing.T) {
	for name, failure := range map[string]githubtest.Failure{
		"502 before":      {Status: 502},
		"502 after":       {Status: 502, When: githubtest.After},
		"lost before":     {Kind: githubtest.LostAnswer},
		"lost after":      {Kind: githubtest.LostAnswer, When: githubtest.After},
		"secondary limit": {Kind: githubtest.SecondaryLimit, RetryAfter: 2 * time.Minute},
	} {
		for _, operation := range []string{"repos/create-deployment", "repos/create-deployment-status"} {
			t.Run(name+" "+operation, func(t *testing.T) {
				d := newDesk(t)
				failure.Operation = operation
				d.Fail(failure)
				run := d.of(trusted(jobs.RunActive, toProduction(jobs.JobRunning)))
				if _, err := d.Report(t.Context(), run); err == nil {
					t.Error("no error")
				}
				d.restart()
				d.settle(run)
				d.deployed("staging: in_progress", "production: queued")
				d.shows("slipway: in_progress")
			})
		}
	}
}

func TestDeploymentsThatMayStillAppear(t *testing.T) {
	d := newDesk(t)
	job := toProduction(jobs.JobRunning)
	job.Spec = []byte(`{"environments":["staging"]}`)
	// Another run's deployment of the same commit to the same place is not the one to find.
	other := d.of(trusted(jobs.RunActive, job))
	other.ID = "r-other"
	d.settle(other)
	d.Fail(githubtest.Failure{Operation: "repos/create-deployment", Status: 502})
	run := d.of(trusted(jobs.RunActive, job))
	if _, err := d.Report(t.Context(), run); err == nil {
		t.Error("no error")
	}
	again, err := d.Report(t.Context(), run)
	if err != nil || again <= 0 || again > settle || d.count("repos/create-deployment") != 2 {
		t.Errorf("right after: again in %s, %v, after %d creates", again, err, d.count("repos/create-deployment"))
	}
	d.clock.advance(settle)
	d.settle(run)
	d.deployed("staging: in_progress", "staging: in_progress")
}

func TestDeploymentsAtEveryWriteOfARecord(t *testing.T) {
	for write := 1; ; write++ {
		reached := false
		for _, after := range []bool{false, true} {
			d := newDesk(t)
			died := d.reports.dieAt(write, after)
			for _, run := range []jobs.Run{
				d.of(trusted(jobs.RunActive, toProduction(jobs.JobRunning))),
				d.of(trusted(jobs.RunSucceeded, toProduction(jobs.JobSucceeded))),
			} {
				if _, err := d.Report(t.Context(), run); errors.Is(err, errDied) {
					d.restart()
				}
				d.settle(run)
			}
			reached = reached || *died
			d.deployed("staging: in_progress, success", "production: queued, success")
		}
		if !reached {
			if write < 10 {
				t.Fatalf("only %d writes", write)
			}
			return
		}
	}
}

// What can't be shown beside the checks keeps no check from ending and no run from counting as shown.
func TestDeploymentsThatAreRefused(t *testing.T) {
	run := func(d *desk) jobs.Run { return d.of(trusted(jobs.RunSucceeded, toProduction(jobs.JobSucceeded))) }
	t.Run("not granted", func(t *testing.T) {
		d := &desk{world: without(t, "deployments"), reports: newRecords[jobs.ReportRecord](), results: newRecords[jobs.Result]()}
		d.restart()
		d.settle(run(d))
		other := run(d)
		other.ID = "r-other"
		d.settle(other)
		d.shows("slipway: success", "slipway: success")
		d.deployed()
		if n := strings.Count(d.log.text.String(), "Deployments: write"); n != 1 {
			t.Errorf("said %d times, want once", n)
		}
		if n := d.count("repos/create-deployment"); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
	})
	for _, code := range []int{404, 409, 410, 422} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			d := newDesk(t)
			d.Fail(githubtest.Failure{Operation: "repos/create-deployment", Status: code})
			d.settle(run(d))
			d.settle(run(d))
			d.shows("slipway: success")
			d.deployed("production: success")
			if n := d.count("repos/create-deployment"); n != 2 {
				t.Errorf("asked %d times, want 2", n)
			}
		})
	}
}
