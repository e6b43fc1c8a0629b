package githubapp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

const workflowRun = "https://github.com/acme/shop/actions/runs/30433642"

// tests is a job that dispatched a workflow and follows it. News make its state change all the time.
func tests(state jobs.JobState, awaits ...string) jobs.Job {
	j := jobs.Job{Name: "tests", Kind: jobs.KindDispatch, State: state, Attempt: 1, Started: at(1), Parked: true, Outside: true, ResultKey: "k",
		Waiting: "ci.yaml: 1 of 2 jobs done, integration is at step 3 of 5"}
	if len(awaits) > 0 {
		j.Approvals, j.Waiting = awaits, "waits for approval of "+strings.Join(awaits, ", ")
	}
	switch state {
	case jobs.JobSucceeded, jobs.JobFailed:
		j.Finished, j.Waiting, j.Summary = at(95), "", "ci.yaml succeeded: 2 jobs."
		j.Outputs = map[string]any{"run_id": float64(30433642998), "run_url": workflowRun, "conclusion": "success", "artifacts": "coverage, slipway-outputs",
			"report_url": "https://reports.example.com/a_b?x=1", "odd_url": "javascript:alert(1)", "broken_url": "https://x/](http://evil)", "plain": "https://example.com/"}
	}
	return j
}

var progress = jobs.Result{
	Outputs: map[string]any{"run_id": float64(30433642998), "run_url": workflowRun},
	Details: "| | Job | Step | Time |\n|---|---|---|---|\n| ✅ | [unit](https://github.com/acme/shop/actions/runs/30433642/job/1) | | 41 s |\n" +
		"| 🔄 | [integration](https://github.com/acme/shop/actions/runs/30433642/job/2) | 3 of 5: Start the database | since 12:00:43 |\n\n<details><summary>@acme/all steps</summary>\n\n1. checkout\n\n</details>\n",
	Annotations: []jobs.Annotation{{Path: "a.go", Line: 1, Level: "warning", Message: "not before the end"}},
}

func outside() map[string]struct {
	run     jobs.Run
	results map[string]jobs.Result
} {
	type p = struct {
		run     jobs.Run
		results map[string]jobs.Result
	}
	stopped := func(run jobs.Run) jobs.Run {
		run.Stop = &jobs.Stop{Reason: "superseded by a newer push, 3f2c0a1b2c3d", Superseded: true}
		return run
	}
	alone := func(j jobs.Job) jobs.Job {
		j.Stop = &jobs.Stop{Reason: "cancelled by alice"}
		return j
	}
	went := func(j jobs.Job) jobs.Job {
		j.Round = 1
		return j
	}
	docs := jobs.Job{Name: "docs", State: jobs.JobSkipped, Unplanned: true, Summary: "no changed file matches docs/**", Finished: began}
	interim, neutral := map[string]jobs.Result{"tests": progress}, map[string]jobs.Result{"tests": {Conclusion: jobs.Neutral, Summary: "ci.yaml ended as neutral."}}
	asked := push(jobs.RunActive, tests(jobs.JobQueued, "production"))
	asked.Asked = &jobs.Asked{By: jobs.Actor{ID: 5, Login: "alice"}, Command: "/dispatch ci.yaml"}
	checks := jobs.Job{Name: "checks", Kind: jobs.KindAwait, State: jobs.JobOffered, Attempt: 1, Started: at(2), Parked: true, Waiting: "waits for CI / test"}
	return map[string]p{
		"goes-on":          {push(jobs.RunActive, image(jobs.JobSucceeded), tests(jobs.JobQueued), release(jobs.JobWaiting)), interim},
		"goes-on-alone":    {push(jobs.RunActive, tests(jobs.JobRunning)), interim},
		"awaits-checks":    {push(jobs.RunActive, checks, release(jobs.JobWaiting)), nil},
		"approval":         {push(jobs.RunActive, tests(jobs.JobQueued, "production", "staging"), image(jobs.JobRunning)), interim},
		"approval-alone":   {push(jobs.RunActive, tests(jobs.JobQueued, "production")), interim},
		"approval-only":    {push(jobs.RunActive, tests(jobs.JobQueued, "production"), docs), interim},
		"approval-asked":   {asked, interim},
		"approved":         {push(jobs.RunActive, went(tests(jobs.JobOffered)), image(jobs.JobRunning)), interim},
		"approved-alone":   {push(jobs.RunSucceeded, went(tests(jobs.JobSucceeded))), map[string]jobs.Result{"tests": {Conclusion: jobs.Success}}},
		"stopping":         {stopped(push(jobs.RunActive, tests(jobs.JobQueued), image(jobs.JobRunning))), interim},
		"stopping-alone":   {stopped(push(jobs.RunActive, tests(jobs.JobOffered))), interim},
		"stopping-job":     {push(jobs.RunActive, alone(tests(jobs.JobQueued)), image(jobs.JobRunning)), interim},
		"stopping-waiting": {stopped(push(jobs.RunActive, tests(jobs.JobQueued, "production"))), interim},
		"neutral":          {push(jobs.RunSucceeded, image(jobs.JobSucceeded), tests(jobs.JobSucceeded)), neutral},
		"neutral-alone":    {push(jobs.RunSucceeded, tests(jobs.JobSucceeded)), neutral},
		"neutral-failed":   {push(jobs.RunFailed, tests(jobs.JobFailed)), map[string]jobs.Result{"tests": {Conclusion: jobs.Failure}}},
	}
}

