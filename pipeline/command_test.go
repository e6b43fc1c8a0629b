package pipeline

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// Commands come in the file's order with their arguments in theirs; a faulty declaration is left out, a faulty job's is not.
func TestCommands(t *testing.T) {
	const text = `
on: {command: {name: usual}}
jobs:
  z: {on: {command: {name: zeta, description: last in the alphabet, args: {z: {type: number, default: 3}, a: {required: true, pattern: "[a-z]+"}, m: {type: choice, options: [x, y], default: y}}}}, build: {}}
  a: {build: {unheard: of}}
  b: {build: {}}
  share: {on: {command: {name: alpha}}, build: {}}
  says: {on: {command: {name: alpha, args: {loud: {type: boolean, default: true}}}, push: {}}, build: {}}
  reserved: {on: {command: {name: plan}}, build: {}}
  builtin: {on: {command: {name: build}}, build: {}}
  shape: {on: {command: {name: shape, arguments: {}}}, build: {}}
  default: {on: {command: {name: default, args: {n: {type: number, default: many}}}}, build: {}}
  pushes: {on: {push: {}}, build: {}}
`
	want := []jobs.DeclaredCommand{
		{Name: "zeta", Description: "last in the alphabet", Args: []jobs.CommandArg{
			{Name: "z", ArgSpec: jobs.ArgSpec{Type: jobs.ArgNumber, Default: 3.0}},
			{Name: "a", ArgSpec: jobs.ArgSpec{Required: true, Pattern: "[a-z]+"}},
			{Name: "m", ArgSpec: jobs.ArgSpec{Type: jobs.ArgChoice, Options: []string{"x", "y"}, Default: "y"}},
		}},
		{Name: "usual"},
		{Name: "alpha", Args: []jobs.CommandArg{{Name: "loud", ArgSpec: jobs.ArgSpec{Type: jobs.ArgBoolean, Default: true}}}},
	}
	if got := Commands([]byte(text), "x"); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, none := range []string{"", "[", "jobs: {a: {build: {}}}"} {
		if got := Commands([]byte(none), "x"); len(got) > 0 {
			t.Errorf("%q declares %v", none, got)
		}
	}
}

// The arguments that a job reads are those of every command that can start it; where two disagree on a type, the value decides.
func TestArgsOfTwoCommands(t *testing.T) {
	const text = `
jobs:
  base: {build: {args: {N: "${{ has(args.n) ? args.n : 'none' }}", T: "${{ has(args.text) ? args.text : '' }}"}}}
  one: {on: {command: {name: one, args: {n: {type: number, default: 1}, text: {}}}}, needs: [base], build: {image: registry.example.com/acme/shop/a}}
  two: {on: {command: {name: two, args: {n: {}}}}, needs: [base], build: {image: registry.example.com/acme/shop/b}}
`
	for _, tt := range []struct {
		e    event
		want string
	}{
		{event{Push: "main", Command: "one", Args: map[string]any{"n": int64(1000000), "text": "x"}}, `"N":"1000000","T":"x"`},
		{event{Push: "main", Command: "one", Args: map[string]any{"n": 1234567.25, "text": "x"}}, `"N":"1234567.25","T":"x"`},
		{event{Push: "main", Command: "two", Args: map[string]any{"n": "many"}}, `"N":"many","T":""`},
		{event{Push: "main"}, `"N":"none","T":""`},
	} {
		plan := planText(t, tt.e, text)
		if len(plan.Faults) > 0 || !containsText(plan.Jobs[0].Spec, tt.want) {
			t.Errorf("%v: %s", tt.e.Args, show(plan))
		}
	}
}

// As many commands as jobs, each with all the arguments there can be, are planned soon.
func TestManyCommands(t *testing.T) {
	var b strings.Builder
	b.WriteString("jobs:\n")
	for i := range MaxJobs {
		fmt.Fprintf(&b, "  job%d:\n    on: {push: {}, command: {name: c%d, args: {", i, i)
		for k := range 20 {
			fmt.Fprintf(&b, "arg%d: {pattern: \"[a-z]*%d\", default: x%d}, ", k, i, i)
		}
		fmt.Fprintf(&b, "}}}\n    needs: [job%d]\n    build: {args: {A: \"${{ has(args.arg0) ? args.arg0 : '' }}\"}}\n", i+1)
	}
	text := strings.Replace(b.String(), fmt.Sprintf("    needs: [job%d]\n", MaxJobs), "", 1)
	start := time.Now()
	plan := planText(t, event{Push: "main"}, text)
	if took := time.Since(start); took > soon {
		t.Errorf("took %v", took)
	}
	if len(plan.Faults) > 0 || !plan.Selected() {
		t.Errorf("%.2000s", show(plan))
	}
	if got := len(Commands([]byte(text), "x")); got != MaxJobs {
		t.Errorf("%d commands", got)
	}
}
