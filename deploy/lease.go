package deploy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

const managedBy = "app.kubernetes.io/managed-by"

// lease is the right to change one release, held as a coordination.k8s.io/v1 Lease in
// the release's namespace and renewed in the background until release is called.
//
// A lease whose holder vanished is taken over once this process has seen it unchanged
// for its whole duration: clocks of different machines are never compared. The holder's
// own work (same repository, run and job, after a crash) takes it over at once; whoever
// held it before finds out at its next renewal and writes no more.
type lease struct {
	client coordinationclient.LeaseInterface
	log    *slog.Logger
	timing timing
	name   string // object name
	holder string
	fence  *fence
	lost   context.CancelCauseFunc
	stop   context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	object *coordinationv1.Lease
	outage time.Time // last renewal that the API server didn't answer
}

// observedLease is a foreign lease as this process first saw it.
type observedLease struct {
	version string // resourceVersion: changes with every renewal
	since   time.Time
}

// work names the run and job that hold a lease. Each claim adds a random part of its own.
func (o Owner) work() string {
	return fmt.Sprintf("%s (%d) run %s job %s", o.Repository, o.RepositoryID, o.Run, o.Job)
}

// acquireLease returns a context that ends when the lease is lost, with ErrLeaseLost as
// its cause, or a *LeaseHeldError. It creates the namespace when that is absent.
func (c *Cluster) acquireLease(ctx context.Context, namespace, release string, owner Owner) (context.Context, *lease, error) {
	l := &lease{
		client: c.client.CoordinationV1().Leases(namespace),
		log:    c.log.With("lease", namespace+"/slipway-"+release),
		timing: c.timing,
		name:   leasePrefix + release,
		holder: owner.work() + " #" + rand.Text(),
		fence:  &fence{},
		done:   make(chan struct{}),
	}
	// Somebody else may write between our read and our write; then we look again.
	for attempt := 0; ; attempt++ {
		err := l.take(ctx, c, namespace)
		if err == nil {
			break
		}
		again := apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
		if apierrors.IsNotFound(err) { // as a rule, its namespace
			if err := c.ensureNamespace(ctx, namespace); err != nil {
				return nil, nil, err
			}
			again = true
		}
		if !again || attempt == 4 {
			var held *LeaseHeldError
			if errors.As(err, &held) {
				return nil, nil, held
			}
			return nil, nil, fmt.Errorf("acquire lease %s/%s: %w", namespace, l.name, err)
		}
	}
	leased, lost := context.WithCancelCause(ctx)
	// Renewal outlives the caller's context: what was begun is written down under the lease.
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.lost, l.stop = lost, stop
	go l.renew(renewing)
	return leased, l, nil
}

const leasePrefix = "slipway-"

func (l *lease) take(ctx context.Context, c *Cluster, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, l.timing.readLimit)
	defer cancel()
	start := time.Now()
	found, err := l.client.Get(ctx, l.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		found, err = l.client.Create(ctx, l.claim(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Name: l.name, Labels: map[string]string{managedBy: "slipway"},
		}}), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		l.renewed(found, start)
		return nil
	}
	if err != nil {
		return err
	}
	holder := deref(found.Spec.HolderIdentity)
	work, _, _ := strings.Cut(holder, " #")
	mine, _, _ := strings.Cut(l.holder, " #")
	if holder != "" && work != mine {
		if until := c.observe(namespace+"/"+l.name, found); time.Now().Before(until) {
			return &LeaseHeldError{Lease: namespace + "/" + l.name, Holder: clip(work, 200), Until: until}
		}
	}
	start = time.Now()
	found, err = l.client.Update(ctx, l.claim(found), metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	l.renewed(found, start)
	return nil
}

