package jobs_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

// A job that is done again is told of the run in which it was last done, which need not be the run before.
func TestARetryKnowsWhereTheJobWasLastDone(t *testing.T) {
	w := newTown(t)
	w.plan = func(jobs.PlanInput) jobs.Plan {
		return jobs.Plan{Pipeline: "the test's", Jobs: []jobs.PlannedJob{
			{Name: "x", Kind: jobs.KindBuild, Planned: true, Spec: json.RawMessage(`{}`)},
			{Name: "y", Kind: jobs.KindBuild, Planned: true, Spec: json.RawMessage(`{}`)},
		}}
	}
	w.build = func(_ context.Context, task jobs.Task) (jobs.Result, error) {
		return jobs.Result{Conclusion: jobs.Failure, Summary: "after " + task.Earlier}, nil
	}
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "a", 5))
	first := w.finished("guid-pull-1")
	w.deliver("guid-comment-1", w.comment(1, 7, alice, "/retry y"))
	second := w.ended(jobs.AttemptID(first.ID, 2))
	w.deliver("guid-comment-2", w.comment(2, 7, alice, "/retry x"))
	third := w.ended(jobs.AttemptID(first.ID, 3))
	w.deliver("guid-comment-3", w.comment(3, 7, alice, "/retry"))
	fourth := w.ended(jobs.AttemptID(first.ID, 4))
	for _, c := range []struct {
		run       jobs.Run
		job, want string
	}{
		{first, "x", ""}, {first, "y", ""},
		{second, "x", ""}, {second, "y", first.ID}, // x as it ended in the first
		{third, "x", first.ID}, {third, "y", first.ID}, // y as it ended in the second
		{fourth, "x", third.ID}, {fourth, "y", second.ID},
	} {
		if got := c.run.Job(c.job).Summary; got != "after "+c.want {
			t.Errorf("%s in attempt %d: %q, want after %q", c.job, max(c.run.Attempt, 1), got, c.want)
		}
	}
}
