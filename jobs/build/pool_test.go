package build

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/jobs"
)

// greeter is the part of a BuildKit that answers whether it is alive.
type greeter struct {
	control.UnimplementedControlServer
}

func (greeter) Info(context.Context, *control.InfoRequest) (*control.InfoResponse, error) {
	return &control.InfoResponse{}, nil
}

// serve starts a greeter on a socket, and returns what stops it.
func serve(t testing.TB, socket string) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	control.RegisterControlServer(s, greeter{})
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	stop = func() { s.Stop(); <-done }
	t.Cleanup(stop)
	return stop
}

// newTestPool is a pool of n greeters, and what stops each.
func newTestPool(t testing.TB, n, slots int) (*pool, []func()) {
	t.Helper()
	dir := t.TempDir()
	conf := Config{Concurrency: slots}
	var stops []func()
	for i := range n {
		socket := filepath.Join(dir, fmt.Sprintf("%d.sock", i))
		stops = append(stops, serve(t, socket))
		conf.BuildKit = append(conf.BuildKit, "unix://"+socket)
	}
	p, err := newPool(conf, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.close() })
	return p, stops
}

func TestPoolKeepsToOneBuilder(t *testing.T) {
	p, _ := newTestPool(t, 3, 2)
	own := map[*builder]int{}
	for i := range 30 {
		key := fmt.Sprintf("%d-trusted", i)
		first, err := p.acquire(t.Context(), key, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := p.acquire(t.Context(), key, nil)
		if err != nil || again != first {
			t.Fatalf("%s moved from %s to %s, though a slot was free (%v)", key, first.address, again.address, err)
		}
		other, err := p.acquire(t.Context(), key, nil)
		if err != nil || other == first {
			t.Fatalf("a third build of %s was put where no slot was free (%v)", key, err)
		}
		own[first]++
		for _, b := range []*builder{first, again, other} {
			p.release(b)
		}
	}
	if len(own) != 3 {
		t.Errorf("all keys went to %d of 3 builders", len(own))
	}
}

func TestPoolLeastBusy(t *testing.T) {
	p, _ := newTestPool(t, 3, 3)
	own, _ := p.acquire(t.Context(), "k", nil)
	own.running = 3
	var others []*builder
	for _, b := range p.builders {
		if b != own {
			others = append(others, b)
		}
	}
	others[0].running = 1
	if b, err := p.acquire(t.Context(), "k", nil); err != nil || b != others[1] {
		t.Errorf("the busier one was taken (%v)", err)
	}
}

func TestPoolWaits(t *testing.T) {
	p, _ := newTestPool(t, 1, 1)
	b, err := p.acquire(t.Context(), "k", func() { t.Error("waited for a free slot") })
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	got := make(chan error)
	go func() {
		b, err := p.acquire(t.Context(), "k", func() { close(waiting) })
		if err == nil {
			defer p.release(b)
		}
		got <- err
	}()
	<-waiting
	ctx, cancel := context.WithCancelCause(t.Context())
	cancelled := make(chan struct{})
	go func() {
		_, err := p.acquire(ctx, "k", func() { cancel(jobs.ErrShutdown) })
		if !errors.Is(err, jobs.ErrShutdown) {
			t.Errorf("got %v", err)
		}
		close(cancelled)
	}()
	<-cancelled
	select {
	case err := <-got:
		t.Fatalf("two had the one slot (%v)", err)
	default:
	}
	p.release(b)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestPoolGoesAroundTheDead(t *testing.T) {
	p, stops := newTestPool(t, 2, 2)
	// Find a key whose own builder is the first, and stop that.
	key := ""
	for i := 0; key == ""; i++ {
		b, err := p.acquire(t.Context(), fmt.Sprint(i), nil)
		if err != nil {
			t.Fatal(err)
		}
		p.release(b)
		if b == p.builders[0] {
			key = fmt.Sprint(i)
		}
	}
	stops[0]()
	p.builders[0].lastAnswer = time.Time{} // that is long ago
	for range 2 {
		b, err := p.acquire(t.Context(), key, nil)
		if err != nil || b != p.builders[1] {
			t.Fatalf("got %+v, %v", b, err)
		}
		p.release(b)
	}
	if p.builders[0].failures != 1 {
		t.Errorf("the dead one was tried %d times, want once", p.builders[0].failures)
	}
	stops[1]()
	p.builders[1].lastAnswer = time.Time{}
	_, err := p.acquire(t.Context(), key, nil)
	if err == nil || !strings.Contains(err.Error(), "no BuildKit answers") || !strings.Contains(err.Error(), "0.sock") || !strings.Contains(err.Error(), "1.sock") {
		t.Errorf("got %v", err)
	}
	// Back again: found at once, although avoided, since there is no other.
	serve(t, strings.TrimPrefix(p.builders[0].address, "unix://"))
	b, err := p.acquire(t.Context(), key, nil)
	if err != nil || b != p.builders[0] {
		t.Fatalf("got %+v, %v", b, err)
	}
	if b.failures != 0 || !b.avoid.IsZero() {
		t.Errorf("it answered and is still avoided: %+v", b)
	}
	if slices.ContainsFunc(p.builders, func(b *builder) bool { return b.running < 0 || b.running > 1 }) {
		t.Error("slots were lost")
	}
}
