package queue

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-ci/slipway/jobs"
)

// BenchmarkAccept measures Accept of 20 KB bodies beside a floor: the same bytes appended to one file, with as many
// as possible sharing a sync. Each reports the p99 of a single call.
func BenchmarkAccept(b *testing.B) {
	body := randomBytes(20 << 10)
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("floor/clients=%d", clients), func(b *testing.B) {
			f := newGroupFile(b)
			concurrently(b, clients, func(int) error { return f.append(body) })
		})
		b.Run(fmt.Sprintf("queue/clients=%d", clients), func(b *testing.B) {
			q := open(b, Config{Embedded: Embedded{Dir: b.TempDir()}, Limits: Limits{Deliveries: 16 << 10}})
			concurrently(b, clients, func(i int) error {
				_, err := q.Accept(b.Context(), delivery(i, body))
				return err
			})
		})
	}
}

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

// A groupFile is a file whose writers share syncs: the least that durable means on this disk.
type groupFile struct {
	file    *os.File
	mu      sync.Mutex
	waiting []chan error
	wake    chan struct{}
}

func newGroupFile(b *testing.B) *groupFile {
	file, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	must(b, err)
	f := &groupFile{file: file, wake: make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range f.wake {
			f.mu.Lock()
			group := f.waiting
			f.waiting = nil
			f.mu.Unlock()
			err := file.Sync()
			for _, done := range group {
				done <- err
			}
		}
	}()
	b.Cleanup(func() {
		close(f.wake)
		<-ended
		must(b, file.Close())
	})
	return f
}

func (f *groupFile) append(data []byte) error {
	done := make(chan error, 1)
	f.mu.Lock()
	_, err := f.file.Write(data)
	f.waiting = append(f.waiting, done)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return <-done
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
