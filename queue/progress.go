package queue

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// progress is what a follower knows of one shard.
type progress struct {
	index  int
	stream stream
	saved  watermark // as stored; after the start only housekeeping looks at it

	mu   sync.Mutex
	next uint64    // the sequence that was not read yet
	seen time.Time // when the last message read was stored
	// open holds the undecided deliveries with the sequences of their parts, parts those whose delivery did not come
	// yet, with when they were stored. All of these must stay.
	open  map[uint64][]uint64
	parts map[uint64]time.Time
}

func newProgress(index int, s stream, w watermark) *progress {
	return &progress{
		index: index, stream: s, saved: w, next: w.Below,
		open: map[uint64][]uint64{}, parts: map[uint64]time.Time{},
	}
}

// part notes a part of a delivery to come.
func (p *progress) part(seq uint64, stored time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.seen = seq+1, stored
	p.parts[seq] = stored
}

// found notes an undecided delivery and its parts.
func (p *progress) found(seq uint64, stored time.Time, parts []uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.seen = seq+1, stored
	p.open[seq] = parts
	for _, part := range parts {
		delete(p.parts, part)
	}
}

func (p *progress) decided(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, seq)
}

// needed returns the sequence below which nothing is needed any more, the one from which nothing was read yet, and
// what is needed between the two.
func (p *progress) needed() (below, next uint64, between map[uint64]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	below, between = p.next, map[uint64]bool{}
	need := func(seq uint64) {
		between[seq] = true
		below = min(below, seq)
	}
	for seq, parts := range p.open {
		need(seq)
		for _, part := range parts {
			need(part)
		}
	}
	for seq, stored := range p.parts {
		if p.seen.Sub(stored) > partsAge {
			delete(p.parts, seq) // its delivery would have come before what was read since
			continue
		}
		need(seq)
	}
	return below, p.next, between
}

// evict removes decided deliveries, oldest first, until the shard is below limit bytes or nothing decided is left.
func (p *progress) evict(ctx context.Context, limit int64) error {
	state, err := p.stream.state(ctx)
	if err != nil || state.bytes <= uint64(limit) || state.messages == 0 {
		return err
	}
	below, next, needed := p.needed()
	// Everything below the watermark goes in few steps, a tenth of it each time.
	for state.bytes > uint64(limit) && state.first < below {
		step := max((below-state.first)/10, 1)
		if err := p.stream.purge(ctx, state.first+step); err != nil {
			return fmt.Errorf("purge below %d: %w", state.first+step, err)
		}
		if state, err = p.stream.state(ctx); err != nil {
			return err
		}
	}
	if state.bytes <= uint64(limit) || state.first >= next {
		return nil
	}
	// What is left above is decided here and there.
	excess := int64(state.bytes) - limit
	for m, err := range p.stream.read(ctx, reading{from: state.first, to: next, headersOnly: true}) {
		if err != nil {
			return err
		}
		if needed[m.seq] {
			continue
		}
		size := int64(overhead)
		if e, err := openEnvelope(m); err == nil && !e.Gzip && len(e.Parts) == 0 {
			size += int64(e.Size)
		}
		if err := p.stream.remove(ctx, m.seq); err != nil {
			return fmt.Errorf("remove %d: %w", m.seq, err)
		}
		if excess -= size; excess <= 0 {
			return nil
		}
	}
	return nil
}
