package webhook_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
	"github.com/slipway-ci/slipway/webhook"
)

// BenchmarkAccept measures the whole way in (headers, HMAC, durable accept) with 20 KB bodies on the embedded queue, beside a
// floor: the same way in before one file that is synced for all waiting writers together. Compare their ops/s at the same
// number of clients; DESIGN's budget is their ratio.
func BenchmarkAccept(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("to=queue/clients=%d", clients), func(b *testing.B) { benchmarkAccept(b, openQueue(b), clients) })
		b.Run(fmt.Sprintf("to=floor/clients=%d", clients), func(b *testing.B) { benchmarkAccept(b, openFloor(b), clients) })
	}
}

func benchmarkAccept(b *testing.B, to webhook.Acceptor, clients int) {
	h, _ := handler(b, func(o *webhook.Options) { o.Accept = to })
	body := bytes.Repeat([]byte(`{"key": "value"}`), 20<<10/16)
	signature := sign(secret, body)
	var next atomic.Int64
	times := make([]time.Duration, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				r := request(b, "/webhook", bytes.NewReader(body), signature, set("X-GitHub-Delivery", fmt.Sprintf("guid-%d-%d", b.N, n)))
				w := httptest.NewRecorder()
				start := time.Now()
				h.ServeHTTP(w, r)
				times[n-1] = time.Since(start)
				if w.Code != http.StatusAccepted {
					b.Errorf("answered %d", w.Code)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	report(b, times)
}

// BenchmarkAcceptPaced sends 200 deliveries a second, however long each takes: what a busy organisation's GitHub does. Its p99
// should be at most twice the floor's. Run it with -benchtime 2000x.
func BenchmarkAcceptPaced(b *testing.B) {
	b.Run("to=queue", func(b *testing.B) { benchmarkPaced(b, openQueue(b)) })
	b.Run("to=floor", func(b *testing.B) { benchmarkPaced(b, openFloor(b)) })
}

func benchmarkPaced(b *testing.B, to webhook.Acceptor) {
	h, _ := handler(b, func(o *webhook.Options) { o.Accept = to })
	body := bytes.Repeat([]byte(`{"key": "value"}`), 20<<10/16)
	signature := sign(secret, body)
	times := make([]time.Duration, b.N)
	tick := time.NewTicker(time.Second / 200)
	defer tick.Stop()
	var wg sync.WaitGroup
	b.ResetTimer()
	for n := range b.N {
		<-tick.C
		wg.Go(func() {
			r := request(b, "/webhook", bytes.NewReader(body), signature, set("X-GitHub-Delivery", fmt.Sprintf("guid-%d-%d", b.N, n)))
			w := httptest.NewRecorder()
			start := time.Now()
			h.ServeHTTP(w, r)
			times[n] = time.Since(start)
			if w.Code != http.StatusAccepted {
				b.Errorf("answered %d", w.Code)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	report(b, times)
}

// report tells the middle and the slow end of what was measured.
func report(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}

func openQueue(b *testing.B) *queue.Queue {
	q, err := queue.Open(b.Context(), queue.Config{Embedded: queue.Embedded{Dir: filepath.Join(b.TempDir(), "data")}}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := q.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return q
}

func openFloor(b *testing.B) *floor {
	f, err := newFloor(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.close)
	return f
}

// A floor is what no durable store can beat by much: one file, one sync for all who wait.
type floor struct {
	file *os.File
	in   chan floorWrite
	done chan struct{}
}

type floorWrite struct {
	body []byte
	done chan error
}

func newFloor(path string) (*floor, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	f := &floor{file, make(chan floorWrite, 256), make(chan struct{})}
	go f.write()
	return f, nil
}

func (f *floor) Accept(_ context.Context, d jobs.Delivery) (bool, error) {
	w := floorWrite{d.Body, make(chan error, 1)}
	f.in <- w
	return true, <-w.done
}

func (f *floor) write() {
	defer close(f.done)
	for first := range f.in {
		group := []floorWrite{first}
		for more := true; more; {
			select {
			case w, open := <-f.in:
				if more = open; open {
					group = append(group, w)
				}
			default:
				more = false
			}
		}
		var err error
		for _, w := range group {
			if err == nil {
				err = binary.Write(f.file, binary.LittleEndian, int64(len(w.body)))
			}
			if err == nil {
				_, err = f.file.Write(w.body)
			}
		}
		if err == nil {
			err = f.file.Sync()
		}
		for _, w := range group {
			w.done <- err
		}
	}
}

func (f *floor) close() {
	close(f.in)
	<-f.done
	f.file.Close()
}
