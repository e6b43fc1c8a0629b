package queue

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/slipway-ci/slipway/jobs"
)

// How Follow works.
const (
	followers    = 16       // deliveries handled at once
	followBytes  = 64 << 20 // bytes of bodies held at once
	followAhead  = 256      // deliveries known but not handed out yet
	maxUndecided = 16 << 10 // deliveries known and not decided; beyond it reading waits
	retryFirst   = time.Second
	retryMost    = 5 * time.Minute
	saveEvery    = time.Second
)

// Follow calls handle for every delivery that is not known to be decided, and for new ones as they come, until ctx is
// done; then it returns ctx's error. When handle returns nil the delivery counts as decided. On an error it is handed
// over again after a second, then ever later up to five minutes, or when a jobs.Later asks for it. One that waits
// holds up no other.
//
// A delivery that can't be read, because its body was damaged on disk, is tried again like one whose handle fails.
//
// What is decided is remembered as one number per shard, the watermark: everything below is. It is stored a moment
// later, so deliveries decided shortly before a crash are handed over once more.
//
// Only one Follow may run at a time in the whole installation.
func (q *Queue) Follow(ctx context.Context, handle func(context.Context, jobs.Delivery) error) error {
	f := &follower{
		q:      q,
		handle: handle,
		ready:  make(chan *undecided, followAhead),
		wake:   make(chan struct{}, 1),
		room:   semaphore.NewWeighted(maxUndecided),
		bytes:  semaphore.NewWeighted(followBytes),
	}
	for i, s := range q.shards {
		w, err := q.watermark(ctx, i)
		if err != nil {
			return err
		}
		f.shards = append(f.shards, newProgress(i, s, w))
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range f.shards {
		start := p.saved.Below
		g.Go(func() error { return f.readShard(ctx, p, start) })
	}
	for range followers {
		g.Go(func() error { return f.work(ctx) })
	}
	g.Go(func() error { return f.retry(ctx) })
	g.Go(func() error { return f.housekeep(ctx) })
	return g.Wait()
}

type follower struct {
	q      *Queue
	handle func(context.Context, jobs.Delivery) error
	shards []*progress
	ready  chan *undecided
	room   *semaphore.Weighted
	bytes  *semaphore.Weighted

	mu      sync.Mutex
	waiting retries
	wake    chan struct{} // there is a new first one in waiting
}

// An undecided delivery.
type undecided struct {
	shard *progress
	seq   uint64
	size  int64 // bytes held while it is handled
	guid  string
	tries int
	due   time.Time
}

// readShard reads the shard's deliveries from a sequence on, without bodies.
func (f *follower) readShard(ctx context.Context, p *progress, start uint64) error {
	r := reading{from: start, headersOnly: true}
	for m := range f.q.tail(ctx, p.stream, r) {
		if strings.HasPrefix(m.subject, partPrefix) {
			p.part(m.seq, m.time)
			continue
		}
		if err := f.room.Acquire(ctx, 1); err != nil {
			return err
		}
		u := &undecided{shard: p, seq: m.seq, size: 1, guid: strings.TrimPrefix(m.subject, deliveryPrefix)}
		e, err := openEnvelope(m)
		if err == nil {
			// Compressed and plain body are both held for a moment.
			u.size = min(2*int64(e.Size)+1, followBytes)
		}
		p.found(u.seq, m.time, e.Parts)
		select {
		case f.ready <- u:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

func (f *follower) work(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u := <-f.ready:
			if err := f.bytes.Acquire(ctx, u.size); err != nil {
				return err
			}
			err := f.hand(ctx, u)
			f.bytes.Release(u.size)
			switch {
			case err == nil:
				u.shard.decided(u.seq)
				f.room.Release(1)
			case ctx.Err() != nil:
				return ctx.Err()
			default:
				f.postpone(u, err)
			}
		}
	}
}

func (f *follower) hand(ctx context.Context, u *undecided) error {
	m, err := u.shard.stream.get(ctx, u.seq)
	if errors.Is(err, errNoMessage) {
		return nil // evicted: it was decided under a follower before us
	}
	if err != nil {
		return err
	}
	d, err := loadDelivery(ctx, u.shard.stream, m)
	if err != nil {
		return err
	}
	return f.handle(ctx, d)
}

// postpone lets the delivery wait for its next try.
func (f *follower) postpone(u *undecided, err error) {
	u.tries++
	wait := min(retryFirst<<min(u.tries-1, 16), retryMost)
	wait -= rand.N(wait/5 + 1)
	if later := (*jobs.Later)(nil); errors.As(err, &later) {
		wait = max(later.After, retryFirst)
		f.q.log.Debug("a delivery waits", "delivery", u.guid, "reason", later.Reason, "again_in", wait)
	} else {
		f.q.log.Warn("a delivery could not be handled and is tried again",
			"delivery", u.guid, "tries", u.tries, "again_in", wait.Round(time.Millisecond), "error", err)
	}
	u.due = time.Now().Add(wait)
	f.mu.Lock()
	heap.Push(&f.waiting, u)
	first := f.waiting[0] == u
	f.mu.Unlock()
	if first {
		select {
		case f.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// retry hands out what has waited long enough.
func (f *follower) retry(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		f.mu.Lock()
		var due *undecided
		wait := time.Hour
		if len(f.waiting) > 0 {
			if wait = time.Until(f.waiting[0].due); wait <= 0 {
				due = heap.Pop(&f.waiting).(*undecided)
			}
		}
		f.mu.Unlock()
		if due != nil {
			select {
			case f.ready <- due:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-f.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// housekeep stores the watermarks and evicts decided deliveries.
func (f *follower) housekeep(ctx context.Context) error {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			f.save(last)
			return ctx.Err()
		case <-ticker.C:
			f.save(ctx)
			for _, p := range f.shards {
				if err := p.evict(ctx, f.q.shardLimit/4*3); err != nil && ctx.Err() == nil {
					f.q.log.Warn("decided deliveries could not be evicted", "shard", p.index, "error", err)
				}
			}
		}
	}
}

func (f *follower) save(ctx context.Context) {
	for _, p := range f.shards {
		w := p.saved
		if w.Below, _, _ = p.needed(); w == p.saved {
			continue
		}
		if err := f.q.setWatermark(ctx, p.index, w); err != nil {
			// Nothing is lost: deliveries above the old one are handed over again after a restart.
			f.q.log.Warn("the deliveries' watermark could not be stored", "shard", p.index, "error", err)
			continue
		}
		p.saved = w
	}
}

// retries is a heap, the one due first on top.
type retries []*undecided

func (r retries) Len() int           { return len(r) }
func (r retries) Less(i, j int) bool { return r[i].due.Before(r[j].due) }
func (r retries) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *retries) Push(x any)        { *r = append(*r, x.(*undecided)) }
func (r *retries) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// A watermark is the sequence below which everything in a shard is decided. It holds for the very stream it was taken
// from, not for a new one of the same name.
type watermark struct {
	Below  uint64    `json:"below"`
	Stream time.Time `json:"stream"` // when the stream was created
}

func watermarkKey(shard int) string { return "watermark." + strconv.Itoa(shard) }

func (q *Queue) watermark(ctx context.Context, shard int) (watermark, error) {
	state, err := q.shards[shard].state(ctx)
	if err != nil {
		return watermark{}, err
	}
	w, _, err := Set[watermark](q, factsStream).Get(ctx, watermarkKey(shard))
	if err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return watermark{}, fmt.Errorf("read the deliveries' watermark: %w", err)
	}
	if err != nil || !w.Stream.Equal(state.created) {
		w = watermark{Below: 1, Stream: state.created}
	}
	return w, nil
}

// setWatermark raises the shard's watermark. It never lowers it: whoever stored a higher one knew it decided.
func (q *Queue) setWatermark(ctx context.Context, shard int, w watermark) error {
	_, err := jobs.Upsert(ctx, Set[watermark](q, factsStream), watermarkKey(shard), func(stored *watermark) error {
		if stored.Stream.Equal(w.Stream) && stored.Below >= w.Below {
			return jobs.ErrUnchanged
		}
		*stored = w
		return nil
	})
	return err
}
