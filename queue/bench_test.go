package queue

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-ci/slipway/jobs"
)

// concurrently does b.N things with so many clients at once.
func concurrently(b *testing.B, clients int, do func(i int) error) {
	var next atomic.Int64
	took := make([]time.Duration, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(took[b.N/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds())/1000, "p99-ms")
}

func BenchmarkRecords(b *testing.B) {
	q := open(b, Config{Embedded: Embedded{Dir: b.TempDir()}})
	s := Set[record](q, Runs)
	value := record{Text: randomText(8 << 10)}
	revision, err := s.Create(b.Context(), "r-1", value)
	must(b, err)
	b.Run("update", func(b *testing.B) {
		concurrently(b, 1, func(int) (err error) {
			revision, err = s.Update(b.Context(), "r-1", value, revision)
			return err
		})
	})
	b.Run("get", func(b *testing.B) {
		concurrently(b, 1, func(int) error {
			_, _, err := s.Get(b.Context(), "r-1")
			return err
		})
	})
}

// BenchmarkRuns lists a page out of few and of many runs; it should cost the same.
func BenchmarkRuns(b *testing.B) {
	for _, stored := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("stored=%d", stored), func(b *testing.B) {
			q := openUnsynced(b, indexStream)
			var next atomic.Int64
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(stored); i = next.Add(1) {
						entry := jobs.RunEntry{ID: fmt.Sprint("r-", i), Repository: i % 1000, Name: fmt.Sprint("acme/", i%1000)}
						if err := q.AppendRun(b.Context(), entry); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			for name, filter := range map[string]RunFilter{"all": {}, "one of 1000 repositories": {Repository: 7}} {
				b.Run(name, func(b *testing.B) {
					concurrently(b, 1, func(int) error {
						_, err := q.Runs(b.Context(), 0, 50, filter)
						return err
					})
				})
			}
		})
	}
}

// openUnsynced opens an embedded queue with one stream that does not sync its writes, so that it is filled quickly.
func openUnsynced(b *testing.B, name string) *Queue {
	c := Config{Embedded: Embedded{Dir: b.TempDir()}}
	e, err := startEmbedded(c.Embedded.Dir, 64<<30, testLog(b))
	must(b, err)
	conn, err := e.connect()
	must(b, err)
	js, err := jetstream.New(conn)
	must(b, err)
	for _, p := range policies(c.Limits) {
		if p.name == name {
			p.async = true
			_, err := openStream(b.Context(), js, p, 1)
			must(b, err)
		}
	}
	conn.Close()
	must(b, e.stop())
	return open(b, c)
}

// BenchmarkHint measures from the offer of a hint to a waiting worker having it.
func BenchmarkHint(b *testing.B) {
	q := open(b, Config{Embedded: Embedded{Dir: b.TempDir()}})
	h := q.Hints()
	came := make(chan error)
	go func() {
		for {
			_, ack, err := h.Take(b.Context(), "build")
			if err == nil {
				err = ack(b.Context())
			}
			if b.Context().Err() != nil {
				return
			}
			came <- err
		}
	}()
	concurrently(b, 1, func(i int) error {
		if err := h.Offer(b.Context(), jobs.Hint{Kind: "build", Run: fmt.Sprint("r-", i), Job: "image"}); err != nil {
			return err
		}
		return <-came
	})
}
