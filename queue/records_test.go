package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

type record struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

func testRecords(t *testing.T, open opener) {
	ctx, s := within(t), Set[record](open(t, Limits{}), Runs)

	_, _, err := s.Get(ctx, "r-1")
	mustBe(t, err, jobs.ErrNotFound)
	_, err = s.Update(ctx, "r-1", record{}, 1)
	mustBe(t, err, jobs.ErrConflict)
	_, err = s.Update(ctx, "r-1", record{}, 0)
	mustBe(t, err, jobs.ErrConflict)
	must(t, s.Delete(ctx, "r-1", 7))
	must(t, s.Delete(ctx, "r-1", 0))

	first, err := s.Create(ctx, "r-1", record{Text: "a"})
	must(t, err)
	_, err = s.Create(ctx, "r-1", record{Text: "b"})
	mustBe(t, err, jobs.ErrExists)
	got, revision, err := s.Get(ctx, "r-1")
	must(t, err)
	equal(t, "record", got, record{Text: "a"})
	equal(t, "revision", revision, first)

	second, err := s.Update(ctx, "r-1", record{Text: "c"}, first)
	must(t, err)
	if second <= first {
		t.Fatalf("revision %d does not follow %d", second, first)
	}
	_, err = s.Update(ctx, "r-1", record{Text: "d"}, first)
	mustBe(t, err, jobs.ErrConflict)
	mustBe(t, s.Delete(ctx, "r-1", first), jobs.ErrConflict)
	got, revision, err = s.Get(ctx, "r-1")
	must(t, err)
	equal(t, "record", got, record{Text: "c"})
	equal(t, "revision", revision, second)

	must(t, s.Delete(ctx, "r-1", second))
	must(t, s.Delete(ctx, "r-1", second))
	_, _, err = s.Get(ctx, "r-1")
	mustBe(t, err, jobs.ErrNotFound)
	_, err = s.Update(ctx, "r-1", record{}, second)
	mustBe(t, err, jobs.ErrConflict)
	third, err := s.Create(ctx, "r-1", record{Text: "e"})
	must(t, err)
	if third <= second {
		t.Fatalf("revision %d after a delete does not follow %d", third, second)
	}
	_, err = s.Create(ctx, "r-1", record{})
	mustBe(t, err, jobs.ErrExists)
	mustBe(t, s.Delete(ctx, "r-1", second), jobs.ErrConflict)
}

func testKeys(t *testing.T, open opener) {
	q := open(t, Limits{})
	ctx, s := within(t), Set[record](q, Refs)
	good := []string{"a", "A-z_0", "r-1.build.2.1", "7." + strings.Repeat("f", 32), "-", strings.Repeat("x", maxKey)}
	bad := []string{"", ".", "a.", ".a", "a..b", "*", "a.*", ">", "a.>", "a b", "a\tb", "a\r\nb", "ü", "a/b", "$KV.x", "\x00",
		strings.Repeat("x", maxKey+1)}
	for _, key := range good {
		_, err := s.Create(ctx, key, record{Text: key})
		must(t, err)
		got, _, err := s.Get(ctx, key)
		must(t, err)
		equal(t, "record", got.Text, key)
	}
	for _, key := range bad {
		_, _, err := s.Get(ctx, key)
		mustBe(t, err, ErrBadKey)
		_, err = s.Create(ctx, key, record{})
		mustBe(t, err, ErrBadKey)
		_, err = s.Update(ctx, key, record{}, 1)
		mustBe(t, err, ErrBadKey)
		mustBe(t, s.Delete(ctx, key, 1), ErrBadKey)
		_, err = q.Leases().Acquire(ctx, key, "me", 1)
		mustBe(t, err, ErrBadKey)
	}
	// In a hint and a log, each name is one token.
	for _, name := range append(bad, "a.b") {
		mustBe(t, q.Hints().Offer(ctx, jobs.Hint{Kind: "build", Run: "r-1", Job: name}), ErrBadKey)
		mustBe(t, q.Hints().Offer(ctx, jobs.Hint{Kind: jobs.KindName(name), Run: "r-1", Job: "a"}), ErrBadKey)
		_, _, err := q.Hints().Take(ctx, jobs.KindName(name))
		mustBe(t, err, ErrBadKey)
		key := jobs.LogKey{Run: "r-1", Job: name, Attempt: 1}
		mustBe(t, q.Logs().Append(ctx, key, jobs.LogChunk{}), ErrBadKey)
		mustBe(t, q.Logs().Read(ctx, key, jobs.LogRange{Follow: true}, nil), ErrBadKey)
	}
	var keys []string
	must(t, s.All(ctx, func(key string, _ record, _ uint64) error { keys = append(keys, key); return nil }))
	slices.Sort(keys)
	slices.Sort(good)
	equal(t, "keys", fmt.Sprint(keys), fmt.Sprint(good))
}

func testLargeRecords(t *testing.T, open opener) {
	ctx, s := within(t), Set[record](open(t, Limits{}), Runs)
	quotes := func(text string) int {
		data, err := json.Marshal(record{Text: text})
		must(t, err)
		return len(data)
	}
	empty := quotes("")
	for _, size := range []int{compressFrom, compressFrom + 1, MaxRecord} {
		key := fmt.Sprint("size-", size)
		want := record{Text: randomText(size - empty)}
		equal(t, "size", quotes(want.Text), size)
		revision, err := s.Create(ctx, key, want)
		must(t, err)
		got, _, err := s.Get(ctx, key)
		must(t, err)
		equal(t, "record", got, want)
		_, err = s.Update(ctx, key, want, revision)
		must(t, err)
	}
	_, err := s.Create(ctx, "above", record{Text: randomText(MaxRecord - empty + 1)})
	mustBe(t, err, ErrTooLarge)
	_, _, err = s.Get(ctx, "above")
	mustBe(t, err, jobs.ErrNotFound)
}

