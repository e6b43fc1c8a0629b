package pipeline

import (
	"reflect"
	"sync"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

// Planning, resolving and the operator's rules are asked by many at once, and say the same to all of them.
func TestConcurrentUse(t *testing.T) {
	in, rules := event{Push: "main", Changed: []string{"libs/a.go"}}.input(t, map[string][]byte{".slipway.yaml": []byte(typicalFile)})
	want := Plan(in)
	run := jobs.Run{RunInfo: in.Run}
	for _, j := range want.Jobs {
		run.Jobs = append(run.Jobs, jobs.Job{Name: j.Name, Kind: j.Kind, Needs: j.Needs, Spec: j.Spec, Template: j.Template,
			State: jobs.JobSucceeded, Outputs: map[string]any{"digest": "sha256:aa"}})
	}
	resolved, err := Resolve(run, run.Jobs[2], in.Grant)
	if err != nil || resolved.Spec == nil {
		t.Fatal(resolved, err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if got := Plan(in); !reflect.DeepEqual(got, want) {
					t.Errorf("another plan: %s", show(got))
				}
				if got, err := Resolve(run, run.Jobs[2], in.Grant); err != nil || !reflect.DeepEqual(got, resolved) {
					t.Errorf("another resolution: %+v, %v", got, err)
				}
				if got := rules.Grant(in.Run); !reflect.DeepEqual(got, in.Grant) {
					t.Errorf("another grant: %+v", got)
				}
				if got := rules.DefaultImage(in.Run.Repository); got != in.DefaultImage {
					t.Errorf("another default image: %s", got)
				}
			}
		})
	}
	all.Wait()
}
