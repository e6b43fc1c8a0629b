package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// leaseServer is the part of an API server that keeps Leases: create-once, updates only
// of the version read. It can be away. Its only namespace is tks, which may be missing.
type leaseServer struct {
	*httptest.Server
	mu      sync.Mutex
	leases  map[string]*coordinationv1.Lease
	version int
	away    bool
	missing bool        // the namespace
	updates chan string // holder of every update
}

func newLeaseServer(t *testing.T) *leaseServer {
	s := &leaseServer{leases: map[string]*coordinationv1.Lease{}, updates: make(chan string, 1000)}
	mux := http.NewServeMux()
	const base = "/apis/coordination.k8s.io/v1/namespaces/tks/leases"
	mux.HandleFunc("GET "+base+"/{name}", s.answer(func(name string, _ *coordinationv1.Lease) (any, int) {
		if l := s.leases[name]; l != nil {
			return l, http.StatusOK
		}
		return nil, http.StatusNotFound
	}))
	mux.HandleFunc("POST "+base, s.answer(func(_ string, in *coordinationv1.Lease) (any, int) {
		switch {
		case s.missing:
			return metav1.StatusReasonNotFound, http.StatusNotFound
		case s.leases[in.Name] != nil:
			return metav1.StatusReasonAlreadyExists, http.StatusConflict
		}
		return s.store(in), http.StatusCreated
	}))
	mux.HandleFunc("PUT "+base+"/{name}", s.answer(func(name string, in *coordinationv1.Lease) (any, int) {
		have := s.leases[name]
		if have == nil {
			return nil, http.StatusNotFound
		}
		if in.ResourceVersion != have.ResourceVersion {
			return metav1.StatusReasonConflict, http.StatusConflict
		}
		return s.store(in), http.StatusOK
	}))
	mux.HandleFunc("GET /api/v1/namespaces/tks", s.answer(func(string, *coordinationv1.Lease) (any, int) {
		if s.missing {
			return metav1.StatusReasonNotFound, http.StatusNotFound
		}
		return &corev1.Namespace{}, http.StatusOK
	}))
	mux.HandleFunc("POST /api/v1/namespaces", s.answer(func(string, *coordinationv1.Lease) (any, int) {
		s.missing = false
		return &corev1.Namespace{}, http.StatusCreated
	}))
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *leaseServer) store(in *coordinationv1.Lease) *coordinationv1.Lease {
	s.version++
	in.ResourceVersion = strconv.Itoa(s.version)
	s.leases[in.Name] = in
	s.updates <- deref(in.Spec.HolderIdentity)
	return in
}

func (s *leaseServer) answer(do func(string, *coordinationv1.Lease) (any, int)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.away {
			panic(http.ErrAbortHandler) // the connection just ends
		}
		in := &coordinationv1.Lease{}
		if req.Body != nil && req.Method != http.MethodGet {
			if err := json.NewDecoder(req.Body).Decode(in); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		out, code := do(req.PathValue("name"), in)
		if code >= 400 {
			reason, _ := out.(metav1.StatusReason)
			out = metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: reason, Code: int32(code)}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(out)
	}
}

func (s *leaseServer) set(change func(map[string]*coordinationv1.Lease)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.leases)
}

func (s *leaseServer) goAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// cluster is one process that talks to the server, and renews often. Its leases last far longer than any test stands still.
func (s *leaseServer) cluster(t *testing.T) *Cluster { return s.clusterFor(t, 10*time.Minute) }

// clusterFor is one whose leases last so long.
func (s *leaseServer) clusterFor(t *testing.T, lease time.Duration) *Cluster {
	t.Helper()
	timing := defaultTiming()
	timing.lease, timing.margin = lease, lease/5
	timing.renewEvery, timing.retryEvery = 100*time.Millisecond, 20*time.Millisecond
	config := &rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	c, err := newCluster("test", config, testLog(t), timing)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ownerOfRun(run string) Owner {
	o := testOwner()
	o.Run = run
	return o
}

func acquire(t *testing.T, c *Cluster, owner Owner) (context.Context, *lease) {
	t.Helper()
	ctx, l, err := c.acquireLease(t.Context(), "tks", "shop", owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.release(context.Background()) })
	return ctx, l
}

// giveBack releases a lease. The request that says so has as long as a renewal, which is little here, so it gets more.
func giveBack(t *testing.T, l *lease) {
	t.Helper()
	l.stop()
	<-l.done
	l.timing.renewEvery = time.Minute
	l.release(t.Context())
}

// renewal waits for a renewal that begins now or later, and checks whose it is.
func (s *leaseServer) renewal(t *testing.T, l *lease) {
	t.Helper()
	for len(s.updates) > 0 {
		<-s.updates
	}
	for range 2 { // one may have been under way
		if holder := <-s.updates; holder != l.holder {
			t.Fatalf("renewed by %q", holder)
		}
	}
}

func mustBeHeld(t *testing.T, c *Cluster, owner Owner) *LeaseHeldError {
	t.Helper()
	_, _, err := c.acquireLease(t.Context(), "tks", "shop", owner)
	var held *LeaseHeldError
	if !errors.As(err, &held) {
		t.Fatalf("got %v, want the lease to be held", err)
	}
	return held
}

func TestLeaseInANamespaceThatIsMissing(t *testing.T) {
	server := newLeaseServer(t)
	server.missing = true
	acquire(t, server.cluster(t), ownerOfRun("1"))
	if server.missing {
		t.Error("the namespace was not created")
	}
}

