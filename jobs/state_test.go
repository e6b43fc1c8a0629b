package jobs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// asWritten resolves jobs that have no expressions.
func asWritten(_ jobs.Run, j jobs.Job) jobs.Resolution {
	if j.Template != nil || j.If != "" {
		return jobs.Resolution{Fault: "must not be asked"}
	}
	return jobs.Resolution{Spec: j.Spec}
}

// graph makes a run of jobs "name" or "name needs other other".
func graph(planned ...jobs.PlannedJob) jobs.Run {
	for i := range planned {
		planned[i].Planned, planned[i].Kind = true, jobs.KindBuild
		if planned[i].Template == nil {
			planned[i].Spec = json.RawMessage(`{}`)
		}
	}
	return jobs.NewRun(jobs.Decision{Delivery: "guid-1234", Time: noon, Outcome: jobs.OutcomeRun, Run: jobs.RunInfo{ID: "r-1"}, Plan: jobs.Plan{Jobs: planned}})
}

func advance(t *testing.T, r *jobs.Run, resolve jobs.Resolve) {
	t.Helper()
	if _, err := r.Advance(noon, resolve); err != nil {
		t.Fatal(err)
	}
}

func states(r jobs.Run) map[string]jobs.JobState {
	m := map[string]jobs.JobState{}
	for _, j := range r.Jobs {
		m[j.Name] = j.State
	}
	return m
}

