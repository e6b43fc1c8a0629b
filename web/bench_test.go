package web

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// big is a run of 100 jobs in 5 layers, half of them failed with everything a result can hold.
func big(tb testing.TB, w *world) jobs.Run {
	tb.Helper()
	var p jobs.Plan
	for i := range 100 {
		j := jobs.PlannedJob{Name: fmt.Sprintf("job-%03d", i), Kind: jobs.KindBuild, Planned: true, Reason: "a push to the default branch", Spec: buildSpec}
		if i >= 20 {
			j.Needs = []string{fmt.Sprintf("job-%03d", i-20), fmt.Sprintf("job-%03d", (i-20)/20*20)}
		}
		p.Jobs = append(p.Jobs, j)
	}
	d := jobs.Decision{Delivery: guid(1), Time: time.Now(), Outcome: jobs.OutcomeRun, Reason: "100 of 100 jobs match this push.", Run: push(shop, 1, "main", "Everything at once", mona), Plan: p}
	return w.add(tb, "push", d, func(r *jobs.Run) {
		for i := range r.Jobs {
			result := builtResult(r.SHA)
			if i%2 == 1 {
				result = jobs.Result{Conclusion: jobs.Failure, Summary: strings.Repeat("It broke. ", 20), Details: strings.Repeat("**Step** `RUN x` of stage *builder* failed.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n", 60)}
				for range jobs.MaxTail {
					result.Tail = append(result.Tail, strings.Repeat("\x1b[31mx\x1b[0m ", 20))
					result.Annotations = append(result.Annotations, jobs.Annotation{Path: "Dockerfile", Line: 7, Level: "failure", Message: strings.Repeat("y", 200)})
				}
			}
			r.Jobs[i].State = jobs.JobWaiting
			w.finish(tb, r, r.Jobs[i].Name, r.Created, time.Minute, result.Bound(), "one line")
		}
	})
}

func (w *world) quiet(tb testing.TB) http.Handler {
	return w.server(tb, func(o *Options) { o.Log = slog.New(slog.DiscardHandler) }).Pages()
}

// measure reports how long a page takes and how big it is. The stores are in memory and decode JSON as real ones do.
func measure(b *testing.B, h http.Handler, path string) {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host, r.RemoteAddr = "localhost", "127.0.0.1:1"
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
		b.ReportMetric(float64(w.Body.Len()), "bytes/page")
	}
}

func BenchmarkRunList(b *testing.B) {
	w := newWorld()
	for i := range 1000 {
		w.add(b, "push", jobs.Decision{Delivery: guid(i), Time: time.Now(), Outcome: jobs.OutcomeHeld, Shown: true, Reason: "Held.", Run: push(shop, i, "main", "Change", mona), Plan: twoJobs(true)}, nil)
	}
	measure(b, w.quiet(b), "/")
}

func BenchmarkRunPage100Jobs(b *testing.B) {
	w := newWorld()
	run := big(b, w)
	measure(b, w.quiet(b), "/runs/"+run.ID)
}

func BenchmarkLogPage5000Lines(b *testing.B) {
	w := newWorld()
	run := fillSample(b, w, time.Now()).running
	for range 500 {
		w.logs.print(jobs.LogKey{Run: run.ID, Job: "image", Attempt: 1}, false, buildLog...)
	}
	measure(b, w.quiet(b), "/runs/"+run.ID+"/jobs/image/log")
}

func BenchmarkANSI(b *testing.B) {
	line := "#6 1.402 \x1b[1;31mcmd/contract/main.go:23:11: undefined: contract.Serve\x1b[0m"
	b.ReportAllocs()
	for b.Loop() {
		_, _ = io.WriteString(io.Discard, string(ansi(line)))
	}
}