// A worker that takes a job up for a moment changes nothing that GitHub shows.
func TestMomentsOfAJobUnderWayDoNotShow(t *testing.T) {
	for name, list := range map[string][]jobs.Job{
		"alone": {tests(jobs.JobQueued)}, "with others": {image(jobs.JobRunning), tests(jobs.JobQueued)}, "waits": {tests(jobs.JobQueued, "production"), image(jobs.JobRunning)},
	} {
		for _, stop := range []*jobs.Stop{nil, {Reason: "cancelled by alice"}} {
			var first string
			for _, state := range []jobs.JobState{jobs.JobQueued, jobs.JobOffered, jobs.JobRunning} {
				run := push(jobs.RunActive, list...)
				run.Stop = stop
				for i := range run.Jobs {
					if run.Jobs[i].Parked {
						run.Jobs[i].State = state
					}
				}
				got := fmt.Sprintf("%+v %s", ChecksOf(run, map[string]jobs.Result{"tests": progress}), headText(run))
				if first == "" {
					first = got
				}
				if got != first {
					t.Errorf("%s, %s:\n%s\nbut queued:\n%s", name, state, got, first)
				}
			}
		}
	}
}

// A deploy job may have to wait for checks half-way: what it rolled out before stays so.
func TestDeploymentsOfAJobThatWaitsHalfWay(t *testing.T) {
	half := map[string]jobs.Result{"release": {Outputs: map[string]any{"environments": "staging"}}}
	parked := toProduction(jobs.JobQueued)
	parked.Started, parked.Parked, parked.ResultKey, parked.Waiting = at(14), true, "k", "production waits for CI / test under way"
	looked, goesOn := parked, parked
	looked.State = jobs.JobRunning
	goesOn.State, goesOn.Parked = jobs.JobRunning, false
	first := parked
	first.Waiting = "staging waits for lint"
	for name, test := range map[string]struct {
		job     jobs.Job
		results map[string]jobs.Result
		want    string
	}{
		"before the first": {first, map[string]jobs.Result{"release": {}}, "staging: queued staging waits for lint; production: queued comes after staging; "},
		"half-way":         {parked, half, "staging: success rolled out; the job goes on with others; production: queued production waits for CI / test under way; "},
		"looked at":        {looked, half, "staging: success rolled out; the job goes on with others; production: queued production waits for CI / test under way; "},
		"goes on":          {goesOn, half, "staging: success rolled out; the job goes on with others; production: in_progress ; "},
		"replaced":         {parked, nil, ""},
	} {
		got := ""
		for _, d := range DeploymentsOf(trusted(jobs.RunActive, test.job), test.results) {
			got += fmt.Sprintf("%s: %s %s; ", d.Environment, d.State, d.Description)
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