// carry takes a queued job through to a result.
func carry(t *testing.T, r *jobs.Run, job string, result jobs.Result) {
	t.Helper()
	for _, err := range []error{
		r.Offer(job),
		r.Claim(job, jobs.Claim{Token: "t-" + job, Worker: "w", Time: noon}),
		r.Finish(job, "t-"+job, result, "key", noon),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRunGoesThroughItsGraph(t *testing.T) {
	r := graph(jobs.PlannedJob{Name: "image"}, jobs.PlannedJob{Name: "side"}, jobs.PlannedJob{Name: "release", Needs: []string{"image", "side"}})
	advance(t, &r, asWritten)
	if s := states(r); s["image"] != jobs.JobQueued || s["side"] != jobs.JobQueued || s["release"] != jobs.JobWaiting {
		t.Fatalf("at first: %v", s)
	}
	carry(t, &r, "image", jobs.Result{Conclusion: jobs.Success, Outputs: map[string]any{"digest": "sha256:1"}})
	advance(t, &r, asWritten)
	if s := states(r); s["release"] != jobs.JobWaiting {
		t.Fatalf("with one need of two: %v", s)
	}
	carry(t, &r, "side", jobs.Result{Conclusion: jobs.Success})
	advance(t, &r, asWritten)
	carry(t, &r, "release", jobs.Result{Conclusion: jobs.Success})
	advance(t, &r, asWritten)
	if r.State != jobs.RunSucceeded || r.Finished != noon {
		t.Errorf("the run is %s, finished %v", r.State, r.Finished)
	}
}

func TestRunSkipsWhatNeedsAFailure(t *testing.T) {
	r := graph(jobs.PlannedJob{Name: "image"}, jobs.PlannedJob{Name: "release", Needs: []string{"image"}}, jobs.PlannedJob{Name: "after", Needs: []string{"release"}})
	advance(t, &r, asWritten)
	carry(t, &r, "image", jobs.Result{Conclusion: jobs.Failure, Summary: "no"})
	advance(t, &r, asWritten)
	if s := states(r); s["release"] != jobs.JobSkipped || s["after"] != jobs.JobSkipped || r.State != jobs.RunFailed {
		t.Errorf("%v, run %s", s, r.State)
	}
	if got := r.Job("release").Summary; got != "it needs image, which was not successful" {
		t.Errorf("the reason is %q", got)
	}
}

func TestTemplatesAreResolvedOnce(t *testing.T) {
	r := graph(jobs.PlannedJob{Name: "image"}, jobs.PlannedJob{Name: "release", Needs: []string{"image"}, Template: json.RawMessage(`{"x": "${{ needs.image.outputs.digest }}"}`)})
	advance(t, &r, asWritten)
	carry(t, &r, "image", jobs.Result{Conclusion: jobs.Success, Outputs: map[string]any{"digest": "${{ run.sha }}"}})
	asked := 0
	resolve := func(run jobs.Run, j jobs.Job) jobs.Resolution {
		asked++
		return jobs.Resolution{Spec: []byte(`{"x": "` + run.Job("image").Outputs["digest"].(string) + `"}`)}
	}
	advance(t, &r, resolve)
	advance(t, &r, resolve)
	j := r.Job("release")
	if asked != 1 || j.Template != nil || string(j.Spec) != `{"x": "${{ run.sha }}"}` || j.State != jobs.JobQueued {
		t.Errorf("asked %d times; template %s, spec %s, state %s", asked, j.Template, j.Spec, j.State)
	}
}

func TestResolutionMayEndAJob(t *testing.T) {
	for name, c := range map[string]struct {
		answer jobs.Resolution
		job    jobs.JobState
		run    jobs.RunState
	}{
		"the condition says no": {jobs.Resolution{Skip: "`if` is false"}, jobs.JobSkipped, jobs.RunSucceeded},
		"the value is wrong":    {jobs.Resolution{Fault: "namespace is empty"}, jobs.JobFailed, jobs.RunFailed},
		"somebody must approve": {jobs.Resolution{Hold: "waits for approval of production"}, jobs.JobHeld, jobs.RunWaits},
	} {
		r := graph(jobs.PlannedJob{Name: "a", Template: json.RawMessage(`{}`), If: "false"})
		advance(t, &r, func(jobs.Run, jobs.Job) jobs.Resolution { return c.answer })
		if j := r.Job("a"); j.State != c.job || r.State != c.run || j.Summary == "" {
			t.Errorf("%s: job %s (%s), run %s", name, j.State, j.Summary, r.State)
		}
	}
}

func TestTheSettingsOfARunAreBounded(t *testing.T) {
	var planned []jobs.PlannedJob
	for i := range 100 {
		planned = append(planned, jobs.PlannedJob{Name: fmt.Sprintf("job-%d", i), Template: json.RawMessage(`{}`)})
	}
	r := graph(planned...)
	large := json.RawMessage(`"` + strings.Repeat("x", 10<<10) + `"`)
	advance(t, &r, func(jobs.Run, jobs.Job) jobs.Resolution { return jobs.Resolution{Spec: large} })
	queued, settings := 0, 0
	for _, j := range r.Jobs {
		settings += len(j.Spec) + len(j.Template)
		switch j.State {
		case jobs.JobQueued:
			queued++
		case jobs.JobFailed:
			if want := "the settings of this run's jobs are too large once evaluated (201 KB; at most 192 KB)"; j.Summary != want {
				t.Fatalf("%s says %q, want %q", j.Name, j.Summary, want)
			}
		default:
			t.Errorf("%s is %s", j.Name, j.State)
		}
	}
	if queued != 19 || settings > jobs.MaxSettings {
		t.Errorf("%d jobs are queued, with %d bytes of settings in all", queued, settings)
	}
	for i := range r.Jobs {
		r.Jobs[i].Summary = strings.Repeat("x", jobs.MaxSummary)
		r.Jobs[i].Outputs = map[string]any{"x": strings.Repeat("x", jobs.MaxOutputs-len(`{"x":""}`))}
	}
	if data, err := json.Marshal(r); err != nil || len(data) > queue.MaxRecord {
		t.Errorf("with the largest results the run has %d bytes, more than %d (%v)", len(data), queue.MaxRecord, err)
	}
}

func TestFinishedJobsStayFinished(t *testing.T) {
	r := graph(jobs.PlannedJob{Name: "a"})
	advance(t, &r, asWritten)
	carry(t, &r, "a", jobs.Result{Conclusion: jobs.Success})
	advance(t, &r, asWritten)
	if err := r.Offer("a"); err == nil {
		t.Error("a finished job was offered again")
	}
	if err := r.Claim("a", jobs.Claim{Token: "x"}); err == nil {
		t.Error("a finished job was claimed again")
	}
	if err := r.Finish("a", "t-a", jobs.Result{Conclusion: jobs.Failure}, "", noon); !errors.Is(err, jobs.ErrNotYours) {
		t.Errorf("a finished job was finished again: %v", err)
	}
	if r.RequestStop(jobs.Stop{Reason: "late", Time: noon}) {
		t.Error("a finished run was stopped")
	}
}

func TestAnOldClaimChangesNothing(t *testing.T) {
	r := graph(jobs.PlannedJob{Name: "a"})
	advance(t, &r, asWritten)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.Offer("a"))
	must(r.Claim("a", jobs.Claim{Token: "old", Time: noon}))
	must(r.HandBack("a", "old", "its worker is gone", time.Time{}, false))
	must(r.Offer("a"))
	must(r.Claim("a", jobs.Claim{Token: "new", Time: noon}))
	if err := r.Finish("a", "old", jobs.Result{Conclusion: jobs.Failure}, "", noon); !errors.Is(err, jobs.ErrNotYours) {
		t.Errorf("the old claim finished the job: %v", err)
	}
	if err := r.HandBack("a", "old", "", time.Time{}, false); !errors.Is(err, jobs.ErrNotYours) {
		t.Errorf("the old claim handed the job back: %v", err)
	}
	if j := r.Job("a"); j.Claims != 2 || j.Attempt != 1 || j.Troubles != 0 {
		t.Errorf("%d claims, attempt %d, %d troubles; want 2, 1, 0", j.Claims, j.Attempt, j.Troubles)
	}
}

func TestStop(t *testing.T) {
	r := graph(jobs.PlannedJob{Name: "done"}, jobs.PlannedJob{Name: "running"}, jobs.PlannedJob{Name: "offered"}, jobs.PlannedJob{Name: "waiting", Needs: []string{"running"}})
	advance(t, &r, asWritten)
	carry(t, &r, "done", jobs.Result{Conclusion: jobs.Success})
	for _, err := range []error{r.Offer("running"), r.Claim("running", jobs.Claim{Token: "t", Time: noon}), r.Offer("offered")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !r.RequestStop(jobs.Stop{Reason: "superseded", Time: noon}) || r.RequestStop(jobs.Stop{Reason: "again", Time: noon}) {
		t.Fatal("stopping is not once")
	}
	advance(t, &r, asWritten)
	want := map[string]jobs.JobState{"done": jobs.JobSucceeded, "running": jobs.JobRunning, "offered": jobs.JobCancelled, "waiting": jobs.JobCancelled}
	for name, state := range states(r) {
		if state != want[name] {
			t.Errorf("%s is %s, want %s", name, state, want[name])
		}
	}
	if err := r.Finish("running", "t", jobs.Result{Conclusion: jobs.Cancelled, Summary: "superseded"}, "", noon); err != nil {
		t.Fatal(err)
	}
	advance(t, &r, asWritten)
	if r.State != jobs.RunCancelled {
		t.Errorf("the run is %s", r.State)
	}
}

func TestNewRunShowsWhatDoesNotRun(t *testing.T) {
	plan := jobs.Plan{Jobs: []jobs.PlannedJob{{Name: "a", Planned: true, Spec: json.RawMessage(`{}`), Reason: "matches"}, {Name: "b", Reason: "no path matches"}, {Name: "c", Planned: true, Fault: "image is not granted"}}}
	for outcome, want := range map[jobs.Outcome]struct {
		run jobs.RunState
		a   jobs.JobState
	}{
		jobs.OutcomeRun:     {jobs.RunActive, jobs.JobWaiting},
		jobs.OutcomeHeld:    {jobs.RunHeld, jobs.JobSkipped},
		jobs.OutcomeFault:   {jobs.RunFailed, jobs.JobSkipped},
		jobs.OutcomeNothing: {jobs.RunNothing, jobs.JobSkipped},
	} {
		r := jobs.NewRun(jobs.Decision{Outcome: outcome, Time: noon, Plan: plan, Reason: "because"})
		s := states(r)
		if r.State != want.run || s["a"] != want.a || s["b"] != jobs.JobSkipped || s["c"] != jobs.JobFailed {
			t.Errorf("%s: run %s, jobs %v", outcome, r.State, s)
		}
	}
}
