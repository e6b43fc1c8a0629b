package jobs

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// greetArgs are one argument of every type.
var greetArgs = []CommandArg{
	{Name: "who", ArgSpec: ArgSpec{Required: true, Pattern: "[a-z]+|[A-Z]+"}},
	{Name: "greeting", ArgSpec: ArgSpec{Type: ArgString, Default: "Hello there"}},
	{Name: "mode", ArgSpec: ArgSpec{Type: ArgChoice, Options: []string{"quiet", "loud", "none"}, Default: "quiet"}},
	{Name: "dry-run", ArgSpec: ArgSpec{Type: ArgBoolean}},
	{Name: "times", ArgSpec: ArgSpec{Type: ArgNumber, Default: 1}},
	{Name: "note", ArgSpec: ArgSpec{}},
}

const greetUsage = `/greet <who> [greeting="Hello there"] [mode=quiet|loud|none] [dry-run=true|false] [times=1] [note=…]`

func TestBind(t *testing.T) {
	all := func(changes map[string]any) map[string]any {
		m := map[string]any{"who": "bob", "greeting": "Hello there", "mode": "quiet", "dry-run": false, "times": int64(1), "note": ""}
		for k, v := range changes {
			m[k] = v
		}
		return m
	}
	for name, test := range map[string]struct {
		args  []string
		named map[string]string
		want  map[string]any
		fault string
	}{
		"defaults":                 {args: []string{"bob"}, want: all(nil)},
		"by position":              {args: []string{"bob", "Hi", "loud", "TRUE", "-2.50", "x"}, want: all(map[string]any{"greeting": "Hi", "mode": "loud", "dry-run": true, "times": -2.5, "note": "x"})},
		"by name":                  {named: map[string]string{"who": "BOB", "times": "007"}, want: all(map[string]any{"who": "BOB", "times": int64(7)})},
		"both":                     {args: []string{"bob"}, named: map[string]string{"dry-run": "false"}, want: all(nil)},
		"empty text":               {args: []string{"bob", ""}, want: all(map[string]any{"greeting": ""})},
		"a fraction that is whole": {args: []string{"bob"}, named: map[string]string{"times": "3.0"}, want: all(map[string]any{"times": 3.0})},
		"no negative zero":         {args: []string{"bob"}, named: map[string]string{"times": "-0.0"}, want: all(map[string]any{"times": 0.0})},

		"missing":          {fault: `who is missing`},
		"one too many":     {args: []string{"a", "b", "none", "true", "1", "n", "more"}, fault: `/greet takes 6 arguments, and "more" is one more`},
		"unknown name":     {args: []string{"bob"}, named: map[string]string{"whom": "x"}, fault: `/greet has no argument "whom"`},
		"given twice":      {args: []string{"bob"}, named: map[string]string{"who": "x"}, fault: `who is given twice, by its place and by its name`},
		"pattern in part":  {args: []string{"bobX"}, fault: `who must match [a-z]+|[A-Z]+, and "bobX" does not`},
		"pattern by lines": {args: []string{"bob\nX"}, fault: `who must match [a-z]+|[A-Z]+, and "bob\nX" does not`},
		"choice":           {args: []string{"bob", "x", "Loud"}, fault: `mode must be quiet, loud or none, not "Loud"`},
		"boolean":          {args: []string{"bob"}, named: map[string]string{"dry-run": "yes"}, fault: `dry-run must be true or false, not "yes"`},
		"number":           {args: []string{"bob"}, named: map[string]string{"times": "1e9"}, fault: `times must be a number such as 3 or 2.5, not "1e9"`},
		"endless number":   {args: []string{"bob"}, named: map[string]string{"times": "NaN"}, fault: `times must be a number such as 3 or 2.5, not "NaN"`},
		"long number":      {args: []string{"bob"}, named: map[string]string{"times": "1234567890123456"}, fault: `times must be a number such as 3 or 2.5, not "1234567890123456"`},
		"long text":        {args: []string{strings.Repeat("a", 1001)}, fault: `who has 1001 bytes, more than 1000`},
	} {
		t.Run(name, func(t *testing.T) {
			got, fault := Bind(greetArgs, Command{Name: "greet", Args: test.args, Named: test.named})
			if test.fault != "" {
				test.fault += "; usage: " + greetUsage
			}
			if fault != test.fault || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, %q\nwant %v, %q", got, fault, test.want, test.fault)
			}
			if f, ok := got["times"].(float64); ok && math.Signbit(f) && f == 0 {
				t.Error("times is -0")
			}
		})
	}
}

