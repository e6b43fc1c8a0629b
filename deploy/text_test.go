package deploy

import (
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTextIsBoundedAndHarmless(t *testing.T) {
	if got := clip("\x1b[31mred\x1b[0m\r\nnext\u202e\xff ", 100); got != "[31mred[0m  next\uFFFD" {
		t.Errorf("got %q", got)
	}
	if got := clip(strings.Repeat("ä", 10), 4); got != "ääää … (cut)" {
		t.Errorf("got %q", got)
	}
	if got := clipText(strings.Repeat("ä", 10), 5); got != "ää … (cut)" || !utf8.ValidString(got) {
		t.Errorf("got %q", got)
	}
	if got := clipText("a\x1b[1m\r\n\tb\n", 100); got != "a[1m \n b\n" {
		t.Errorf("got %q", got)
	}
	lines := tailOf(strings.Repeat("x\n\n", 50) + strings.Repeat("y", 500) + "\nlast")
	if len(lines) != maxTailLines || lines[maxTailLines-1] != "last" || lines[maxTailLines-2] != strings.Repeat("y", maxTailWidth)+cutMark {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
}

func TestLibraryLogsAreDebugLogs(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		var b strings.Builder
		log := slog.New(demoted{slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level})}).With("a", 1).WithGroup("g")
		log.Error("upgrade failed", "b", 2)
		if level == slog.LevelInfo && b.Len() > 0 {
			t.Errorf("logged at info: %s", b.String())
		}
		if level == slog.LevelDebug && !strings.Contains(b.String(), `level=DEBUG msg="upgrade failed" a=1 g.b=2`) {
			t.Errorf("got %s", b.String())
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	var b strings.Builder
	l := &lineLog{w: &b}
	for range maxLogLines + 100 {
		l.printf("a\nb")
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != maxLogLines || lines[0] != "a b" || !strings.Contains(lines[len(lines)-1], "cut here after") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}
