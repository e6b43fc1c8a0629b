package pipeline

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/tools/txtar"

	"github.com/slipway-ci/slipway/jobs"
)

const helloWorkflow = `
name: Hello
run-name: Hello ${{ inputs.name }} ${{ github.event.inputs.slipway_run }}
on:
  workflow_dispatch:
    inputs:
      greeting: {description: What to say, required: true, type: string}
      name: {description: To whom, default: World}
      loud: {type: boolean, required: "true", default: "false"}
      times: {type: number}
      size: {type: choice, options: [small, 2, true], default: small}
      place: {type: environment}
      odd: {type: dance}
      bare:
      slipway_run: {required: true}
jobs: {hello: {runs-on: ubuntu-latest}}
`

func mustRead(t testing.TB, text string) Workflow {
	t.Helper()
	w, problem := ReadWorkflow([]byte(text))
	if problem != "" {
		t.Fatal(problem)
	}
	return w
}

func TestReadWorkflow(t *testing.T) {
	want := Workflow{
		Dispatch: true, RunName: "Hello ${{ inputs.name }} ${{ github.event.inputs.slipway_run }}",
		Inputs: []WorkflowInput{
			{Name: "greeting", Description: "What to say", Type: "string", Required: true},
			{Name: "name", Description: "To whom", Type: "string", Default: "World"},
			{Name: "loud", Type: "boolean", Required: true, Default: "false"},
			{Name: "times", Type: "number"},
			{Name: "size", Type: "choice", Default: "small", Options: []string{"small", "2", "true"}},
			{Name: "place", Type: "environment"},
			{Name: "odd", Type: "string"},
			{Name: "bare", Type: "string"},
			{Name: "slipway_run", Type: "string", Required: true},
		},
	}
	if got := mustRead(t, helloWorkflow); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The forms of on; and what only GitHub has to judge does not matter.
func TestReadWorkflowForms(t *testing.T) {
	for text, dispatch := range map[string]bool{
		"on: workflow_dispatch":                                      true,
		"on: push":                                                   false,
		"\"on\": [push, workflow_dispatch]":                          true,
		"on: [push]":                                                 false,
		"on: {workflow_dispatch: }":                                  true,
		"on: {workflow_dispatch: {inputs: }}":                        true,
		"on: {workflow_dispatch: {inputs: [a]}}":                     true,
		"on: {push: {branches: [workflow_dispatch]}}":                false,
		"on: {workflow_dispatch: {}}\njobs: {a: 0644, a: !x b}":      true,
		"on: {workflow_dispatch: {inputs: {a: {default: 0644}}}}":    true,
		"on: {workflow_dispatch: {inputs: {a: {default: 1, <<: }}}}": true,
		"x: &x {workflow_dispatch: }\non: *x":                        true,
		"on: 1":                                                      false,
		"on:":                                                        false,
		"on: {true: 1}\n---\nsecond: 1":                              false,
	} {
		w, problem := ReadWorkflow([]byte(text))
		if problem != "" || w.Dispatch != dispatch {
			t.Errorf("%s: dispatch %v, problem %q", text, w.Dispatch, problem)
		}
	}
	if in := mustRead(t, "on: {workflow_dispatch: {inputs: {a: {default: 0644}}}}").Inputs; len(in) != 1 || in[0].Default != "0644" {
		t.Errorf("inputs %+v", in)
	}
}

func TestReadWorkflowBounds(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":         {"", "holds no mapping"},
		"a list":        {"[on]", "holds no mapping"},
		"nothing on":    {"name: a", "has no on"},
		"size":          {"on: push\n# " + strings.Repeat("x", maxWorkflow), "more than the 524288 that are read"},
		"not YAML":      {"on: {", "can't be read: line"},
		"bytes":         {"on: \xff", "this is not YAML"},
		"deep":          {"on: " + strings.Repeat("[", 100_000), "max depth"},
		"nested":        {"on: " + strings.Repeat("{a: ", 50) + "1" + strings.Repeat("}", 50), "nested more than 30"},
		"many values":   {"on: [" + strings.Repeat("1,", 60_000) + "]", "more than 50000 values"},
		"many aliases":  {bomb + "on: *j", "more than 50000 values"},
		"alias circle":  {"on: &a [*a]", "nested more than 30"},
		"many inputs":   {"on: {workflow_dispatch: {inputs: {" + keys(26) + "}}}", "declares 26 inputs"},
		"no such alias": {"on: *a", "can't be read"},
	} {
		start := time.Now()
		_, problem := ReadWorkflow([]byte(tt.text))
		if !strings.Contains(problem, tt.want) {
			t.Errorf("%s: %q, want %q", name, problem, tt.want)
		}
		if took := time.Since(start); took > soon {
			t.Errorf("%s: took %v", name, took)
		}
	}
	// What lies outside of on is not expanded.
	if w, problem := ReadWorkflow([]byte(bomb + "on: workflow_dispatch")); problem != "" || !w.Dispatch {
		t.Errorf("aliases elsewhere: %q", problem)
	}
}

