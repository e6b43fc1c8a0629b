package jobs_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// In whatever order news of a workflow run arrive, and however often, what is known in the end is the same.
func TestLearnInAnyOrder(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	job := func(attempt, id int64, status, conclusion string, done int) jobs.WorkflowRun {
		j := jobs.WorkflowJob{ID: id, Attempt: int(attempt), Name: "build", Status: status, Conclusion: conclusion}
		for n := range done {
			j.Steps = append(j.Steps, jobs.WorkflowStep{Number: n + 1, Name: "step", Status: "completed", Conclusion: "success"})
		}
		return jobs.WorkflowRun{ID: 7, Attempt: int(attempt), Name: "CI", Jobs: []jobs.WorkflowJob{j}}
	}
	run := func(attempt int, status, conclusion string, s int) jobs.WorkflowRun {
		return jobs.WorkflowRun{ID: 7, Attempt: attempt, Name: "CI", Event: "workflow_dispatch", SHA: "abc", Status: status, Conclusion: conclusion, Updated: at(s)}
	}
	all := []jobs.WorkflowRun{
		run(1, "queued", "", 0), job(1, 70, "queued", "", 0), run(1, "in_progress", "", 2), job(1, 70, "in_progress", "", 1), job(1, 70, "in_progress", "", 2),
		job(1, 70, "completed", "failure", 3), run(1, "completed", "failure", 5),
		run(2, "queued", "", 6), job(2, 71, "queued", "", 0), run(2, "in_progress", "", 7), job(2, 71, "completed", "success", 3), run(2, "completed", "success", 9),
	}
	want := run(2, "completed", "success", 9)
	want.Jobs = job(2, 71, "completed", "success", 3).Jobs
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		news := append(append([]jobs.WorkflowRun{}, all...), all[random.IntN(len(all))])
		random.Shuffle(len(news), func(i, j int) { news[i], news[j] = news[j], news[i] })
		var known jobs.WorkflowRun
		for _, n := range news {
			known.Learn(n)
		}
		if !reflect.DeepEqual(known, want) {
			t.Fatalf("seed %d:\n%+v\nwant\n%+v", seed, known, want)
		}
	}
}
