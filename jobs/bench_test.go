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

// durableTown is a quiet town on an embedded queue, every write synced, that sweeps as often as a real server.
func durableTown(b *testing.B) *town {
	q, err := queue.Open(b.Context(), queue.Config{Embedded: queue.Embedded{Dir: filepath.Join(b.TempDir(), "data")}}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	w := newTownOn(b, q)
	w.log, w.sweep = slog.New(slog.DiscardHandler), 5*time.Second
	return w
}

// BenchmarkAcceptedToWork measures from the answer to GitHub to the first line of the kind, on the embedded queue with every
// write synced: plan, decision, run, offer, claim. GitHub answers at once.
func BenchmarkAcceptedToWork(b *testing.B) {
	w := durableTown(b)
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

// BenchmarkQueuedRuns carries many runs of a hundred repositories, all delivered at once, to their end. The time for each should
// not grow with how many wait.
func BenchmarkQueuedRuns(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("runs=%d", n), func(b *testing.B) {
			for b.Loop() {
				w := durableTown(b)
				done := make(chan struct{}, n)
				w.build = func(context.Context, jobs.Task) (jobs.Result, error) {
					done <- struct{}{}
					return jobs.Result{Conclusion: jobs.Success}, nil
				}
				for i := range n {
					e := jobs.Event{
						Kind: jobs.EventPush, Ref: fmt.Sprintf("refs/heads/b%d", i), After: fmt.Sprintf("%040x", i+1),
						Repository: jobs.Repository{ID: int64(1 + i%100), Owner: "acme", Name: fmt.Sprintf("r%d", i%100), DefaultBranch: "main"},
					}
					w.set(func() { w.heads[e.Ref] = e.After })
					w.deliver(fmt.Sprintf("guid-queued-%d", i), e)
				}
				start := time.Now()
				stop := w.replica("one")
				for range n {
					<-done
				}
				b.ReportMetric(float64(time.Since(start).Microseconds())/float64(n), "µs/run")
				stop()
			}
		})
	}
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
		if _, err := run.Advance(noon, asWritten); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNews decides about news of a workflow's job, as busy repositories send them by the thousand: those that nobody waits for, and
// those that let a parked job look.
func BenchmarkNews(b *testing.B) {
	for name, followed := range map[string]bool{"nobody": false, "followed": true} {
		b.Run(name, func(b *testing.B) {
			w := durableTown(b)
			w.build = follow(w)
			if followed {
				w.replica("one")
				w.deliver("guid-push-1", w.push("a"))
				w.active("guid-push-1", parked("hello is "))
			}
			planner, at := w.planner(), time.Now()
			b.ResetTimer()
			for i := range b.N {
				run := jobs.WorkflowRun{ID: 77, Attempt: 1, Jobs: []jobs.WorkflowJob{{ID: int64(i%100 + 1), Attempt: 1, Name: "test", Status: "in_progress", Started: at}}}
				for n := range i/100%50 + 1 {
					run.Jobs[0].Steps = append(run.Jobs[0].Steps, jobs.WorkflowStep{Number: n + 1, Name: "make test", Status: "completed", Conclusion: "success"})
				}
				e := jobs.Event{Kind: jobs.EventWorkflow, Workflow: &run, Installation: 3, Repository: jobs.Repository{ID: 5, Owner: "acme", Name: "shop", DefaultBranch: "main"}}
				body, err := json.Marshal(e)
				if err != nil {
					b.Fatal(err)
				}
				d := jobs.Delivery{GUID: fmt.Sprintf("guid-news-%d-%d", b.N, i), Event: "workflow_job", Received: at, Body: body}
				if err := planner.Handle(b.Context(), d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
