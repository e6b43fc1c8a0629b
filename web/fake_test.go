package web

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

// set is a jobs.Set in memory. Like a real one it keeps JSON, so that what is not stored is not seen.
type set[T any] struct {
	mu       sync.Mutex
	records  map[string][]byte
	revision map[string]uint64
	last     uint64
	watchers map[chan string]struct{}
	err      error // answered by everything while set
}

var _ jobs.Set[jobs.Run] = (*set[jobs.Run])(nil)

func newSet[T any]() *set[T] {
	return &set[T]{records: map[string][]byte{}, revision: map[string]uint64{}, watchers: map[chan string]struct{}{}}
}

func (s *set[T]) Get(_ context.Context, key string) (value T, revision uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return value, 0, s.err
	}
	text, ok := s.records[key]
	if !ok {
		return value, 0, jobs.ErrNotFound
	}
	return value, s.revision[key], json.Unmarshal(text, &value)
}

func (s *set[T]) Create(_ context.Context, key string, value T) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.records[key]; ok {
		return 0, jobs.ErrExists
	}
	return s.put(key, value)
}

func (s *set[T]) Update(_ context.Context, key string, value T, revision uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revision[key] != revision {
		return 0, jobs.ErrConflict
	}
	return s.put(key, value)
}

func (s *set[T]) put(key string, value T) (uint64, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return 0, err
	}
	s.last++
	s.records[key], s.revision[key] = text, s.last
	s.tell(key)
	return s.last, nil
}

func (s *set[T]) tell(key string) {
	for w := range s.watchers {
		select {
		case w <- key:
		default: // a watch may miss some
		}
	}
}

func (s *set[T]) Delete(_ context.Context, key string, revision uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.records[key]; !ok {
		return nil
	}
	if s.revision[key] != revision {
		return jobs.ErrConflict
	}
	delete(s.records, key)
	delete(s.revision, key)
	s.tell(key)
	return nil
}

func (s *set[T]) All(_ context.Context, each func(string, T, uint64) error) error {
	s.mu.Lock()
	records, revisions, err := maps.Clone(s.records), maps.Clone(s.revision), s.err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for key, text := range records {
		var value T
		if err := json.Unmarshal(text, &value); err != nil {
			return err
		}
		if err := each(key, value, revisions[key]); err != nil {
			return err
		}
	}
	return nil
}

func (s *set[T]) Watch(ctx context.Context) (<-chan string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	c := make(chan string, 64)
	s.watchers[c] = struct{}{}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, c)
		close(c)
	})
	return c, nil
}

func (s *set[T]) watched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watchers)
}

// index is the list of runs, oldest first.
type index struct {
	mu      sync.Mutex
	entries []jobs.RunEntry
	calls   int
}

func (x *index) add(r jobs.Run) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.entries = append(x.entries, jobs.RunEntry{
		Seq: uint64(len(x.entries) + 1), ID: r.ID, Repository: r.Repository.ID, Name: r.Repository.FullName(), Created: r.Created,
	})
}

func (x *index) Runs(_ context.Context, before uint64, n int, repository string) (list []jobs.RunEntry, next uint64, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.calls++
	for i := len(x.entries) - 1; i >= 0; i-- {
		e := x.entries[i]
		if (before > 0 && e.Seq >= before) || (repository != "" && e.Name != repository) {
			continue
		}
		if len(list) == n {
			return list, list[n-1].Seq, nil
		}
		list = append(list, e)
	}
	return list, 0, nil
}

// deliveryList is oldest first.
type deliveryList struct {
	mu   sync.Mutex
	list []jobs.Delivery
}

func (l *deliveryList) Deliveries(_ context.Context, before string, n int) (out []jobs.Delivery, next string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := len(l.list)
	if before != "" {
		if _, err := fmt.Sscanf(before, "c-%d", &end); err != nil {
			return nil, "", jobs.ErrNotFound
		}
	}
	for i := end - 1; i >= 0; i-- {
		if len(out) == n {
			return out, fmt.Sprintf("c-%d", i+1), nil
		}
		out = append(out, l.list[i])
	}
	return out, "", nil
}

func (l *deliveryList) Delivery(_ context.Context, guid string) (jobs.Delivery, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.list {
		if d.GUID == guid {
			return d, nil
		}
	}
	return jobs.Delivery{}, jobs.ErrNotFound
}

// logs keep chunks and wake their followers.
type logs struct {
	mu     sync.Mutex
	chunks map[jobs.LogKey][]jobs.LogChunk
	more   chan struct{} // closed and renewed at every append
}