func TestLeaseIsHeldRenewedAndGivenBack(t *testing.T) {
	server := newLeaseServer(t)
	a, b := server.cluster(t), server.cluster(t)
	ctx, l := acquire(t, a, ownerOfRun("1"))
	held := mustBeHeld(t, b, ownerOfRun("2"))
	if held.Lease != "tks/slipway-shop" || held.Holder != "acme/shop (7) run 1 job release" || time.Until(held.Until) > 10*time.Minute {
		t.Errorf("held: %+v", held)
	}
	before, err := l.fence.pass()
	if err != nil {
		t.Fatal(err)
	}
	server.renewal(t, l)
	if now := mustBeHeld(t, b, ownerOfRun("2")); !now.Until.After(held.Until) {
		t.Errorf("a renewal left the end at %v", now.Until)
	}
	waitFor(t, func() bool { // the answer is on its way
		until, err := l.fence.pass()
		return err == nil && until.After(before)
	})
	if ctx.Err() != nil || l.fence.tripped() {
		t.Fatal("the lease was lost while it was renewed")
	}
	giveBack(t, l)
	if ctx.Err() == nil {
		t.Error("the context outlives the lease")
	}
	if _, err := l.fence.pass(); err == nil {
		t.Error("writes pass after the lease was given back")
	}
	acquire(t, b, ownerOfRun("2"))
	server.set(func(leases map[string]*coordinationv1.Lease) {
		if got := deref(leases["slipway-shop"].Spec.LeaseTransitions); got != 1 {
			t.Errorf("%d transitions, want 1", got)
		}
	})
}

// The server may have taken a renewal whose answer we no longer waited for.
func TestLeaseIsGivenBackThoughItChanged(t *testing.T) {
	server := newLeaseServer(t)
	_, l := acquire(t, server.cluster(t), ownerOfRun("1"))
	l.stop()
	<-l.done
	server.set(func(leases map[string]*coordinationv1.Lease) {
		server.store(leases["slipway-shop"].DeepCopy())
	})
	giveBack(t, l)
	acquire(t, server.cluster(t), ownerOfRun("2"))
}

func TestLeaseOfAVanishedHolder(t *testing.T) {
	server := newLeaseServer(t)
	holder, seconds := "acme/other (9) run 1 job release #x", int32(600)
	// A clock far ahead in the record must not matter.
	renewed := metav1.NewMicroTime(time.Now().Add(time.Hour))
	server.set(func(leases map[string]*coordinationv1.Lease) {
		leases["slipway-shop"] = &coordinationv1.Lease{
			TypeMeta:   metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
			ObjectMeta: metav1.ObjectMeta{Name: "slipway-shop", Namespace: "tks", ResourceVersion: "1"},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed},
		}
		server.version = 1
	})
	c := server.cluster(t)
	held := mustBeHeld(t, c, ownerOfRun("2"))
	if again := mustBeHeld(t, c, ownerOfRun("2")); !again.Until.Equal(held.Until) {
		t.Errorf("looking again put it off from %v to %v", held.Until, again.Until)
	}
	c.mu.Lock()
	for name, seen := range c.observed { // as if that had been so long ago
		seen.since = seen.since.Add(-600 * time.Second)
		c.observed[name] = seen
	}
	c.mu.Unlock()
	acquire(t, c, ownerOfRun("2"))
}

func TestLeaseTakenOverByItsOwnWork(t *testing.T) {
	server := newLeaseServer(t)
	old, now := server.cluster(t), server.cluster(t)
	oldCtx, oldLease := acquire(t, old, ownerOfRun("1"))
	_, newLease := acquire(t, now, ownerOfRun("1"))
	<-oldCtx.Done()
	if !errors.Is(context.Cause(oldCtx), ErrLeaseLost) {
		t.Errorf("the former holder's context ended with %v", context.Cause(oldCtx))
	}
	if _, err := oldLease.fence.pass(); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("the former holder may still write: %v", err)
	}
	if _, err := newLease.fence.pass(); err != nil {
		t.Errorf("the new holder may not write: %v", err)
	}
	oldLease.release(t.Context())
	if _, err := newLease.fence.pass(); err != nil {
		t.Errorf("the former holder gave back what was not its own: %v", err)
	}
	_ = mustBeHeld(t, old, ownerOfRun("2"))
}

func TestLeaseSurvivesAShortOutage(t *testing.T) {
	server := newLeaseServer(t)
	c := server.cluster(t)
	start := time.Now()
	ctx, l := acquire(t, c, ownerOfRun("1"))
	server.goAway(true)
	waitFor(t, func() bool { return l.outageSince(start) })
	server.goAway(false)
	server.renewal(t, l)
	if ctx.Err() != nil || l.fence.tripped() {
		t.Fatal("lost after a short outage")
	}
}

func TestLeaseEndsInALongOutage(t *testing.T) {
	server := newLeaseServer(t)
	ctx, l := acquire(t, server.clusterFor(t, time.Second), ownerOfRun("1"))
	server.goAway(true)
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), ErrLeaseLost) {
		t.Errorf("ended with %v", context.Cause(ctx))
	}
	if !l.fence.expired() {
		t.Error("the lease is lost and writes pass")
	}
}

func TestLeaseRace(t *testing.T) {
	server := newLeaseServer(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []*lease
	for i := range 8 {
		c := server.cluster(t)
		wg.Go(func() {
			_, l, err := c.acquireLease(t.Context(), "tks", "shop", ownerOfRun(strconv.Itoa(i)))
			mu.Lock()
			defer mu.Unlock()
			var held *LeaseHeldError
			switch {
			case err == nil:
				won = append(won, l)
			case !errors.As(err, &held):
				t.Errorf("a loser got %v", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d won", len(won))
	}
	for _, l := range won {
		l.release(t.Context())
	}
}

// waitFor waits until a condition that another goroutine brings about holds.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // between two looks
	}
}