func TestBindNothingDeclared(t *testing.T) {
	if got, fault := Bind(nil, Command{Name: "ship"}); fault != "" || len(got) != 0 {
		t.Errorf("got %v, %q", got, fault)
	}
	if _, fault := Bind(nil, Command{Name: "ship", Args: []string{"it"}}); fault != `/ship takes no arguments, and "it" is one more; usage: /ship` {
		t.Errorf("got %q", fault)
	}
}

// TestArgsFromRecords holds that a declaration that was stored and read again means the same.
func TestArgsFromRecords(t *testing.T) {
	data, err := json.Marshal(greetArgs)
	if err != nil {
		t.Fatal(err)
	}
	var again []CommandArg
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	c := Command{Name: "greet", Args: []string{"bob"}}
	want, _ := Bind(greetArgs, c)
	if got, fault := Bind(again, c); fault != "" || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %q, want %v", got, fault, want)
	}
	if got := Usage("greet", again); got != greetUsage {
		t.Errorf("got %s", got)
	}
}

func TestUsage(t *testing.T) {
	for want, declared := range map[string][]CommandArg{
		"/slipway ship": nil,
		"/slipway ship <a> <b: x|y> <c: true|false> [d=true|false]": {
			{Name: "a", ArgSpec: ArgSpec{Required: true, Type: ArgNumber}},
			{Name: "b", ArgSpec: ArgSpec{Required: true, Type: ArgChoice, Options: []string{"x", "y"}}},
			{Name: "c", ArgSpec: ArgSpec{Required: true, Type: ArgBoolean}},
			{Name: "d", ArgSpec: ArgSpec{Type: ArgBoolean, Default: true}},
		},
		`/slipway ship [a=""] [b=2.5] [c=x]`: {
			{Name: "a", ArgSpec: ArgSpec{Default: ""}},
			{Name: "b", ArgSpec: ArgSpec{Type: ArgNumber, Default: 2.5}},
			{Name: "c", ArgSpec: ArgSpec{Default: "x"}},
		},
	} {
		if got := Usage("slipway ship", declared); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestCheckArgs(t *testing.T) {
	if faults := CheckArgs(greetArgs); faults != nil {
		t.Errorf("good arguments have faults: %q", faults)
	}
	arg := func(name string, a ArgSpec) []CommandArg { return []CommandArg{{Name: name, ArgSpec: a}} }
	for want, declared := range map[string][]CommandArg{
		`"Who" can't be an argument's name: write 1 to 63 lower-case letters, digits, _ and -, beginning with a letter`: arg("Who", ArgSpec{}),
		"a is declared twice": {{Name: "a"}, {Name: "a"}},
		`a: there is no type "text"; there are string, choice, boolean, number`:              arg("a", ArgSpec{Type: "text"}),
		"a: only a string has a pattern":                                                     arg("a", ArgSpec{Type: ArgBoolean, Pattern: "x"}),
		"a: only a choice has options":                                                       arg("a", ArgSpec{Options: []string{"x"}}),
		"a: required and default exclude each other":                                         arg("a", ArgSpec{Required: true, Default: "x"}),
		"a: give it a default, or required: true":                                            arg("a", ArgSpec{Type: ArgNumber}),
		"a: the pattern can't be used: error parsing regexp: unexpected ): `a)|(b`":          arg("a", ArgSpec{Required: true, Pattern: "a)|(b"}),
		"a: the pattern can't be used: has 301 bytes, more than 300":                         arg("a", ArgSpec{Required: true, Pattern: strings.Repeat("a", 301)}),
		"a: the pattern does not match the empty text: give it a default, or required: true": arg("a", ArgSpec{Pattern: "x+"}),
		"a: a choice has 1 to 50 options, not 0":                                             arg("a", ArgSpec{Type: ArgChoice, Required: true}),
		`a: option "" must have 1 to 100 bytes`:                                              arg("a", ArgSpec{Type: ArgChoice, Required: true, Options: []string{""}}),
		`a: option "x" stands twice`:                                                         arg("a", ArgSpec{Type: ArgChoice, Required: true, Options: []string{"x", "x"}}),
		"a: the default does not fit: a choice was expected: x or y":                         arg("a", ArgSpec{Type: ArgChoice, Default: "z", Options: []string{"x", "y"}}),
		"a: the default does not fit: a string was expected that matches x+":                 arg("a", ArgSpec{Default: "y", Pattern: "x+"}),
		"a: the default does not fit: a string was expected":                                 arg("a", ArgSpec{Default: 1.10}),
		"a: the default does not fit: a boolean was expected":                                arg("a", ArgSpec{Type: ArgBoolean, Default: "true"}),
		"a: the default does not fit: a number was expected":                                 arg("a", ArgSpec{Type: ArgNumber, Default: "1"}),
		"a: the default does not fit: a number was expected ":                                arg("a", ArgSpec{Type: ArgNumber, Default: []any{1}}),
		"a: the description has 201 bytes, more than 200":                                    arg("a", ArgSpec{Description: strings.Repeat("a", 201)}),
	} {
		if got := CheckArgs(declared); !slices.Equal(got, []string{strings.TrimRight(want, " ")}) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	many := make([]CommandArg, 21)
	for i := range many {
		many[i].Name = "a" + strings.Repeat("b", i)
	}
	if got := CheckArgs(many); !slices.Equal(got, []string{"there are 21 arguments, more than 20"}) {
		t.Errorf("got %q", got)
	}
}

// FuzzBind holds that values have their declared types, whatever was written and declared, and that what CheckArgs finds
// good can always be used.
func FuzzBind(f *testing.F) {
	f.Add("bob", "2.5", "string", "[a-z]+", "x", true)
	f.Add("quiet", "", "choice", "", "quiet", false)
	f.Add("true", "1", "boolean", "", "", true)
	f.Add("-0", "00", "number", "(", "0", false)
	f.Fuzz(func(t *testing.T, first, second, kind, pattern, option string, required bool) {
		spec := ArgSpec{Type: kind, Pattern: pattern, Required: required}
		if kind == ArgChoice {
			spec.Options = []string{option, "other"}
		}
		if !required {
			spec.Default = option
		}
		declared := []CommandArg{{Name: "a", ArgSpec: spec}, {Name: "b", ArgSpec: ArgSpec{Type: ArgNumber, Default: 2}}}
		sound := CheckArgs(declared) == nil
		for _, c := range []Command{
			{Name: "x", Args: []string{first, second}},
			{Name: "x", Named: map[string]string{"a": first, "b": second}},
			{Name: "x"},
		} {
			values, fault := Bind(declared, c)
			if (values == nil) == (fault == "") {
				t.Fatalf("values %v and the fault %q", values, fault)
			}
			if fault != "" {
				if strings.Contains(fault, "pipeline file") && sound {
					t.Fatalf("declared without a fault, but %s", fault)
				}
				continue
			}
			ok := false
			switch v := values["a"].(type) {
			case string:
				ok = kind == "" || kind == ArgString || kind == ArgChoice && slices.Contains(spec.Options, v)
			case bool:
				ok = kind == ArgBoolean
			case int64:
				ok = kind == ArgNumber
			case float64:
				ok = kind == ArgNumber && !math.IsNaN(v) && !math.IsInf(v, 0)
			}
			if !ok || len(values) != 2 {
				t.Fatalf("%v does not fit %+v", values, spec)
			}
			if _, err := json.Marshal(values); err != nil {
				t.Fatal(err)
			}
		}
	})
}
