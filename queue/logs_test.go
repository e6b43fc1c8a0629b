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
		must(t, l.Read(ctx, key, jobs.LogRange{}, func(c jobs.LogChunk) error {
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
	mustBe(t, l.Read(ctx, key, jobs.LogRange{}, func(jobs.LogChunk) error { return enough }), enough)
	mustBe(t, l.Read(ctx, key, jobs.LogRange{Follow: true}, func(jobs.LogChunk) error { return enough }), enough)
}

func testLogTail(t *testing.T, open opener) {
	ctx, l := within(t), open(t, Limits{}).Logs()
	key := jobs.LogKey{Run: "r-1", Job: "image", Attempt: 1}
	tail := func(key jobs.LogKey, n int) string {
		t.Helper()
		var all []string
		must(t, l.Read(ctx, key, jobs.LogRange{Tail: n}, func(c jobs.LogChunk) error {
			for i, line := range c.Lines {
				all = append(all, fmt.Sprint(c.First+i, line))
			}
			return nil
		}))
		return strings.Join(all, " ")
	}
	equal(t, "the end of nothing", tail(key, 3), "")

	// A chunk of three lines, then chunks of one, far apart and among those of another job.
	must(t, l.Append(ctx, key, chunk(1, false, "a", "b", "c")))
	other := jobs.LogKey{Run: "r-1", Job: "rollout", Attempt: 1}
	number := 0
	fill := func(n int) {
		for range n {
			number++
			must(t, l.Append(ctx, other, chunk(number, false, "another's")))
		}
	}
	fill(tailWindow * (1 + tailGrowth))
	must(t, l.Append(ctx, key, chunk(4, false, "d")))
	fill(tailWindow)
	must(t, l.Append(ctx, key, chunk(5, false, "e")))
	must(t, l.Append(ctx, key, chunk(6, false, "f")))
	fill(1)
	for n, want := range map[int]string{1: "6f", 2: "5e 6f", 3: "4d 5e 6f", 4: "3c 4d 5e 6f", 5: "2b 3c 4d 5e 6f", 6: "1a 2b 3c 4d 5e 6f", 7: "1a 2b 3c 4d 5e 6f", 5000: "1a 2b 3c 4d 5e 6f"} {
		equal(t, fmt.Sprintf("the last %d lines", n), tail(key, n), want)
	}
	enough := errors.New("enough")
	mustBe(t, l.Read(ctx, key, jobs.LogRange{Tail: 2}, func(jobs.LogChunk) error { return enough }), enough)

	// Followed from there on, to a last chunk that has no line of its own.
	var seen []string
	must(t, l.Read(ctx, key, jobs.LogRange{Tail: 2, Follow: true}, func(c jobs.LogChunk) error {
		seen = append(seen, c.Lines...)
		if c.First == 6 {
			must(t, l.Append(ctx, key, chunk(7, false, "g", "h")))
			must(t, l.Append(ctx, key, chunk(9, true)))
		}
		return nil
	}))
	equal(t, "lines followed", strings.Join(seen, " "), "e f g h")
	equal(t, "the last line of a log that is over", tail(key, 1), "8h")
	must(t, l.Read(ctx, key, jobs.LogRange{Tail: 3, Follow: true}, func(jobs.LogChunk) error { return nil }))

	// One that does not exist yet is waited for.
	key.Attempt = 2
	leaving, cancel := context.WithCancel(ctx)
	go func() { _ = l.Append(ctx, key, chunk(1, false, "first")) }()
	mustBe(t, l.Read(leaving, key, jobs.LogRange{Tail: 1, Follow: true}, func(c jobs.LogChunk) error {
		equal(t, "line", c.Lines[0], "first")
		cancel()
		return nil
	}), context.Canceled)
}

func testLogFollow(t *testing.T, open opener) {
	ctx, l := within(t), open(t, Limits{}).Logs()
	key := jobs.LogKey{Run: "r-1", Job: "image", Attempt: 1}
	must(t, l.Append(ctx, key, chunk(1, false, "one")))
	seen, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- l.Read(ctx, key, jobs.LogRange{Follow: true}, func(c jobs.LogChunk) error {
			seen <- c.Lines[0]
			return nil
		})
	}()
	expect := func(line string) {
		t.Helper()
		select {
		case got := <-seen:
			equal(t, "line", got, line)
		case err := <-done: // perhaps both are there: the last chunk, and the end behind it
			done <- err
			select {
			case got := <-seen:
				equal(t, "line", got, line)
			default:
				t.Fatalf("ended early: %v", err)
			}
		}
	}
	expect("one")
	must(t, l.Append(ctx, key, chunk(2, false, "two")))
	expect("two")
	must(t, l.Append(ctx, key, chunk(3, true, "three")))
	expect("three")
	must(t, <-done)

	// A log that is over is followed to its end at once; one that goes on until the reader leaves.
	must(t, l.Read(ctx, key, jobs.LogRange{Follow: true}, func(jobs.LogChunk) error { return nil }))
	key.Attempt = 2
	leaving, cancel := context.WithCancel(ctx)
	must(t, l.Append(ctx, key, chunk(1, false, "one")))
	mustBe(t, l.Read(leaving, key, jobs.LogRange{Follow: true}, func(jobs.LogChunk) error { cancel(); return nil }), context.Canceled)
}
