package queue

import (
	"bytes"
	"cmp"
	crand "crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func guid(i int) string { return fmt.Sprintf("aaaaaaaa-bbbb-cccc-dddd-%012d", i) }

func delivery(i int, body []byte) jobs.Delivery {
	return jobs.Delivery{
		GUID: guid(i), Event: "push", HookID: 1 << 40, TargetID: 12345, Body: body,
		Received: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
	}
}

func accept(t testing.TB, q *Queue, d jobs.Delivery) {
	t.Helper()
	created, err := q.Accept(t.Context(), d)
	must(t, err)
	equal(t, "created", created, true)
}

func testAccept(t *testing.T, open opener) {
	ctx, q := within(t), open(t, Limits{})
	d := delivery(1, []byte(`{"ref":"refs/heads/main"}`))
	_, err := q.Delivery(ctx, d.GUID)
	mustBe(t, err, jobs.ErrNotFound)
	accept(t, q, d)
	again := d
	again.Event, again.Body = "ping", []byte("another body")
	created, err := q.Accept(ctx, again)
	must(t, err)
	equal(t, "created again", created, false)
	got, err := q.Delivery(ctx, d.GUID)
	must(t, err)
	sameDelivery(t, got, d)

	empty := delivery(2, nil)
	empty.Event = "a strange\r\nName: \"ü\""
	accept(t, q, empty)
	got, err = q.Delivery(ctx, empty.GUID)
	must(t, err)
	sameDelivery(t, got, empty)

	for _, bad := range []string{"", "short", "a.b.c.d.e.f", "aaaaaaaa-*", ">aaaaaaaa", strings.Repeat("a", 65)} {
		d.GUID = bad
		_, err := q.Accept(ctx, d)
		mustBe(t, err, ErrBadKey)
		_, err = q.Delivery(ctx, bad)
		mustBe(t, err, jobs.ErrNotFound)
	}
	large := delivery(3, make([]byte, jobs.MaxBody+1))
	_, err = q.Accept(ctx, large)
	mustBe(t, err, ErrTooLarge)
	_, err = q.Delivery(ctx, large.GUID)
	mustBe(t, err, jobs.ErrNotFound)
}

func sameDelivery(t testing.TB, got, want jobs.Delivery) {
	t.Helper()
	if !bytes.Equal(got.Body, want.Body) {
		t.Fatalf("body of %s: %d bytes are not the %d stored", want.GUID, len(got.Body), len(want.Body))
	}
	got.Body, want.Body = nil, nil
	if !got.Received.Equal(want.Received) {
		t.Fatalf("received: got %v, want %v", got.Received, want.Received)
	}
	got.Received = want.Received
	equal(t, "delivery", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
}

func testAcceptConcurrently(t *testing.T, open opener) {
	ctx, q := within(t), open(t, Limits{})
	// Small ones go in one message, large ones in parts.
	for i, size := range []int{100, 7 << 20} {
		body := randomBytes(size)
		var created atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				first, err := q.Accept(ctx, delivery(i, body))
				if err != nil {
					t.Error(err)
				}
				if first {
					created.Add(1)
				}
			})
		}
		wg.Wait()
		equal(t, "creators", created.Load(), 1)
		got, err := q.Delivery(ctx, guid(i))
		must(t, err)
		sameDelivery(t, got, delivery(i, body))
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = crand.Read(b) // never fails
	return b
}

func testLargeDeliveries(t *testing.T, open opener) {
	ctx, q := within(t), open(t, Limits{})
	bodies := [][]byte{
		bytes.Repeat([]byte("x"), compressFrom),
		bytes.Repeat([]byte("x"), compressFrom+1),
		bytes.Repeat([]byte(`{"added":["src/main.go"]},`), jobs.MaxBody/26),
		randomBytes(compressFrom + 1),
		randomBytes(jobs.MaxBody),
	}
	for i, body := range bodies {
		accept(t, q, delivery(i, body))
		got, err := q.Delivery(ctx, guid(i))
		must(t, err)
		sameDelivery(t, got, delivery(i, body))
	}
}