func TestMarkerInput(t *testing.T) {
	for _, tt := range []struct {
		runName, input string
		want           bool
	}{
		{"${{ inputs.slipway_run }}", "{required: true}", true},
		{"a ${{ inputs.a }} ${{ github.event.inputs.slipway_run || 'x' }}", "", true},
		{"${{ inputs['slipway_run'] }}", "{type: string}", true},
		{"${{ inputs.slipway_run }}", "{type: boolean}", false},
		{"${{ inputs.slipway_runs }}", "", false},
		{"inputs.slipway_run", "", false},
		{"${{ inputs.a }} inputs.slipway_run", "", false},
		{"", "", false},
	} {
		file := jobs.WorkflowFile{Content: fmt.Appendf(nil, "run-name: %q\non: {workflow_dispatch: {inputs: {slipway_run: %s}}}", tt.runName, tt.input)}
		if got := MarkerInput(file) == markerInput; got != tt.want {
			t.Errorf("run-name %s, input %s: %v", tt.runName, tt.input, got)
		}
	}
	if got := MarkerInput(jobs.WorkflowFile{Content: []byte("on: {workflow_dispatch: }\nrun-name: ${{ inputs.slipway_run }}")}); got != "" {
		t.Errorf("a marker %q that is no input", got)
	}
	if got := MarkerInput(jobs.WorkflowFile{Problem: "gone"}); got != "" {
		t.Errorf("a marker %q of no file", got)
	}
}

