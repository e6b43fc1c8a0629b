package pipeline

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// soon is how long what is bounded may take. On a quiet machine it takes a small part of it, and without its bound far longer or
// for ever.
const soon = time.Minute

func planText(t testing.TB, e event, text string) jobs.Plan {
	t.Helper()
	in, _ := e.input(t, map[string][]byte{".slipway.yaml": []byte(text)})
	return Plan(in)
}

// Files that are made to be expensive are refused, soon and with a sentence.
func TestBounds(t *testing.T) {
	manyJobs := func(n int, job string) string {
		var b strings.Builder
		b.WriteString("jobs:\n")
		for i := range n {
			fmt.Fprintf(&b, "  job%d: %s\n", i, job)
		}
		return b.String()
	}
	big := strings.Repeat("x", maxText-100)
	for name, tt := range map[string]struct{ text, want string }{
		"size":          {"# " + strings.Repeat("x", MaxFile), "more than 1048576"},
		"jobs":          {manyJobs(MaxJobs+1, "{build: {}}"), "jobs has 101 entries, more than 100"},
		"deep flow":     {"jobs: " + strings.Repeat("[", 100_000), "max depth"},
		"deep":          {"jobs: " + strings.Repeat("{a: ", 50) + "1" + strings.Repeat("}", 50), "nested more than 30"},
		"many values":   {"jobs: [" + strings.Repeat("1,", 60_000) + "]", "more than 50000 values"},
		"many faults":   {manyJobs(100, "{build: {args: {a: 1}}, "+keys(40)+"}"), "more than 1000 faults"},
		"list":          {"on: {push: {branches: [" + strings.Repeat("a,", 101) + "]}}\njobs: {a: {build: {}}}", "on.push.branches has 101 entries"},
		"text":          {"jobs: {a: {build: {target: " + strings.Repeat("x", maxText+1) + "}}}", "more than 4096"},
		"settings":      {"jobs: {a: {build: {args: {A: " + big + ", B: " + big + ", C: " + big + ", D: " + big + ", E: " + big + "}}}}", "more than 16384"},
		"all settings":  {manyJobs(100, "{build: {args: {A: "+big[:3500]+"}}}"), "more than 196608 bytes"},
		"evaluated":     {"jobs: {a: {build: {args: {A: \"" + strings.Repeat("${{ run.sha }}", 200) + "\"}}}}", "more than 4096"},
		"expressions":   {manyJobs(100, "{build: {args: {A: \""+strings.Repeat("${{1}}", 21)+"\"}}}"), "more than 2000 expressions"},
		"long ifs":      {manyJobs(100, "{if: \"true"+strings.Repeat(" ", 1500)+"&& true\", build: {}}"), "bytes of them"},
		"long circle":   {circle(100), "circle"},
		"pattern":       {"on: {push: {branches: ['" + strings.Repeat("*a", 200) + "']}}\njobs: {a: {build: {}}}", "more than 255"},
		"bytes":         {"jobs: \xff", "this is not YAML"},
		"control bytes": {"jobs: \x01", "this is not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			plan := planText(t, event{Push: "main"}, tt.text)
			if took := time.Since(start); took > soon {
				t.Errorf("took %v", took)
			}
			if !strings.Contains(fmt.Sprint(plan.Faults), tt.want) {
				t.Errorf("no word of %q in %.600v", tt.want, plan.Faults)
			}
			if len(plan.Faults) > maxFaults+1 {
				t.Errorf("%d faults", len(plan.Faults))
			}
		})
	}
}

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d: 1, ", i)
	}
	return b.String()
}

func circle(n int) string {
	var b strings.Builder
	b.WriteString("jobs:\n")
	for i := range n {
		fmt.Fprintf(&b, "  job%d: {needs: [job%d], build: {}}\n", i, (i+1)%n)
	}
	return b.String()
}

// Many faults are cut, and the cut hides neither a faulty job nor that the file can't be used.
func TestFaultsAreCut(t *testing.T) {
	var b strings.Builder
	b.WriteString("jobs:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "  job%d: {build: {}, x: 1, y: 2, z: 3}\n", i)
	}
	plan := planText(t, event{Push: "main"}, b.String())
	if len(plan.Faults) != maxFaults+1 || !strings.Contains(plan.Faults[maxFaults].Message, "and 50 more") {
		t.Fatalf("%d faults, the last %v", len(plan.Faults), plan.Faults[len(plan.Faults)-1])
	}
	if plan.Faulty() {
		t.Error("faults of jobs count as one of the file")
	}
	for _, j := range plan.Jobs {
		if j.Fault == "" {
			t.Errorf("job %s lost its fault", j.Name)
		}
	}
	if plan := planText(t, event{Push: "main"}, b.String()+"extra: 1\n"); !plan.Faulty() || plan.Selected() {
		t.Error("the cut hid a fault of the file")
	}
}

