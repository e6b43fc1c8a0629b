package pipeline

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// Whatever a pipeline file holds, planning ends soon, says the same twice, and keeps its promises to those who store
// and run the plan.
func FuzzPipeline(f *testing.F) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	happenings := []event{
		{Push: "main", Changed: []string{"src/a.go"}},
		{PullRequest: "opened", Unknown: "it is a test"},
		{PullRequest: "labeled", Label: "preview", Labels: []string{"preview"}, Draft: true},
		{MergeGroup: "main", Unknown: "it is a test"},
		{Release: "v1", Prerelease: true},
		{Schedule: "@daily"},
		{PullRequest: "opened", Approved: true},
		{Push: "main", Build: new([]string)},
		{Push: "main", Deploy: &jobs.DeployTarget{Environment: "staging", Release: "shop"}},
		{Push: "main", Rollback: &jobs.DeployTarget{}},
		{Push: "main", Dispatch: &jobs.AskDispatch{Workflow: "hello.yaml", Inputs: map[string]string{"greeting": "Hi", "times": "3"}}},
		{Push: "main", Command: "greet", Args: map[string]any{"greeting": "${{ run.sha }}", "loud": true, "times": 2.0}},
	}
	for i, name := range caseFiles(f) {
		for _, content := range pipelinesOf(f, name) {
			for _, which := range []int{0, 1, i % len(happenings)} {
				f.Add(content, uint8(which))
			}
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, which uint8) {
		in, rules := happenings[int(which)%len(happenings)].input(t, map[string][]byte{".slipway.yaml": content, workflowFolder + "hello.yaml": []byte(helloWorkflow)})
		start := time.Now()
		plan := Plan(in)
		if took := time.Since(start); took > soon {
			t.Errorf("planning took %v", took)
		}
		if again := Plan(in); !reflect.DeepEqual(plan, again) {
			t.Errorf("planned twice, two plans:\n%s\n%s", show(plan), show(again))
		}
		NeedsChanges(in)
		Validate(content, in.Path)
		for _, c := range Commands(content, in.Path) {
			if faults := jobs.CheckArgs(c.Args); len(faults) > 0 || !commandForm.MatchString(c.Name) || builtin(c.Name) {
				t.Errorf("the command %+v: %v", c, faults)
			}
		}
		for _, s := range Schedules(content, in.Path) {
			if first := s.Next(noon); !first.After(noon) || s.Next(first).Sub(first) < leastBetween {
				t.Errorf("schedule %s comes at %v and %v", s, first, s.Next(first))
			}
		}
		checkPromises(t, in, rules, plan)
	})
}

// checkPromises holds a plan against what jobs says of plans.
func checkPromises(t *testing.T, in jobs.PlanInput, rules *Rules, plan jobs.Plan) {
	t.Helper()
	if plan.Faulty() && plan.Selected() {
		t.Error("jobs are planned from a file that can't be used")
	}
	if len(plan.Faults) > maxFaults+1 || len(plan.Jobs) > MaxJobs {
		t.Errorf("%d faults, %d jobs", len(plan.Faults), len(plan.Jobs))
	}
	if in.Ask != nil && plan.Refusal == "" && !plan.Selected() && !plan.Faulty() {
		t.Errorf("nothing is done about what was asked for, and nobody is told why")
	}
	run := jobs.Run{RunInfo: in.Run}
	planned := map[string]bool{}
	for _, j := range plan.Jobs {
		planned[j.Name] = j.Planned
		if !jobName.MatchString(j.Name) {
			t.Errorf("a job called %q", j.Name)
		}
		if j.Reason == "" || len(j.Reason) > 4000 || len(j.Fault) > 1000 {
			t.Errorf("job %s: reason of %d, fault of %d bytes", j.Name, len(j.Reason), len(j.Fault))
		}
		set := 0
		for _, ok := range []bool{j.Spec != nil, j.Template != nil, j.Fault != ""} {
			if ok {
				set++
			}
		}
		if j.Planned && set != 1 || !j.Planned && set != 0 {
			t.Errorf("job %s: planned %v with spec %s, template %s, fault %q", j.Name, j.Planned, j.Spec, j.Template, j.Fault)
		}
		if len(j.Spec) > maxSpec || len(j.Template) > maxSpec || strings.Contains(string(j.Spec)+string(j.Template), `\u0000`) {
			t.Errorf("job %s: settings that can't be recorded", j.Name)
		}
		run.Jobs = append(run.Jobs, jobs.Job{
			Name: j.Name, Kind: j.Kind, Needs: j.Needs, Spec: j.Spec, Template: j.Template, If: j.If, State: jobs.JobSucceeded,
			Outputs: map[string]any{"digest": "sha256:${{ run.sha }}", "size": 1.0, "tags": "a", "ref": "registry.example.com/acme/shop"},
		})
	}
	for _, j := range run.Jobs {
		for _, need := range j.Needs {
			if planned[j.Name] && !planned[need] {
				t.Errorf("job %s is planned, %s, which it needs, is not", j.Name, need)
			}
		}
		if j.Template == nil {
			continue
		}
		r, err := Resolve(run, j, rules.Grant(run.RunInfo))
		if err != nil {
			t.Errorf("job %s: %v", j.Name, err)
		}
		if (r.Spec != nil) == (r.Skip+r.Fault+r.Hold != "") {
			t.Errorf("job %s: resolved to %+v", j.Name, r)
		}
		if r.Spec != nil && !json.Valid(r.Spec) {
			t.Errorf("job %s: %s", j.Name, r.Spec)
		}
	}
}