func testListDeliveries(t *testing.T, open opener) {
	ctx, q := within(t), open(t, Limits{})
	list, next, err := q.ListDeliveries(ctx, "", 10)
	must(t, err)
	equal(t, "deliveries of none", len(list), 0)
	equal(t, "next", next, "")

	const stored = 95
	for i := range stored {
		accept(t, q, delivery(i, bytes.Repeat([]byte("x"), i)))
	}
	accept(t, q, delivery(stored, randomBytes(7<<20))) // its parts are no deliveries
	var got []string
	pages := 0
	for cursor := ""; pages == 0 || cursor != ""; pages++ {
		list, cursor, err = q.ListDeliveries(ctx, cursor, 10)
		must(t, err)
		for _, d := range list {
			got = append(got, d.GUID)
			if d.Body != nil || d.Stored.IsZero() || d.Event != "push" {
				t.Fatalf("listed as %+v", d)
			}
		}
		if pages == 0 {
			equal(t, "size of the first", list[0].Size, 7<<20)
			equal(t, "size of the second", list[1].Size, stored-1)
			accept(t, q, delivery(stored+1, nil)) // what comes meanwhile does not disturb the pages
		}
	}
	var want []string
	for i := stored; i >= 0; i-- {
		want = append(want, guid(i))
	}
	equal(t, "deliveries", strings.Join(got, "\n"), strings.Join(want, "\n"))
	for _, bad := range []string{"x", "1-2", strings.Repeat("!-", 7) + "!", strings.Repeat("0-", 7) + "0"} {
		_, _, err := q.ListDeliveries(ctx, bad, 10)
		mustBe(t, err, ErrBadCursor)
	}
}

func TestDamagedDelivery(t *testing.T) {
	store := func() *memoryStream {
		s := newMemoryStream(shardPolicy(0, 1, Limits{}))
		created, err := storeDelivery(t.Context(), s, delivery(1, randomBytes(3<<20)))
		must(t, err)
		equal(t, "created", created, true)
		return s
	}
	damages := map[string]func(*memoryStream){
		"a flipped bit":    func(s *memoryStream) { s.messages[1].data[17] ^= 1 },
		"a part gone":      func(s *memoryStream) { s.drop(0) },
		"a part too long":  func(s *memoryStream) { s.messages[0].data = make([]byte, jobs.MaxBody+compressFrom) },
		"a part too short": func(s *memoryStream) { s.messages[0].data = s.messages[0].data[1:] },
		"a strange header": func(s *memoryStream) { s.messages[len(s.messages)-1].header.Set(headerDelivery, "{") },
		"a strange size":   func(s *memoryStream) { s.messages[len(s.messages)-1].header.Set(headerDelivery, `{"size":-1}`) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			s := store()
			m, err := s.last(t.Context(), deliveryPrefix+guid(1))
			must(t, err)
			_, err = loadDelivery(t.Context(), s, m)
			must(t, err)
			damage(s)
			m, err = s.last(t.Context(), deliveryPrefix+guid(1))
			must(t, err)
			if d, err := loadDelivery(t.Context(), s, m); err == nil {
				t.Fatalf("read as %d bytes", len(d.Body))
			}
		})
	}
}

func testIndex(t *testing.T, open opener) {
	ctx, q := within(t), open(t, Limits{})
	runs, err := q.Runs(ctx, 0, 10, RunFilter{})
	must(t, err)
	equal(t, "runs of none", len(runs), 0)
	const stored = 300
	entry := func(i int) jobs.RunEntry {
		repository := int64(1)
		if i%50 == 7 {
			repository = 2 // few and far between
		}
		return jobs.RunEntry{ID: fmt.Sprint("r-", i), Repository: repository, Name: fmt.Sprintf("acme/shop.%d", repository)}
	}
	for i := range stored {
		must(t, q.AppendRun(ctx, entry(i)))
		must(t, q.AppendRun(ctx, entry(i)))
	}
	list := func(n int, filter RunFilter) (ids []string) {
		t.Helper()
		before := uint64(0)
		for {
			page, err := q.Runs(ctx, before, n, filter)
			must(t, err)
			if !slices.IsSortedFunc(page, func(a, b jobs.RunEntry) int { return cmp.Compare(b.Seq, a.Seq) }) {
				t.Fatalf("not newest first: %v", page)
			}
			for _, run := range page {
				ids = append(ids, run.ID)
			}
			if len(page) < n {
				return ids
			}
			before = page[n-1].Seq
		}
	}
	var all, few []string
	for i := stored - 1; i >= 0; i-- {
		all = append(all, fmt.Sprint("r-", i))
		if entry(i).Repository == 2 {
			few = append(few, fmt.Sprint("r-", i))
		}
	}
	equal(t, "all runs", fmt.Sprint(list(7, RunFilter{})), fmt.Sprint(all))
	equal(t, "all runs at once", fmt.Sprint(list(1000, RunFilter{})), fmt.Sprint(all))
	for _, filter := range []RunFilter{{Repository: 2}, {Name: "Acme/Shop.2"}, {Repository: 2, Name: "acme/shop.2"}} {
		equal(t, "runs of one repository", fmt.Sprint(list(4, filter)), fmt.Sprint(few))
	}
	equal(t, "runs of no repository", len(list(4, RunFilter{Name: "acme/none"})), 0)
	bad := entry(1)
	bad.ID = "r.*"
	mustBe(t, q.AppendRun(ctx, bad), ErrBadKey)
}

var errNotYet = errors.New("not yet")