func TestNeedsChanges(t *testing.T) {
	const paths = "jobs:\n  a: {build: {}}\n  b: {paths: [src/**], build: {}}\n"
	for _, tt := range []struct {
		name string
		e    event
		text string
		want bool
	}{
		{"paths of a job", event{Push: "main"}, paths, true},
		{"not its branch", event{Push: "feat/x"}, paths, false},
		{"a tag", event{Tag: "v1"}, "on: {push: {}}\n" + paths, false},
		{"a pull request", event{PullRequest: "opened"}, paths, true},
		{"closed", event{PullRequest: "closed"}, paths, false},
		{"paths of the event", event{Push: "main"}, "on: {push: {paths: [a]}}\njobs: {a: {build: {}}}", true},
		{"paths of the other event", event{Push: "main"}, "on: {push: {}, pull_request: {paths: [a]}}\njobs: {a: {build: {}}}", false},
		{"no paths", event{Push: "main"}, "jobs: {a: {build: {}}}", false},
		{"a merge group", event{MergeGroup: "main"}, paths, true},
		{"a release", event{Release: "v1"}, "on: {release: {}}\n" + paths, false},
		{"a schedule", event{Schedule: "@daily"}, "on: {schedule: [{cron: \"@daily\"}]}\n" + paths, false},
		{"asked for", event{Push: "main", Build: &[]string{"b"}}, paths, false},
		{"a faulty file", event{Push: "main"}, "on: 1\n" + paths, false},
	} {
		in, _ := tt.e.input(t, map[string][]byte{".slipway.yaml": []byte(tt.text)})
		if got := NeedsChanges(in); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	in, _ := event{Push: "main", Dockerfile: true}.input(t, nil)
	if NeedsChanges(in) {
		t.Error("the default pipeline asks for changed files")
	}
}

// A record that Plan did not write is our trouble, not the pipeline's.
func TestResolveBrokenRecord(t *testing.T) {
	for _, template := range []string{"{", `1`, `{"image": 1}`, `{"unheard": "of"}`} {
		job := jobs.Job{Name: "a", Kind: jobs.KindBuild, Template: json.RawMessage(template)}
		if r, err := Resolve(jobs.Run{}, job, jobs.Grant{}); err == nil {
			t.Errorf("%s: resolved to %+v", template, r)
		}
	}
	job := jobs.Job{Name: "a", Kind: "dance", Template: json.RawMessage(`{}`)}
	if r, err := Resolve(jobs.Run{}, job, jobs.Grant{}); err == nil {
		t.Errorf("an unknown kind resolved to %+v", r)
	}
	job = jobs.Job{Name: "a", Kind: jobs.KindBuild, Spec: json.RawMessage(`{"image":"x"}`)}
	if r, err := Resolve(jobs.Run{}, job, jobs.Grant{}); err != nil || string(r.Spec) != `{"image":"x"}` {
		t.Errorf("a job without a template resolved to %+v, %v", r, err)
	}
}

// Only what a template marks is evaluated when it is resolved: values that Plan computed are not looked at again.
func TestResolveEvaluatesOnce(t *testing.T) {
	run := jobs.Run{RunInfo: jobs.RunInfo{Repository: repository("acme", "shop"), SHA: caseSHA}, Jobs: []jobs.Job{
		{Name: "image", Kind: jobs.KindBuild, State: jobs.JobSucceeded, Outputs: map[string]any{"digest": "${{ run.sha }}"}},
	}}
	grant := jobs.Grant{Push: []jobs.PushGrant{{Registry: "r.example.com", Names: []string{"**"}}}}
	job := jobs.Job{Name: "b", Kind: jobs.KindBuild, Needs: []string{"image"}, Template: json.RawMessage(
		`{"image":"r.example.com/a","args":{"A":"${{ run.sha }}","B":{"${{":"${{ needs.image.outputs.digest }}"}}}`)}
	r, err := Resolve(run, job, grant)
	if err != nil || r.Fault != "" {
		t.Fatal(r, err)
	}
	var got jobs.BuildSpec
	if err := json.Unmarshal(r.Spec, &got); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"A": "${{ run.sha }}", "B": "${{ run.sha }}"}; !reflect.DeepEqual(got.Args, want) {
		t.Errorf("args %v, want %v", got.Args, want)
	}
}

// What Validate says without an event, Plan says too; Validate says nothing of what only an event can tell.
func TestValidate(t *testing.T) {
	if faults := Validate([]byte("jobs: {a: {build: {args: {N: '${{ pull_request.number }}'}}}}"), "p.yaml"); len(faults) != 0 {
		t.Errorf("faults of a good file: %v", faults)
	}
	faults := Validate([]byte("jobs: {a: {build: {image: x/y}}}"), "p.yaml")
	if len(faults) != 1 || faults[0].Path != "p.yaml" || faults[0].Line != 1 || faults[0].Column != 27 || faults[0].Job != "a" {
		t.Errorf("faults of a faulty file: %v", faults)
	}
}
