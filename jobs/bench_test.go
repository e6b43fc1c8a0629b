package jobs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// BenchmarkAcceptedToWork measures from the answer to GitHub to the first line of the kind, on the embedded queue with every
// write synced: plan, decision, run, offer, claim. GitHub answers at once.
func BenchmarkAcceptedToWork(b *testing.B) {
	q, err := queue.Open(b.Context(), queue.Config{Embedded: queue.Embedded{Dir: filepath.Join(b.TempDir(), "data")}}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	w := newTownOn(b, q)
	w.log = slog.New(slog.DiscardHandler)
	started := make(chan time.Time, 1)
	w.build = func(context.Context, jobs.Task) (jobs.Result, error) {
		started <- time.Now()
		return jobs.Result{Conclusion: jobs.Success}, nil
	}
	w.replica("one")
	times := make([]time.Duration, b.N)
	b.ResetTimer()
	for i := range b.N {
		guid := fmt.Sprintf("guid-%d-%d", b.N, i)
		e := jobs.Event{Kind: jobs.EventPush, Ref: "refs/heads/main", After: fmt.Sprintf("%040x", i+1)}
		w.set(func() { w.heads[e.Ref] = e.After })
		w.deliver(guid, e)
		accepted := time.Now()
		times[i] = (<-started).Sub(accepted)
		w.finished(guid)
	}
	b.StopTimer()
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkAdvance moves a run of 100 jobs in ten layers on by one step.
func BenchmarkAdvance(b *testing.B) {
	var planned []jobs.PlannedJob
	for i := range 100 {
		j := jobs.PlannedJob{Name: fmt.Sprintf("j%d", i)}
		if i >= 10 {
			j.Needs = []string{fmt.Sprintf("j%d", i-10)}
		}
		planned = append(planned, j)
	}
	fresh, err := json.Marshal(graph(planned...))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		var run jobs.Run
		if err := json.Unmarshal(fresh, &run); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := run.Advance(noon, noResolve); err != nil {
			b.Fatal(err)
		}
	}
}
