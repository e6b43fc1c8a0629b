package deploy

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	maxTailLines = 20       // lines quoted in a Failure
	maxTailWidth = 200      // characters of each
	maxLineWidth = 2000     // characters of one line in the log
	maxLogLines  = 20_000   // lines one rollout writes
	maxNotes     = 16 << 10 // bytes
	maxCause     = 700      // characters of somebody else's error message quoted in a sentence
	cutMark      = " … (cut)"
)

// clip makes s one printable line of at most n characters and says when it was cut.
func clip(s string, n int) string {
	s = strings.TrimSpace(printable(s))
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return strings.TrimSpace(string(r[:n])) + cutMark
}

// printable replaces what a terminal or a page would act on: control characters, among
// them the escape of colour codes, and invalid UTF-8.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, s)
}

// clipText bounds a text of several lines by its bytes and keeps it printable.
func clipText(s string, n int) string {
	cut := ""
	if len(s) > n {
		s, cut = s[:n], cutMark
	}
	lines := strings.SplitAfter(strings.ToValidUTF8(s, ""), "\n")
	for i, line := range lines {
		text, ended := strings.CutSuffix(line, "\n")
		if lines[i] = printable(text); ended {
			lines[i] += "\n"
		}
	}
	return strings.Join(lines, "") + cut
}

// lineLog writes whole lines to the caller's log, from several goroutines, bounded.
type lineLog struct {
	mu    sync.Mutex
	w     io.Writer
	lines int
}

func (l *lineLog) printf(format string, args ...any) {
	line := clip(fmt.Sprintf(format, args...), maxLineWidth)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.lines++; {
	case l.lines < maxLogLines:
	case l.lines == maxLogLines:
		line = fmt.Sprintf("The log of this rollout is cut here after %d lines.", maxLogLines)
	default:
		return
	}
	// A log that can't be written must not stop a rollout half way; whoever
	// gave us the writer learns of its errors first.
	_, _ = io.WriteString(l.w, line+"\n")
}

// tail keeps the last lines of a stream for a Failure.
type tail struct {
	lines []string
}

func (t *tail) add(line string) {
	line = clip(line, maxTailWidth)
	if line == "" {
		return
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > maxTailLines {
		t.lines = append(t.lines[:0:0], t.lines[len(t.lines)-maxTailLines:]...)
	}
}

func tailOf(text string) []string {
	var t tail
	for line := range strings.Lines(text) {
		t.add(line)
	}
	return t.lines
}
