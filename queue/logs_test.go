package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func chunk(first int, last bool, lines ...string) jobs.LogChunk {
	return jobs.LogChunk{Seq: uint64(first), First: first, Time: time.Now(), Lines: lines, Last: last}
}

func testLogs(t *testing.T, open opener) {
	ctx, l := within(t), open(t, Limits{}).Logs()
	key := jobs.LogKey{Run: "r-1", Job: "image", Attempt: 1}
	lines := func(key jobs.LogKey) (all []string) {
		t.Helper()
		must(t, l.Read(ctx, key, false, func(c jobs.LogChunk) error {
			all = append(all, c.Lines...)
			return nil
		}))
		return all
	}
	equal(t, "lines of nothing", len(lines(key)), 0)

	var want []string
	for i := range 2*batchBodies + 3 {
		line := fmt.Sprint("line ", i)
		want = append(want, line)
		must(t, l.Append(ctx, key, chunk(i+1, false, line)))
		for _, other := range []jobs.LogKey{{Run: "r-1", Job: "image", Attempt: 2}, {Run: "r-2", Job: "image", Attempt: 1}} {
			must(t, l.Append(ctx, other, chunk(i+1, false, "another's")))
		}
	}
	long := strings.Repeat("a line of 32 letters, and a dot.", 4<<10)
	must(t, l.Append(ctx, key, chunk(len(want)+1, true, long)))
	want = append(want, long)
	equal(t, "lines", strings.Join(lines(key), "\n"), strings.Join(want, "\n"))

	enough := errors.New("enough")
	mustBe(t, l.Read(ctx, key, false, func(jobs.LogChunk) error { return enough }), enough)
	mustBe(t, l.Read(ctx, key, true, func(jobs.LogChunk) error { return enough }), enough)
}

func testLogFollow(t *testing.T, open opener) {
	ctx, l := within(t), open(t, Limits{}).Logs()
	key := jobs.LogKey{Run: "r-1", Job: "image", Attempt: 1}
	must(t, l.Append(ctx, key, chunk(1, false, "one")))
	seen, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- l.Read(ctx, key, true, func(c jobs.LogChunk) error {
			seen <- c.Lines[0]
			return nil
		})
	}()
	expect := func(line string) {
		t.Helper()
		select {
		case got := <-seen:
			equal(t, "line", got, line)
		case err := <-done:
			t.Fatalf("ended early: %v", err)
		}
	}
	expect("one")
	must(t, l.Append(ctx, key, chunk(2, false, "two")))
	expect("two")
	must(t, l.Append(ctx, key, chunk(3, true, "three")))
	expect("three")
	must(t, <-done)

	// A log that is over is followed to its end at once; one that goes on until the reader leaves.
	must(t, l.Read(ctx, key, true, func(jobs.LogChunk) error { return nil }))
	key.Attempt = 2
	leaving, cancel := context.WithCancel(ctx)
	must(t, l.Append(ctx, key, chunk(1, false, "one")))
	mustBe(t, l.Read(leaving, key, true, func(jobs.LogChunk) error { cancel(); return nil }), context.Canceled)
}
