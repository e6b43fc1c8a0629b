package queue

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// memoryStream is a stream without a disk: for tests, and the specification of what the others must do.
type memoryStream struct {
	policy policy

	mu       sync.Mutex
	messages []stored // by sequence
	newest   map[string]uint64
	lastSeq  uint64
	bytes    int64
	mortal   int // messages with a time to live
	changed  chan struct{}
}

type stored struct {
	message
	expires time.Time // zero for never
	size    int64
}

// overhead is what a message costs beside its data, about as on disk.
const overhead = 64

func newMemoryStream(p policy) *memoryStream {
	return &memoryStream{policy: p, newest: map[string]uint64{}, changed: make(chan struct{})}
}

func (s *memoryStream) write(ctx context.Context, w writing) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.expire(now)
	old, replaces := s.newest[w.subject]
	if w.expect != anySeq && uint64(w.expect) != old {
		return 0, errMismatch
	}
	m := stored{message: message{
		subject: w.subject, seq: s.lastSeq + 1, time: now, header: w.header, data: slices.Clone(w.data),
	}}
	m.size = int64(len(w.data) + len(w.subject) + overhead)
	for name, values := range w.header {
		m.size += int64(len(name) + len(values[0]))
	}
	if w.ttl > 0 {
		m.expires = now.Add(w.ttl)
	}

	freed := int64(0)
	if replaces && s.policy.keyed {
		freed = s.messages[s.find(old)].size
	}
	if !s.policy.dropOld && s.bytes-freed+m.size > s.policy.maxBytes {
		return 0, fmt.Errorf("%w: stream %s: maximum bytes exceeded", ErrFull, s.policy.name)
	}
	if freed > 0 {
		s.drop(s.find(old))
	}
	s.messages = append(s.messages, m)
	s.lastSeq, s.newest[w.subject] = m.seq, m.seq
	s.bytes += m.size
	if w.ttl > 0 {
		s.mortal++
	}
	for s.bytes > s.policy.maxBytes {
		s.drop(0)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return m.seq, nil
}

// find returns the index of the first message with the sequence or a later one.
func (s *memoryStream) find(seq uint64) int {
	i, _ := slices.BinarySearchFunc(s.messages, seq, func(m stored, seq uint64) int { return cmp.Compare(m.seq, seq) })
	return i
}

// drop removes the message at index i.
func (s *memoryStream) drop(i int) {
	m := s.messages[i]
	s.messages = slices.Delete(s.messages, i, i+1)
	s.bytes -= m.size
	if !m.expires.IsZero() {
		s.mortal--
	}
	if s.newest[m.subject] != m.seq {
		return
	}
	delete(s.newest, m.subject)
	for i--; i >= 0 && !s.policy.keyed; i-- {
		if s.messages[i].subject == m.subject {
			s.newest[m.subject] = s.messages[i].seq
			return
		}
	}
}

// expire drops what is too old.
func (s *memoryStream) expire(now time.Time) {
	for s.policy.maxAge > 0 && len(s.messages) > 0 && now.Sub(s.messages[0].time) >= s.policy.maxAge {
		s.drop(0)
	}
	for i := len(s.messages) - 1; i >= 0 && s.mortal > 0; i-- {
		if e := s.messages[i].expires; !e.IsZero() && !now.Before(e) {
			s.drop(i)
		}
	}
}

func (s *memoryStream) last(ctx context.Context, subject string) (message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	seq, ok := s.newest[subject]
	if !ok {
		return message{}, cmp.Or(ctx.Err(), errNoMessage)
	}
	return s.messages[s.find(seq)].message, ctx.Err()
}

func (s *memoryStream) get(ctx context.Context, seq uint64) (message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	i := s.find(seq)
	if i == len(s.messages) || s.messages[i].seq != seq {
		return message{}, cmp.Or(ctx.Err(), errNoMessage)
	}
	return s.messages[i].message, ctx.Err()
}

func (s *memoryStream) read(ctx context.Context, r reading) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		s.mu.Lock()
		end := s.lastSeq + 1
		s.mu.Unlock()
		if r.to == 0 {
			r.to = end
		}
		for {
			m, ok, _ := s.next(r)
			if err := ctx.Err(); err != nil {
				yield(message{}, err)
				return
			}
			if !ok || m.seq >= r.to || !yield(m, nil) {
				return
			}
			r.from = m.seq + 1
		}
	}
}

func (s *memoryStream) follow(ctx context.Context, r reading) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		for ctx.Err() == nil {
			m, ok, changed := s.next(r)
			if !ok {
				select {
				case <-changed:
				case <-ctx.Done():
				}
				continue
			}
			if !yield(m, nil) {
				return
			}
			r.from = m.seq + 1
		}
	}
}

// next returns the first message of the reading, or a channel that is closed at the next write.
func (s *memoryStream) next(r reading) (message, bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	for i := s.find(r.from); i < len(s.messages); i++ {
		if m := s.messages[i].message; matches(r.filter, m.subject) {
			if r.headersOnly {
				m.data = nil
			}
			return m, true, nil
		}
	}
	return message{}, false, s.changed
}

// matches tells whether a subject is within a filter, by NATS's rules of * and >.
func matches(filter, subject string) bool {
	if filter == "" {
		return true
	}
	for {
		want, filterRest, moreFilter := strings.Cut(filter, ".")
		if want == ">" {
			return true
		}
		have, subjectRest, moreSubject := strings.Cut(subject, ".")
		if want != "*" && want != have || moreFilter != moreSubject {
			return false
		}
		if !moreFilter {
			return true
		}
		filter, subject = filterRest, subjectRest
	}
}

func (s *memoryStream) remove(ctx context.Context, seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(seq); i < len(s.messages) && s.messages[i].seq == seq {
		s.drop(i)
	}
	return ctx.Err()
}

func (s *memoryStream) purge(ctx context.Context, below uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.messages) > 0 && s.messages[0].seq < below {
		s.drop(0)
	}
	return ctx.Err()
}

func (s *memoryStream) state(ctx context.Context) (streamState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(time.Now())
	state := streamState{first: s.lastSeq + 1, last: s.lastSeq, messages: uint64(len(s.messages)), bytes: uint64(s.bytes)}
	if len(s.messages) > 0 {
		state.first = s.messages[0].seq
	}
	return state, ctx.Err()
}

// limit is small, so that tests with large bodies see them divided.
func (s *memoryStream) limit() int { return 1 << 20 }