func TestCheckInputs(t *testing.T) {
	w := mustRead(t, helloWorkflow)
	many := map[string]any{}
	for i := range 26 {
		many[fmt.Sprintf("i%d", i)] = "x"
	}
	manyMore := Workflow{}
	for name := range many {
		manyMore.Inputs = append(manyMore.Inputs, WorkflowInput{Name: name, Type: "string"})
	}
	hi := func(name string, v any) map[string]any { return map[string]any{"greeting": "Hi", name: v} }
	for _, tt := range []struct {
		name   string
		w      Workflow
		inputs map[string]any
		want   string // the value of the input that is not greeting, or the fault
	}{
		{"hostile text", w, hi("name", "$(id); `id` ${{ secrets.X }}\n'\"\\"), "$(id); `id` ${{ secrets.X }}\n'\"\\"},
		{"text that is a number", w, hi("name", int64(3)), "3"},
		{"truth", w, hi("loud", true), "true"},
		{"truth as text", w, hi("loud", "false"), "false"},
		{"truth as a word", w, hi("loud", "True"), `fault: the input loud takes true or false, not "True"`},
		{"truth as a number", w, hi("loud", int64(1)), `fault: the input loud takes true or false, not "1"`},
		{"number", w, hi("times", int64(9007199254740993)), "9007199254740993"},
		{"large number", w, hi("times", 1e21), "1000000000000000000000"},
		{"small number", w, hi("times", 1e-9), "0.000000001"},
		{"number of a record", w, hi("times", json.Number("9007199254740993")), "9007199254740993"},
		{"exponent of a record", w, hi("times", json.Number("1e+21")), "1000000000000000000000"},
		{"number that is none", w, hi("times", json.Number("1e999")), "fault: the input times must be text, a number, true or false"},
		{"number as text", w, hi("times", "-007.50"), "-007.50"},
		{"exponent as text", w, hi("times", "1e3"), `fault: the input times takes a number such as 3 or 2.5, not "1e3"`},
		{"not a number", w, hi("times", true), `fault: the input times takes a number such as 3 or 2.5, not "true"`},
		{"hex", w, hi("times", "0x10"), `fault: the input times takes a number such as 3 or 2.5, not "0x10"`},
		{"empty number", w, hi("times", ""), `fault: the input times takes a number such as 3 or 2.5, not ""`},
		{"option", w, hi("size", int64(2)), "2"},
		{"option in another case", w, hi("size", "Small"), `fault: the input size takes one of small, 2, true, not "Small"`},
		{"place", w, hi("place", "production"), "production"},
		{"unknown", w, hi("nam", "x"), `fault: the workflow has no input "nam" (did you mean name?)`},
		{"far from all", w, hi("unheard-of", "x"), `fault: the workflow has no input "unheard-of"; it has greeting, name, loud, times, size, place, odd, bare`},
		{"nothing takes it", Workflow{Dispatch: true}, map[string]any{"a": "b"}, `fault: the workflow has no input "a"; it has none`},
		{"missing", w, map[string]any{"name": "x"}, "fault: the workflow requires the input greeting, which is missing"},
		{"empty though required", w, map[string]any{"greeting": ""}, "fault: the input greeting is required, and its value is empty"},
		{"the mark", w, hi("slipway_run", "mine"), "fault: the input slipway_run is filled by Slipway: leave it out"},
		{"a list", w, hi("name", []any{"x"}), "fault: the input name must be text, a number, true or false"},
		{"null", w, hi("name", nil), "fault: the input name must be text, a number, true or false"},
		{"bytes", w, hi("name", "\xff"), "fault: the input name must be UTF-8 text without NUL characters"},
		{"NUL", w, hi("name", "\x00${{ x }}"), "fault: the input name must be UTF-8 text without NUL characters"},
		{"many", manyMore, many, "fault: there are 26 inputs: GitHub takes at most 25"},
		{"long", w, hi("name", strings.Repeat("ü", maxInputText-len("greetingHiname")+1)), "fault: the inputs have 65536 characters together: GitHub takes at most 65535"},
		{"just not too long", w, hi("name", strings.Repeat("ü", maxInputText-len("greetingHiname"))), strings.Repeat("ü", maxInputText-len("greetingHiname"))},
	} {
		prepared, fault := CheckInputs(tt.w, tt.inputs)
		got := "fault: " + fault
		if fault == "" {
			for name := range tt.inputs {
				if name != "greeting" {
					got = prepared[name]
				}
			}
			if len(prepared) != len(tt.inputs) {
				t.Errorf("%s: prepared %v", tt.name, prepared)
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %.200q, want %.200q", tt.name, got, tt.want)
		}
	}
}

// The kind fills in the mark, which nobody else may.
func TestCheckDispatch(t *testing.T) {
	file := jobs.WorkflowFile{Path: ".github/workflows/hello.yaml", Content: []byte(helloWorkflow)}
	prepared, fault := CheckDispatch(file, map[string]any{"greeting": "Hi", "slipway_run": "slipway-1"})
	if fault != "" || !reflect.DeepEqual(prepared, map[string]string{"greeting": "Hi", "slipway_run": "slipway-1"}) {
		t.Errorf("prepared %v, fault %q", prepared, fault)
	}
	for _, tt := range []struct{ file, want string }{
		{"", ".github/workflows/hello.yaml is no workflow: it holds no mapping"},
		{"on: push", ".github/workflows/hello.yaml can't be started by anybody: its on does not name workflow_dispatch"},
		{helloWorkflow, "the workflow requires the input greeting, which is missing"},
	} {
		file.Content = []byte(tt.file)
		if _, fault := CheckDispatch(file, nil); fault != tt.want {
			t.Errorf("%q, want %q", fault, tt.want)
		}
	}
	if _, fault := CheckDispatch(jobs.WorkflowFile{Problem: "there is none"}, nil); fault != "there is none" {
		t.Errorf("fault %q", fault)
	}
}

// Usage is bounded, and shows what a file says without letting it be Markdown.
func TestUsage(t *testing.T) {
	w := Workflow{Inputs: []WorkflowInput{{Name: "a`b", Type: "string", Description: "**@team** see\n# <b>#12</b> https://x [l](m)", Default: "`x`"}}}
	want := "Usage: `/dispatch x.yaml [a'b=<string>]`\n\n- `a'b`: \\*\\*@\u200bteam\\*\\* see \\# \\<b\\>\\#12\\</b\\> https\\://x \\[l\\]\\(m\\) (string, default `'x'`)"
	if got := w.Usage("x.yaml"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for range 500 {
		w.Inputs = append(w.Inputs, w.Inputs[0])
	}
	if got := w.Usage("x.yaml"); len(got) > maxUsage+100 {
		t.Errorf("%d bytes", len(got))
	}
	if got := (Workflow{}).Usage("x.yaml"); got != "Usage: `/dispatch x.yaml`" {
		t.Errorf("got %q", got)
	}
}

func TestWorkflows(t *testing.T) {
	const pipeline = `
on: {push: {}, pull_request: {}}
jobs:
  image: {build: {}}
  a: {dispatch: {workflow: hello.yaml, ref: main}}
  b: {dispatch: {workflow: hello.yaml, repository: acme/shop}}
  tag: {dispatch: {workflow: hello.yaml, ref: v1}}
  later: {needs: [image], dispatch: {workflow: "${{ needs.image.outputs.tags }}.yaml"}}
  late-input: {needs: [image], dispatch: {workflow: late.yaml, inputs: {a: "${{ needs.image.outputs.tags }}"}}}
  open: {dispatch: {workflow: any.yaml, repository: acme/open}}
  closed: {dispatch: {workflow: any.yaml, repository: acme/closed}}
  never: {if: "false", dispatch: {workflow: never.yaml}}
  tags-only: {on: {tag: [v*]}, dispatch: {workflow: tags.yaml}}
  wrong: {dispatch: {workflow: wrong}}
  inputs: {dispatch: {workflow: inputs.yaml, retry_failed_jobs: 1}}
`
	const policy = defaultPolicy + "workflows: {acme/open: {repositories: [acme/*]}}\n"
	onMain := []string{"//hello.yaml", "/v1/hello.yaml", "//late.yaml", "acme/open//any.yaml", "//inputs.yaml"}
	for _, tt := range []struct {
		name string
		e    event
		text string
		want []string
	}{
		{"a push", event{Push: "main"}, pipeline, onMain},
		{"a pull request", event{PullRequest: "opened"}, pipeline, append([]string{"/main/hello.yaml", "//hello.yaml"}, onMain[1:]...)},
		{"of a stranger", event{PullRequest: "opened", Fork: true}, pipeline, nil},
		{"approved", event{PullRequest: "opened", Approved: true}, pipeline, nil},
		{"held back", event{Push: "main", Message: "x [skip ci]"}, pipeline, nil},
		{"behind", event{Push: "main", Stale: "main is at 99"}, pipeline, nil},
		{"a faulty file", event{Push: "main"}, "on: 1\n" + pipeline[1:], nil},
		{"no file", event{Push: "main", Dockerfile: true}, "", nil},
		{"no dispatch", event{Push: "main"}, "jobs: {a: {build: {}}}", nil},
		{"another command", event{Push: "main", Build: new([]string)}, pipeline, nil},
		{"asked for", event{Push: "main", Dispatch: &jobs.AskDispatch{Workflow: "x.yaml", Repository: "Acme/Shop", Ref: "refs/heads/main"}}, pipeline, []string{"//x.yaml"}},
		{"asked for by ID", event{Push: "main", Dispatch: &jobs.AskDispatch{Workflow: "4711"}}, "", []string{"/main/4711"}},
		{"asked for elsewhere", event{Push: "main", Dispatch: &jobs.AskDispatch{Workflow: "x.yaml", Repository: "acme/open", Ref: "v1"}}, "", []string{"acme/open/v1/x.yaml"}},
		{"asked for and not granted", event{Push: "main", Dispatch: &jobs.AskDispatch{Workflow: "x.yaml", Repository: "acme/closed"}}, "", nil},
		{"asked for and wrong", event{Push: "main", Dispatch: &jobs.AskDispatch{Workflow: "x"}}, "", nil},
		{"asked for by a stranger", event{PullRequest: "opened", Approved: true, Dispatch: &jobs.AskDispatch{Workflow: "x.yaml"}}, "", nil},
	} {
		files := map[string][]byte{"policy.yaml": []byte(policy)}
		if tt.text != "" {
			files[".slipway.yaml"] = []byte(tt.text)
		}
		in, _ := tt.e.input(t, files)
		var got []string
		for _, ref := range Workflows(in) {
			got = append(got, ref.Repository+"/"+ref.Ref+"/"+ref.Workflow)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	in, _ := event{Push: "main"}.input(t, map[string][]byte{".slipway.yaml": []byte(pipeline)})
	in.NoGrants, in.Grant = true, jobs.Grant{}
	if got := Workflows(in); len(got) != len(onMain)+1 {
		t.Errorf("in a rehearsal without grants: %v", got)
	}
}

// Without any workflow file nothing is said of inputs: a rehearsal looks at what it has.
func TestPlanWithoutWorkflows(t *testing.T) {
	plan := planText(t, event{Push: "main"}, "jobs: {a: {dispatch: {workflow: hello.yaml, inputs: {nope: 1}}}}")
	if len(plan.Faults) > 0 || !plan.Selected() || plan.Jobs[0].Spec == nil {
		t.Errorf("planned %s", show(plan))
	}
}

func TestWorkflowJob(t *testing.T) {
	for workflow, want := range map[string]string{
		"hello.yaml": "hello", "deploy-all.prod.yml": "deploy-all-prod", "4711": "workflow-4711", "2024.yaml": "workflow-2024", "äö.yaml": "workflow",
		" a b!.yaml": "a-b", "_x.yml": "_x", strings.Repeat("a", 100) + ".yaml": strings.Repeat("a", 63), strings.Repeat("1", 100) + ".yaml": "workflow-" + strings.Repeat("1", 54),
		"...yaml": "workflow",
	} {
		if got := workflowJob(workflow); got != want || !jobName.MatchString(got) {
			t.Errorf("%s: %q, want %q", workflow, got, want)
		}
	}
}

// What is in a repository and what a person writes is read to its end, soon, and what goes out keeps GitHub's rules.
func FuzzWorkflow(f *testing.F) {
	f.Add([]byte(helloWorkflow), "greeting", "Hi", int64(3), true)
	f.Add([]byte(helloWorkflow), "times", "1e3", int64(-1), false)
	f.Add([]byte(helloWorkflow), "slipway_run", "x\x00", int64(0), false)
	for _, name := range caseFiles(f) {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.Contains(file.Name, workflowFolder) {
				f.Add(file.Data, "greeting", "${{ run.sha }}", int64(1), true)
			}
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, name, text string, number int64, truth bool) {
		start := time.Now()
		w, problem := ReadWorkflow(content)
		if problem != "" && (w.Dispatch || len(w.Inputs) > 0) {
			t.Errorf("a workflow that can't be read (%s) says %+v", problem, w)
		}
		usage := w.Usage("x.yaml")
		if len(usage) > maxUsage+100 || strings.Count(usage, "\n") > len(w.Inputs)+1 || strings.Contains(strings.ReplaceAll(usage, "@\u200b", ""), "@") && !strings.Contains(usage, "`") {
			t.Errorf("usage of %d bytes: %q", len(usage), usage)
		}
		inputs := map[string]any{name: text}
		for i, in := range w.Inputs {
			inputs[in.Name] = []any{text, number, truth, float64(number) / 7, json.Number(fmt.Sprint(number))}[i%5]
		}
		prepared, fault := CheckInputs(w, inputs)
		if (fault == "") != (prepared != nil) || len(fault) > 1000 {
			t.Errorf("prepared %v, fault %q", prepared, fault)
		}
		if again, said := CheckInputs(w, inputs); said != fault || !reflect.DeepEqual(again, prepared) {
			t.Errorf("checked twice, two answers: %q, %q", fault, said)
		}
		length := 0
		for name, value := range prepared {
			length += utf8.RuneCountInString(name) + utf8.RuneCountInString(value)
			i := slices.IndexFunc(w.Inputs, func(in WorkflowInput) bool { return in.Name == name })
			if i < 0 || !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				t.Errorf("sends %q as %q", value, name)
				continue
			}
			if in := w.Inputs[i]; in.Type == "number" && !numberInput.MatchString(value) || in.Type == "choice" && !slices.Contains(in.Options, value) || in.Name == w.Marker() {
				t.Errorf("sends %q to %+v", value, in)
			}
		}
		if len(prepared) > maxInputs || length > maxInputText {
			t.Errorf("sends %d inputs of %d characters", len(prepared), length)
		}
		if took := time.Since(start); took > soon {
			t.Errorf("took %v", took)
		}
	})
}

// What a person writes can't be taken for what waits for other jobs, or spoil a record.
func TestAskedText(t *testing.T) {
	for _, ask := range []jobs.AskDispatch{
		{Workflow: "\x00${{ run.sha }}"}, {Workflow: "hello.yaml", Ref: "\x00"}, {Workflow: "hello.yaml", Repository: "acme/\xff"},
		{Workflow: "hello.yaml", Inputs: map[string]string{"greeting": "\x00${{ run.sha }}"}},
		{Workflow: "hello.yaml", Inputs: map[string]string{"\xff`": "Hi"}},
		{Workflow: "hello.yaml", Inputs: map[string]string{"greeting": strings.Repeat("x", maxSpec)}},
	} {
		in, _ := event{Push: "main", Dispatch: &ask}.input(t, nil)
		plan := Plan(in)
		if len(plan.Jobs) > 0 || plan.Refusal == "" || !utf8.ValidString(plan.Refusal) || strings.ContainsRune(plan.Refusal, 0) {
			t.Errorf("%+.100v: %s", ask, show(plan))
		}
	}
}

// A working copy's workflows are looked at where the run's own branch or tag is meant.
func TestValidateWith(t *testing.T) {
	const text = `
jobs:
  faulty: {dispatch: {workflow: hello.yaml, inputs: {nope: a}}}
  waits: {dispatch: {workflow: hello.yaml, inputs: {greeting: "${{ run.sha }}", loud: "${{ event.actor }}"}}}
  wrong: {dispatch: {workflow: ../hello.yaml}}
  tag: {dispatch: {workflow: hello.yaml, ref: v1}}
  late: {dispatch: {workflow: "${{ run.branch }}.yaml"}}
  unknown: {dispatch: {workflow: other.yaml}}
`
	var asked []string
	faults := ValidateWith([]byte(text), "p.yaml", func(name string) (jobs.WorkflowFile, bool) {
		asked = append(asked, name)
		return jobs.WorkflowFile{Content: []byte(helloWorkflow)}, name == "hello.yaml"
	})
	if want := []string{"hello.yaml", "hello.yaml", "other.yaml"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	var got []string
	for _, f := range faults {
		got = append(got, fmt.Sprintf("%d %s", f.Line, f.Job))
	}
	if want := []string{"3 faulty", "3 faulty", "5 wrong"}; !slices.Equal(got, want) {
		t.Errorf("faults %v, want %q", faults, want)
	}
	if faults := Validate([]byte(text), "p.yaml"); len(faults) != 1 || faults[0].Job != "wrong" {
		t.Errorf("without workflows: %v", faults)
	}
}

// The document's examples are true.
func TestDocumentedDispatch(t *testing.T) {
	text, err := os.ReadFile("../docs/dispatch.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) != 2 {
		t.Fatalf("%d examples, want a pipeline and a configuration", len(examples))
	}
	for _, f := range Validate([]byte(examples[0][1]), "docs/dispatch.md") {
		t.Errorf("%s:%d: %s", f.Path, f.Line, f.Message)
	}
	mustCompile(t, examples[1][1])
}