var _ jobs.Logs = (*logs)(nil)

func newLogs() *logs {
	return &logs{chunks: map[jobs.LogKey][]jobs.LogChunk{}, more: make(chan struct{})}
}

func (l *logs) Append(_ context.Context, key jobs.LogKey, chunk jobs.LogChunk) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chunks[key] = append(l.chunks[key], chunk)
	close(l.more)
	l.more = make(chan struct{})
	return nil
}

// print appends lines, numbered on.
func (l *logs) print(key jobs.LogKey, last bool, lines ...string) {
	l.mu.Lock()
	first := 1
	for _, c := range l.chunks[key] {
		first += len(c.Lines)
	}
	seq := uint64(len(l.chunks[key]) + 1)
	l.mu.Unlock()
	_ = l.Append(context.Background(), key, jobs.LogChunk{Seq: seq, First: first, Lines: lines, Last: last})
}

func (l *logs) Read(ctx context.Context, key jobs.LogKey, what jobs.LogRange, each func(jobs.LogChunk) error) error {
	skip := 0
	if what.Tail > 0 {
		l.mu.Lock()
		for _, c := range l.chunks[key] {
			skip += len(c.Lines)
		}
		l.mu.Unlock()
		skip -= what.Tail
	}
	for at := 0; ; {
		l.mu.Lock()
		chunks, more := l.chunks[key], l.more
		l.mu.Unlock()
		if len(chunks) == 0 {
			return jobs.ErrNotFound
		}
		for ; at < len(chunks); at++ {
			c := chunks[at]
			if cut := min(skip, len(c.Lines)); cut > 0 {
				c.First, c.Lines, skip = c.First+cut, c.Lines[cut:], skip-cut
			}
			if err := each(c); err != nil {
				return err
			}
			if chunks[at].Last {
				return nil
			}
		}
		if !what.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		}
	}
}

// world is all the stores a Server looks into.
type world struct {
	runs       *set[jobs.Run]
	archive    *set[jobs.Run]
	decisions  *set[jobs.Decision]
	results    *set[jobs.Result]
	index      *index
	logs       *logs
	deliveries *deliveryList
}

func newWorld() *world {
	return &world{
		runs: newSet[jobs.Run](), archive: newSet[jobs.Run](), decisions: newSet[jobs.Decision](), results: newSet[jobs.Result](),
		index: &index{}, logs: newLogs(), deliveries: &deliveryList{},
	}
}

func (w *world) options(tb testing.TB) Options {
	return Options{
		Runs: w.runs, Archive: w.archive, Index: w.index, Decisions: w.decisions, Results: w.results, Logs: w.logs,
		Deliveries: w.deliveries, URL: "https://slipway.example.com", Version: "v0.1.0-test",
		Log: slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func (w *world) server(tb testing.TB, change ...func(*Options)) *Server {
	tb.Helper()
	o := w.options(tb)
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// add stores a run where it belongs, with its delivery and decision.
func (w *world) add(tb testing.TB, event string, d jobs.Decision, edit func(*jobs.Run)) jobs.Run {
	tb.Helper()
	ctx := tb.Context()
	w.deliveries.mu.Lock()
	w.deliveries.list = append(w.deliveries.list, jobs.Delivery{GUID: d.Delivery, Event: event, Received: d.Time})
	w.deliveries.mu.Unlock()
	if d.Outcome == "" {
		return jobs.Run{} // not decided yet
	}
	if d.Outcome == jobs.OutcomeRun || d.Shown {
		d.Run.ID = jobs.RunID(d.Delivery)
	}
	must(tb, w.decisions, d.Delivery, d)
	if d.Run.ID == "" {
		return jobs.Run{}
	}
	r := jobs.NewRun(d)
	if edit != nil {
		edit(&r)
	}
	store := w.runs
	if r.State.Over() {
		store = w.archive
	}
	if _, err := store.Create(ctx, r.ID, r); err != nil {
		tb.Fatal(err)
	}
	w.index.add(r)
	return r
}

func must[T any](tb testing.TB, s *set[T], key string, value T) {
	tb.Helper()
	if _, err := s.Create(tb.Context(), key, value); err != nil {
		tb.Fatalf("store %s: %v", key, err)
	}
}

func guid(n int) string { return fmt.Sprintf("7c1e%04d-6d0f-11f0-9e54-3b5f0c2a81d7", n) }

// panicking is an index with a defect.
type panicking struct{}

func (panicking) Runs(context.Context, uint64, int, string) ([]jobs.RunEntry, uint64, error) {
	panic("boom")
}
