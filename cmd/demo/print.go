package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// A printer writes progress: short lines with the seconds since the step began. Its methods may be called from any
// goroutine.
type printer struct {
	colours bool
	wide    int // columns that a line may fill

	mu    sync.Mutex
	w     io.Writer
	begun time.Time
}

// newPrinter uses colours only on a terminal, and never when NO_COLOR is set (no-color.org).
func newPrinter(w io.Writer) *printer {
	p := &printer{w: w, begun: time.Now(), wide: 160}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.colours = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			p.wide = max(columns, 80)
		}
	}
	return p
}

// Colours that are calm on dark and light terminals.
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
)

func (p *printer) paint(colour, text string) string {
	if !p.colours {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// heading begins a step: times count from here.
func (p *printer) heading(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun = time.Now()
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, fmt.Sprintf(format, args...)))
}

// line says what happens: a topic of a word, and one line about it, cut to the terminal's width. Addresses are not cut.
func (p *printer) line(topic, format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), " \n")
	p.mu.Lock()
	defer p.mu.Unlock()
	const before = 21 // columns left of the text
	if room := p.wide - before; utf8.RuneCountInString(text) > room && !strings.HasPrefix(text, "http") {
		text = string([]rune(text)[:room-1]) + "…"
	}
	fmt.Fprintf(p.w, "%s  %-10s  %s\n", p.paint(faint, fmt.Sprintf("%6.1fs", time.Since(p.begun).Seconds())), topic, text)
}

// note writes text that is not cut, such as addresses to copy.
func (p *printer) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// problem writes what went wrong.
func (p *printer) problem(format string, args ...any) {
	p.note("  %s %s", p.paint(red, "✗"), fmt.Sprintf(format, args...))
}

// promise says whether a promise was kept.
func (p *printer) promise(says string, problem error) {
	if problem != nil {
		p.problem("%s\n      not so: %v", says, problem)
		return
	}
	p.note("  %s %s", p.paint(green, "✓"), says)
}

// verdict is a step's end in a few words.
func verdict(st step) string {
	if st.OK {
		return fmt.Sprintf("as promised in %.1f s", st.Seconds)
	}
	return fmt.Sprintf("not as promised; it took %.1f s", st.Seconds)
}

// total ends the story.
func (p *printer) total(steps []step, took time.Duration) {
	good := 0
	for _, st := range steps {
		if st.OK {
			good++
		}
	}
	colour := green
	if good < len(steps) || good == 0 {
		colour = red
	}
	p.note("\n%s in %.0f s, starting the engines and the server included",
		p.paint(colour, fmt.Sprintf("%d of %d steps as promised", good, len(steps))), took.Seconds())
}
