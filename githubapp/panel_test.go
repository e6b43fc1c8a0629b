package githubapp

import (
	"fmt"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

// What a person asks for never touches the check that is required of the commit: a greeting does not turn it green.
func TestWhatIsAskedForLeavesTheWholeCheckAlone(t *testing.T) {
	d := newDesk(t)
	d.settle(d.of(push(jobs.RunFailed, image(jobs.JobFailed))))
	greet := push(jobs.RunSucceeded, jobs.Job{Name: "greet", State: jobs.JobSucceeded, Started: at(1), Finished: at(2), Summary: "Hello"})
	greet.ID, greet.Asked = "r-greet", &jobs.Asked{By: jobs.Actor{ID: d.alice.ID, Login: "alice"}, Command: "/greet"}
	d.settle(d.of(greet))
	d.shows("slipway: failure", "slipway / greet: success")
	for _, outcome := range []jobs.Outcome{jobs.OutcomeNothing, jobs.OutcomeHeld, jobs.OutcomeFault} {
		greet.Outcome = outcome
		if checks := ChecksOf(greet, nil); len(checks) != 0 {
			t.Errorf("%s: %d checks", outcome, len(checks))
		}
	}
}

// A new attempt is shown by check runs of its own on the same commit; what it takes over keeps the one it has.
func TestAnAttemptHasChecksOfItsOwn(t *testing.T) {
	d := newDesk(t)
	d.settle(d.of(push(jobs.RunFailed, image(jobs.JobSucceeded), toProduction(jobs.JobFailed))))
	again := push(jobs.RunSucceeded, image(jobs.JobSucceeded), toProduction(jobs.JobSucceeded))
	again.ID, again.Root, again.Attempt, again.Reason = "r-again", "r-abc123", 2, "attempt 2, asked for by alice: 1 job"
	again.Jobs[0].Reused = true
	d.settle(d.of(again))
	d.shows("slipway: failure", "slipway: success", "slipway / image: success", "slipway / release: failure", "slipway / release: success")
}

func TestButtonsReachGitHub(t *testing.T) {
	for name, want := range map[string]string{
		"held-fork": "[slipway: approve]", "waits": "[slipway: approve slipway / release: approve]", "failed": "[slipway: retry slipway / image: retry]",
		"rolled-out": "[slipway: rollback]", "running": "[]", "succeeded": "[]",
	} {
		d := newDesk(t)
		d.settle(d.of(projections()[name].run))
		got := []string{}
		for _, r := range d.repo.CheckRuns(d.first) {
			for _, a := range r.Actions {
				got = append(got, r.Name+": "+a.Identifier)
			}
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, want %s", name, got, want)
		}
	}
}