// randomText returns n letters that hardly compress.
func randomText(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rand.N(len(letters))]
	}
	return string(b)
}

func testRecordsConcurrently(t *testing.T, open opener) {
	ctx, s := within(t), Set[record](open(t, Limits{}), Runs)
	const writers, rounds = 8, 5
	var wins atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			_, err := s.Create(ctx, "one", record{Text: fmt.Sprint(w)})
			switch {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, jobs.ErrExists):
				t.Error(err)
			}
			for range rounds {
				_, err := jobs.Change(ctx, s, "one", func(r *record) error { r.Count++; return nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	equal(t, "creators that won", wins.Load(), 1)
	got, _, err := s.Get(ctx, "one")
	must(t, err)
	equal(t, "count", got.Count, writers*rounds)
}

func testAll(t *testing.T, open opener) {
	q := open(t, Limits{})
	ctx, s := within(t), Set[record](q, Archive)
	must(t, s.All(ctx, func(string, record, uint64) error { return errors.New("there is nothing") }))

	want := map[string]uint64{}
	for i := range 3 * batchBodies {
		key := fmt.Sprint("r-", i)
		revision, err := s.Create(ctx, key, record{Count: i})
		must(t, err)
		switch i % 3 {
		case 0:
			revision, err = s.Update(ctx, key, record{Count: i}, revision)
			want[key] = revision
		case 1:
			err = s.Delete(ctx, key, revision)
		default:
			want[key] = revision
		}
		must(t, err)
	}
	got := map[string]uint64{}
	must(t, s.All(ctx, func(key string, value record, revision uint64) error {
		equal(t, "key", key, fmt.Sprint("r-", value.Count))
		if _, double := got[key]; double {
			t.Fatalf("%s came twice", key)
		}
		got[key] = revision
		return nil
	}))
	if !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	// What changes meanwhile is not missed.
	changed, seen := false, map[string]bool{}
	must(t, s.All(ctx, func(key string, _ record, _ uint64) error {
		seen[key] = true
		for key, revision := range want {
			if changed {
				break
			}
			if _, err := s.Update(ctx, key, record{Count: 1}, revision); err != nil {
				return err
			}
		}
		changed = true
		return nil
	}))
	equal(t, "records seen", len(seen), len(want))

	// One that can't be decoded does not hide the others.
	other := Set[string](q, Archive)
	_, err := other.Create(ctx, "strange", "not a record")
	must(t, err)
	clear(seen)
	err = s.All(ctx, func(key string, _ record, _ uint64) error { seen[key] = true; return nil })
	if err == nil || !strings.Contains(err.Error(), "read strange: decode") {
		t.Fatalf("got %v", err)
	}
	equal(t, "records seen", len(seen), len(want))

	enough, calls := errors.New("enough"), 0
	mustBe(t, s.All(ctx, func(string, record, uint64) error { calls++; return enough }), enough)
	equal(t, "calls", calls, 1)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	mustBe(t, s.All(ended, func(string, record, uint64) error { return nil }), context.Canceled)
}

func testWatch(t *testing.T, open opener) {
	ctx, s := within(t), Set[record](open(t, Limits{}), Runs)
	_, err := s.Create(ctx, "before", record{})
	must(t, err)
	watching, cancel := context.WithCancel(ctx)
	changed, err := s.Watch(watching)
	must(t, err)
	expect := func(key string) {
		t.Helper()
		select {
		case got := <-changed:
			equal(t, "changed key", got, key)
		case <-ctx.Done():
			t.Fatalf("no word of %s", key)
		}
	}
	revision, err := s.Create(ctx, "a.b", record{})
	must(t, err)
	expect("a.b")
	revision, err = s.Update(ctx, "a.b", record{}, revision)
	must(t, err)
	expect("a.b")
	must(t, s.Delete(ctx, "a.b", revision))
	expect("a.b")
	_, err = s.Create(ctx, "c", record{})
	must(t, err)
	expect("c")
	cancel()
	select {
	case key, ok := <-changed:
		if ok {
			t.Fatalf("got %s after the end", key)
		}
	case <-ctx.Done():
		t.Fatal("the channel was not closed")
	}
}

func testBuckets(t *testing.T, open opener) {
	q := open(t, Limits{})
	ctx := within(t)
	for _, b := range []Bucket{Decisions, Runs, Archive, Refs, Results, Reports, Meta} {
		_, err := Set[string](q, b).Create(ctx, "same", string(b))
		must(t, err)
	}
	for _, b := range []Bucket{Decisions, Runs, Archive, Refs, Results, Reports, Meta} {
		got, _, err := Set[string](q, b).Get(ctx, "same")
		must(t, err)
		equal(t, "record", got, string(b))
	}
}

func testFullBucket(t *testing.T, open opener) {
	ctx, s := within(t), Set[record](open(t, Limits{Records: minLimit}), Runs)
	revisions := map[string]uint64{}
	var err error
	text := randomText(MaxRecord - 100)
	for i := 0; err == nil && i < 100; i++ {
		key := fmt.Sprint("r-", i)
		var revision uint64
		if revision, err = s.Create(ctx, key, record{Text: text}); err == nil {
			revisions[key] = revision
		}
	}
	mustBe(t, err, ErrFull)
	must(t, s.Delete(ctx, "r-0", revisions["r-0"]))
	must(t, s.Delete(ctx, "r-1", revisions["r-1"]))
	_, err = s.Create(ctx, "new", record{Text: text})
	must(t, err)
	got, _, err := s.Get(ctx, "r-2")
	must(t, err)
	equal(t, "the oldest record left", len(got.Text), len(text))
}