// claim writes this holder into a lease.
func (l *lease) claim(found *coordinationv1.Lease) *coordinationv1.Lease {
	next := found.DeepCopy()
	now := metav1.NowMicro()
	transitions := deref(found.Spec.LeaseTransitions)
	if found.ResourceVersion != "" {
		transitions++
	}
	seconds := int32(l.timing.lease.Seconds())
	next.Spec = coordinationv1.LeaseSpec{
		HolderIdentity: &l.holder, LeaseDurationSeconds: &seconds,
		AcquireTime: &now, RenewTime: &now, LeaseTransitions: &transitions,
	}
	return next
}

// observe remembers a foreign lease and says when it runs out if nobody renews it.
func (c *Cluster) observe(key string, found *coordinationv1.Lease) time.Time {
	duration := c.timing.lease // for a lease that announces none: it is not of our making
	if s := deref(found.Spec.LeaseDurationSeconds); s > 0 {
		duration = min(time.Duration(s)*time.Second, time.Hour)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.observed[key]
	if seen.version != found.ResourceVersion {
		if len(c.observed) > 10_000 {
			clear(c.observed)
		}
		seen = observedLease{version: found.ResourceVersion, since: time.Now()}
		c.observed[key] = seen
	}
	return seen.since.Add(duration)
}

func (l *lease) renewed(object *coordinationv1.Lease, start time.Time) {
	l.mu.Lock()
	l.object = object
	l.mu.Unlock()
	// Counted from before the request: nobody can see the renewal earlier than that.
	l.fence.extend(start.Add(l.timing.lease - l.timing.margin))
}

// renew keeps the lease until ctx ends or it is lost.
func (l *lease) renew(ctx context.Context) {
	defer close(l.done)
	wait := l.timing.renewEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := l.renewOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			wait = l.timing.renewEvery
		case errors.Is(err, ErrLeaseLost) || l.fence.expired():
			l.fence.lose()
			l.log.Warn("lease lost; the rollout writes no more", "error", err)
			l.lost(ErrLeaseLost)
			return
		default:
			l.mu.Lock()
			l.outage = time.Now()
			l.mu.Unlock()
			l.log.Debug("lease not renewed, trying again", "error", err)
			wait = l.timing.retryEvery
		}
	}
}

func (l *lease) renewOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.timing.renewEvery)
	defer cancel()
	l.mu.Lock()
	next := l.object.DeepCopy()
	l.mu.Unlock()
	start := time.Now()
	now := metav1.NowMicro()
	next.Spec.RenewTime = &now
	updated, err := l.client.Update(ctx, next, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		// Changed by somebody: still ours if only a label or the like was.
		found, getErr := l.client.Get(ctx, l.name, metav1.GetOptions{})
		if getErr == nil && deref(found.Spec.HolderIdentity) == l.holder {
			l.mu.Lock()
			l.object = found
			l.mu.Unlock()
			return err
		}
		if getErr == nil {
			return fmt.Errorf("%w: %s holds it now", ErrLeaseLost, clip(deref(found.Spec.HolderIdentity), 200))
		}
		err = getErr
	}
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: it was deleted", ErrLeaseLost)
	}
	if err != nil {
		return err
	}
	l.renewed(updated, start)
	return nil
}

// outageSince says whether a renewal went unanswered after t: the API server was away.
func (l *lease) outageSince(t time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outage.After(t)
}

// release stops renewing and gives the lease back. When that fails it runs out by itself.
func (l *lease) release(ctx context.Context) {
	l.stop()
	<-l.done
	l.lost(nil)
	if l.fence.tripped() {
		return
	}
	l.fence.lose()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timing.renewEvery)
	defer cancel()
	object := l.object
	for {
		next := object.DeepCopy()
		next.Spec.HolderIdentity = nil
		_, err := l.client.Update(ctx, next, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			// The last renewal may have arrived though we no longer waited for its answer.
			object, err = l.client.Get(ctx, l.name, metav1.GetOptions{})
			if err == nil && deref(object.Spec.HolderIdentity) == l.holder {
				continue
			}
		}
		if err != nil {
			l.log.Debug("lease not given back, it runs out by itself", "error", err)
		}
		return
	}
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
