package jobs

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// kept are the lines that a log was given.
type kept struct{ lines []string }

func (k *kept) Append(_ context.Context, _ LogKey, c LogChunk) error {
	k.lines = append(k.lines, c.Lines...)
	return nil
}
func (k *kept) Read(context.Context, LogKey, LogRange, func(LogChunk) error) error { return nil }

// logged are the lines that are kept of what was written, in pieces of so many bytes.
func logged(t *testing.T, secrets []string, text string, piece int) []string {
	t.Helper()
	var k kept
	w := newLogWriter(t.Context(), &k, LogKey{}, 1, NewMask(secrets), time.Now)
	for len(text) > 0 {
		n := min(piece, len(text))
		if _, err := w.Write([]byte(text[:n])); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	w.close(true)
	return k.lines
}

// TestNoPartOfASecretIsLogged holds that a secret is masked wherever in a line it stands, also where the line is cut.
func TestNoPartOfASecretIsLogged(t *testing.T) {
	const secret = "0123456789abcdefghijklmnopqrstuv"
	long := strings.Repeat("S", 4000) // a key as a registry's password
	for name, line := range map[string]func(before int) string{
		"alone":                 func(before int) string { return strings.Repeat(".", before) + secret },
		"and much behind it":    func(before int) string { return strings.Repeat(".", before) + secret + strings.Repeat(".", 20_000) },
		"and secrets before it": func(before int) string { return strings.Repeat(long, 2) + strings.Repeat(".", before) + secret },
		"and many on either side": func(before int) string {
			return strings.Repeat(long, 2) + strings.Repeat(".", before) + strings.Repeat(secret, 1000)
		},
	} {
		for before := range MaxLogLine + logSlack + 10 {
			if near(before, MaxLogLine) || near(before, MaxLogLine+logSlack) || near(before, MaxLogLine+logSlack-2*len(long)) {
				lines := logged(t, []string{secret, long}, line(before)+"\nnext\n", 1<<20)
				if len(lines) != 2 || lines[1] != "next" || len(lines[0]) > MaxLogLine {
					t.Fatalf("%s, %d before: %d lines, the first of %d bytes", name, before, len(lines), len(lines[0]))
				}
				if strings.Contains(lines[0], secret[:3]) || strings.Contains(lines[0], "S") {
					t.Fatalf("%s, %d before: …%s", name, before, lines[0][max(len(lines[0])-100, 0):])
				}
			}
		}
	}
}

// near reports whether a secret that begins at a place lies across the other, or touches it.
func near(place, end int) bool { return place > end-40 && place < end+5 }

func TestLongLinesAreCut(t *testing.T) {
	for _, piece := range []int{1, 1000, 1 << 20} {
		lines := logged(t, nil, strings.Repeat("a", MaxLogLine)+"\r\n"+strings.Repeat("é", MaxLogLine)+"\n"+strings.Repeat("b", 5*MaxLogLine)+"\nnot ended", piece)
		if len(lines) != 4 || lines[0] != strings.Repeat("a", MaxLogLine) || lines[3] != "not ended" {
			t.Fatalf("%d lines of %d bytes", len(lines), len(lines[0]))
		}
		for i, want := range map[int]string{1: "é…", 2: "b…"} {
			if !strings.HasSuffix(lines[i], want) || len(lines[i]) > MaxLogLine || len(lines[i]) < MaxLogLine-4 {
				t.Errorf("line %d has %d bytes and ends in %q", i, len(lines[i]), lines[i][len(lines[i])-6:])
			}
		}
	}
}

// TestAFullLogSaysSo holds that a log is bounded, whatever fills it, that it says once that it is cut, and that our own lines are kept.
func TestAFullLogSaysSo(t *testing.T) {
	var k kept
	w := newLogWriter(t.Context(), &k, LogKey{}, 1, NewMask(nil), time.Now)
	fill := func(line string, bytes int) {
		if _, err := fmt.Fprint(w, strings.Repeat(line+"\n", bytes/(len(line)+1))); err != nil {
			t.Fatal(err)
		}
	}
	fill(strings.Repeat("a", 999), MaxLog-1000)
	fill("", 400) // and a little room is left
	w.printf("%s", strings.Repeat("o", 1000))
	fill("bbbbbbbbb", 2000)
	w.printf("done")
	fill("", MaxLog)
	w.close(true)
	var shown []string
	for _, line := range k.lines {
		if line != "" && !strings.HasPrefix(line, "aaa") && line != "bbbbbbbbb" {
			shown = append(shown, Cut(line, 60))
		}
	}
	want := []string{"slipway: " + strings.Repeat("o", 48) + "…", "slipway: the log is longer than 8 MB; the rest is left out", "slipway: done"}
	if fmt.Sprint(shown) != fmt.Sprint(want) {
		t.Errorf("shown %q\nwant %q", shown, want)
	}
	if last := k.lines[len(k.lines)-1]; last != "slipway: done" {
		t.Errorf("the log goes on with %q", last)
	}
}
