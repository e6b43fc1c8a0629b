package dispatch

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

func TestParseOutputs(t *testing.T) {
	for data, want := range map[string]struct {
		values map[string]any
		fault  string
	}{
		`{}`:                                    {map[string]any{}, ""},
		`{"a": "x", "b": true, "c": 1}`:         {map[string]any{"a": "x", "b": true, "c": int64(1)}, ""},
		`{"a": 9007199254740993}`:               {map[string]any{"a": int64(9007199254740993)}, ""},
		`{"a": 1e3, "b": 99999999999999999999}`: {map[string]any{"a": 1000.0, "b": 1e20}, ""},
		`{"a": 1e999, "b": 1}`:                  {map[string]any{"b": int64(1)}, "out of bounds"},
		`{"a": null, "b": 1}`:                   {map[string]any{"b": int64(1)}, `the output "a" is not a text`},
		`{"a": {"x": 1}}`:                       {map[string]any{}, "is not a text"},
		`{"run_url": "https://evil"}`:           {map[string]any{}, "is Slipway's own"},
		`{"a b": 1}`:                            {map[string]any{}, "has a name that"},
		`{"": 1}`:                               {map[string]any{}, "has a name that"},
		`[1]`:                                   {nil, "not a JSON object"},
		`null`:                                  {nil, "not a JSON object"},
		``:                                      {nil, "not a JSON object"},
		`{"a": 1} {"b": 2}`:                     {nil, "something behind"},
		`{"a": "` + strings.Repeat("x", 64<<10) + `"}`: {nil, "more than 64 KB"},
	} {
		values, faults := parseOutputs([]byte(data))
		if !reflect.DeepEqual(values, want.values) || want.fault == "" && len(faults) > 0 || !strings.Contains(strings.Join(faults, "; "), want.fault) {
			t.Errorf("%.60s: %#v, %q", data, values, faults)
		}
	}
	many := map[string]any{}
	for i := range 60 {
		many[fmt.Sprintf("n%02d", i)] = i
	}
	data, _ := json.Marshal(many)
	values, faults := parseOutputs(data)
	if len(values) != 50 || len(faults) != 10 || values["n49"] != int64(49) {
		t.Errorf("%d values, %d faults", len(values), len(faults))
	}
	if text := untaken(faults); strings.Count(text, "\n- ") != maxFaults+1 || !strings.Contains(text, "and 5 more") {
		t.Errorf("told:\n%s", text)
	}
}

func TestOutputsFitTogether(t *testing.T) {
	own := map[string]any{OutputRunID: int64(1)}
	all, faults := together(own, map[string]any{"big": strings.Repeat("x", 3000), "small": "y"})
	if len(all) != 2 || all["small"] != "y" || len(faults) != 1 || len(own) != 1 {
		t.Errorf("%v, %q", all, faults)
	}
}

func FuzzOutputs(f *testing.F) {
	f.Add([]byte(`{"image": "r/shop@sha256:1", "count": 7, "ratio": 0.5, "good": true}`))
	f.Add([]byte(`{"run_id": 1, "a": null, "b": [1], "c": {"d": "e"}, "ä": "ö"}`))
	f.Add([]byte("{\"a\": \"\xff\", \"a\": 1e309}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		own := map[string]any{OutputRunID: int64(101), OutputRunURL: "https://github.example/runs/101", OutputConclusion: "success", OutputArtifacts: "slipway-outputs"}
		values, faults := parseOutputs(data)
		for name, value := range values {
			switch value.(type) {
			case string, bool, int64, float64:
			default:
				t.Errorf("%s is a %T", name, value)
			}
		}
		all, without := together(own, values)
		for name, value := range own {
			if all[name] != value {
				t.Errorf("our own %s became %v", name, all[name])
			}
		}
		if len(values) > maxOutputs || len(all) != len(own)+len(values)-len(without) {
			t.Errorf("%d values, %d together, %d without room", len(values), len(all), len(without))
		}
		encoded, err := json.Marshal(all)
		if err != nil || len(encoded) > jobs.MaxOutputs {
			t.Errorf("%d bytes, %v", len(encoded), err)
		}
		if kept := (jobs.Result{Outputs: maps.Clone(all)}).Bound(); len(kept.Outputs) != len(all) {
			t.Error("the result's bound drops them")
		}
		if text := untaken(append(faults, without...)); len(text) > 4000 || strings.Count(text, "\n") > maxFaults+4 {
			t.Errorf("told at too much length: %d bytes", len(text))
		}
	})
}
