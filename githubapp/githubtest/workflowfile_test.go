package githubtest

import (
	"slices"
	"testing"
)

func TestRefPatterns(t *testing.T) {
	for _, test := range []struct {
		only, ignore []string
		name         string
		want         bool
	}{
		{nil, nil, "main", true},
		{[]string{"main"}, nil, "main", true},
		{[]string{"main"}, nil, "mainly", false},
		{[]string{"release/*"}, nil, "release/1", true},
		{[]string{"release/*"}, nil, "release/1/2", false},
		{[]string{"release/**"}, nil, "release/1/2", true},
		{[]string{"**", "!feat/**"}, nil, "feat/a", false},
		{[]string{"**", "!feat/**", "feat/b"}, nil, "feat/b", true},
		{[]string{"v1.0"}, nil, "v1x0", false},
		{nil, []string{"wip/**"}, "wip/a", false},
		{nil, []string{"wip/**"}, "main", true},
	} {
		if got := passes(test.name, test.only, test.ignore); got != test.want {
			t.Errorf("%q passes %q without %q: %t", test.name, test.only, test.ignore, got)
		}
	}
}

func TestTriggers(t *testing.T) {
	for _, test := range []struct {
		on   string
		refs []string // of main, v1 and topic, which start it
	}{
		{"push", []string{"refs/heads/main", "refs/tags/v1", "refs/heads/topic"}},
		{"[push, pull_request]", []string{"refs/heads/main", "refs/tags/v1", "refs/heads/topic"}},
		{"{push: {branches: [main]}}", []string{"refs/heads/main"}},
		{"{push: {branches-ignore: main}}", []string{"refs/heads/topic"}},
		{"{push: {tags: ['v*']}}", []string{"refs/tags/v1"}},
		{"{push: {tags-ignore: ['v*']}}", nil},
		{"{push: {branches: [main], tags: ['v*']}}", []string{"refs/heads/main", "refs/tags/v1"}},
	} {
		file, err := parseWorkflow([]byte("on: " + test.on + "\njobs: {a: {}}"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, ref := range []string{"refs/heads/main", "refs/tags/v1", "refs/heads/topic"} {
			if file.triggers["push"].runsOnRef(ref) {
				got = append(got, ref)
			}
		}
		if !slices.Equal(got, test.refs) {
			t.Errorf("on %s runs on %q, want %q", test.on, got, test.refs)
		}
	}
}

func TestWorkflowFaults(t *testing.T) {
	for _, text := range []string{"", "[]", "on: push", "jobs: {a: {}}", "on: push\njobs: {a: {needs: b}}", "on: push\njobs: {a: {needs: b}, b: {needs: [a]}}", "on: [", "on: push\njobs: []"} {
		if f, err := parseWorkflow([]byte(text)); err == nil {
			t.Errorf("%q is taken for %+v", text, f)
		}
	}
}

// Whatever a file holds, reading it ends without a panic, and what is read can be shown.
func FuzzParseWorkflow(f *testing.F) {
	f.Add("name: x\non: {push: {branches: ['**']}, workflow_dispatch: {inputs: {a: {type: choice, options: [b]}}}}\njobs: {a: {needs: [b], steps: [{run: x}]}, b: {environment: {name: c}}}", "x")
	f.Add("on: push\njobs: {a: &a {steps: [{uses: x, with: *a}]}}", "[")
	f.Fuzz(func(_ *testing.T, text, value string) {
		file, err := parseWorkflow([]byte(text))
		if err != nil {
			return
		}
		_, _ = file.fillInputs(map[string]any{"a": value})
		for _, trigger := range file.triggers {
			trigger.runsOnRef("refs/heads/" + value)
			trigger.runsOnPull("opened", value)
		}
		for _, j := range file.jobs {
			evaluate(j.name, map[string]string{"inputs.a": value})
			for _, step := range j.steps {
				step.title()
			}
		}
	})
}
