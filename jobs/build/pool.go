package build

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	answerTimeout = 3 * time.Second  // for a BuildKit to answer before a build
	answerAge     = 10 * time.Second // how long an answer counts
	repairTimeout = time.Minute
	avoidFirst    = 5 * time.Second // how long a BuildKit that failed is avoided; doubles up to
	avoidMost     = 2 * time.Minute
)

// A builder is one BuildKit.
type builder struct {
	address string
	client  *client.Client

	// Guarded by pool.mu.
	running    int
	lastAnswer time.Time // when it last answered
	avoid      time.Time // until when others are preferred
	failures   int       // failures since it last answered
	repairs    int       // how often its store was repaired since it last built
}

// A pool hands out builders. A repository keeps to the same one while that has a free slot, since its cache lies
// there; otherwise the least busy one serves.
type pool struct {
	builders []*builder
	slots    int // per builder
	log      *slog.Logger

	mu    sync.Mutex
	freed chan struct{} // closed and replaced whenever a slot becomes free
}

func newPool(conf Config, log *slog.Logger) (*pool, error) {
	p := &pool{slots: conf.Concurrency, log: log, freed: make(chan struct{})}
	for _, a := range conf.BuildKit {
		c, err := dial(a, conf.TLS)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("buildkit %s: %w", a, err)
		}
		p.builders = append(p.builders, &builder{address: a, client: c})
	}
	return p, nil
}

// dial prepares a client; it connects when first used, and again whenever needed.
func dial(address string, conf TLS) (*client.Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	// A BuildKit that comes back is found within about a second.
	again := grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
		MinConnectTimeout: answerTimeout,
	})
	opts := []client.ClientOpt{client.WithGRPCDialOption(again)}
	if u.Scheme != "tcp" {
		return client.New(context.Background(), address, opts...)
	}
	// A machine that vanishes is noticed within about 35 s.
	d := &net.Dialer{Timeout: answerTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4}}
	opts = append(opts, client.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", addr)
	}))
	if conf.CAFile != "" {
		server := conf.Server
		if server == "" {
			server = u.Hostname()
		}
		opts = append(opts, client.WithServerConfig(server, conf.CAFile))
		if conf.CertFile != "" {
			opts = append(opts, client.WithCredentials(conf.CertFile, conf.KeyFile))
		}
	}
	return client.New(context.Background(), address, opts...)
}

func (p *pool) close() error {
	var errs []error
	for _, b := range p.builders {
		errs = append(errs, b.client.Close())
	}
	return errors.Join(errs...)
}

// acquire waits for a free builder that answers. key is what keeps to one builder, a repository. waiting is called
// once when there is none at once. When no builder with a free slot answers, it returns their errors: the caller comes
// again later.
func (p *pool) acquire(ctx context.Context, key string, waiting func()) (*builder, error) {
	var tried []*builder
	var errs []error
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		b, freed := p.take(key, tried)
		if b == nil && len(errs) > 0 {
			return nil, fmt.Errorf("no BuildKit answers: %w", errors.Join(errs...))
		}
		if b == nil {
			if waiting != nil {
				waiting()
				waiting = nil
			}
			select {
			case <-ctx.Done():
			case <-freed:
			}
			continue
		}
		err := p.ensureAlive(ctx, b)
		if err == nil {
			return b, nil
		}
		p.release(b)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		tried, errs = append(tried, b), append(errs, fmt.Errorf("%s: %w", b.address, err))
	}
}

// take picks a builder with a free slot and counts its slot as used; without one, it returns the channel that tells
// when to look again.
func (p *pool) take(key string, tried []*builder) (*builder, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var best, own *builder
	for _, b := range p.builders {
		if !now.Before(b.avoid) && (own == nil || weight(b.address, key) > weight(own.address, key)) {
			own = b
		}
	}
	for _, b := range p.builders {
		if b.running >= p.slots || slices.Contains(tried, b) {
			continue
		}
		if best == nil || preferred(b, best, own, now) {
			best = b
		}
	}
	if best == nil {
		return nil, p.freed
	}
	best.running++
	return best, nil
}

// preferred reports whether builder a is a better choice than b: one that isn't avoided, then the key's own, then the
// less busy.
func preferred(a, b, own *builder, now time.Time) bool {
	if x, y := now.Before(a.avoid), now.Before(b.avoid); x != y {
		return y
	}
	if a == own || b == own {
		return a == own
	}
	return a.running < b.running
}

// weight ranks builders for a key; the highest is its own (rendezvous hashing: when a builder fails only its own keys
// move, and they move back).
func weight(address, key string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	h.Write([]byte{0})
	h.Write([]byte(address))
	x := h.Sum64() // FNV's high bits hardly depend on the last bytes: mix (splitmix64's finalizer)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// ensureAlive makes sure that a builder answers, unless it did just now.
func (p *pool) ensureAlive(ctx context.Context, b *builder) error {
	p.mu.Lock()
	fresh := b.failures == 0 && time.Since(b.lastAnswer) < answerAge
	p.mu.Unlock()
	if fresh {
		return nil
	}
	return p.ask(ctx, b)
}

// ask finds out whether a builder answers, and remembers it.
func (p *pool) ask(ctx context.Context, b *builder) error {
	soon, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := b.client.ControlClient().Info(soon, &control.InfoRequest{}, grpc.WaitForReady(true))
	if err == nil {
		p.answered(b)
	} else if ctx.Err() == nil {
		p.failed(b)
	}
	return err
}

func (p *pool) answered(b *builder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.lastAnswer, b.avoid, b.failures = time.Now(), time.Time{}, 0
}

// failed remembers that a builder broke down, so that others are preferred for a while.
func (p *pool) failed(b *builder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := min(avoidFirst<<min(b.failures, 10), avoidMost)
	b.failures++
	b.avoid = time.Now().Add(wait)
	p.log.Warn("BuildKit does not answer; others are preferred for a while", "address", b.address, "for", wait)
}

func (p *pool) release(b *builder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.running--
	close(p.freed)
	p.freed = make(chan struct{})
}

// repair cleans a builder whose snapshot store holds folders that a crash left behind: every new snapshot fails then,
// for good. BuildKit sweeps them out whenever it removes a record, so one is removed: first the contexts it keeps,
// which only save a transfer, and if that had no effect the whole unused cache.
func (p *pool) repair(ctx context.Context, b *builder) {
	p.mu.Lock()
	b.repairs++
	all := b.repairs > 1
	p.mu.Unlock()
	p.log.Warn("BuildKit's snapshot store was damaged by a crash; it is asked to clean up", "address", b.address, "whole_cache", all)
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	var opts []client.PruneOption
	if !all {
		opts = append(opts, client.WithFilter([]string{"type==" + string(client.UsageRecordTypeLocalSource)}))
	}
	if err := b.client.Prune(ctx, nil, opts...); err != nil {
		p.log.Error("BuildKit could not be cleaned up; run `buildctl prune` there", "address", b.address, "error", err)
	}
}

// built notes that a builder's store works.
func (p *pool) built(b *builder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.repairs = 0
}
