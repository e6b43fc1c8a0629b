package web

import (
	"bytes"
	"fmt"
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLine bounds a line on a page, in bytes; the raw log has the rest.
const maxLine = 8 << 10

// Plain makes a line of a log safe for a terminal: escape sequences (ECMA-48) are taken out, and characters that a
// terminal would act on, or that reorder text, are written out instead.
func Plain(line string) string {
	var b strings.Builder
	scanANSI(line, func(text string) { b.WriteString(text) }, func(string) {})
	return b.String()
}

// writeANSI writes a line of a log as HTML. Of its escape sequences only colours and weights (SGR) are kept, as
// classes; everything else is escaped.
func writeANSI(b *bytes.Buffer, line string) {
	var now style
	scanANSI(shorten(line), func(text string) {
		if class := now.class(); class != "" {
			b.WriteString(`<span class="` + class + `">` + html.EscapeString(text) + `</span>`)
		} else {
			b.WriteString(html.EscapeString(text))
		}
	}, func(params string) { now.apply(params) })
}

func shorten(line string) string {
	if len(line) <= maxLine {
		return line
	}
	cut := maxLine
	for cut > 0 && !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + " … (cut here; the raw log has all of it)"
}

// style is what SGR sequences have set so far in a line. Colours are 0 to 15, plus one; 0 is none.
type style struct {
	bold, dim, italic, underline bool
	colour                       int
}

func (s style) class() string {
	var c []string
	if s.bold {
		c = append(c, "ab")
	}
	if s.dim {
		c = append(c, "ad")
	}
	if s.italic {
		c = append(c, "ai")
	}
	if s.underline {
		c = append(c, "au")
	}
	if s.colour > 0 {
		c = append(c, "a"+strconv.Itoa(s.colour-1))
	}
	return strings.Join(c, " ")
}

// apply takes the parameters of an SGR sequence. Backgrounds, and colours beyond the first 16, are left out: pages
// are light or dark, and must stay readable.
func (s *style) apply(params string) {
	codes := strings.FieldsFunc(params, func(r rune) bool { return r == ';' || r == ':' })
	if len(codes) == 0 {
		*s = style{}
	}
	for i := 0; i < len(codes); i++ {
		n, err := strconv.Atoi(codes[i])
		if err != nil {
			return
		}
		switch {
		case n == 0:
			*s = style{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.dim = true
		case n == 3:
			s.italic = true
		case n == 4:
			s.underline = true
		case n == 22:
			s.bold, s.dim = false, false
		case n == 23:
			s.italic = false
		case n == 24:
			s.underline = false
		case n >= 30 && n <= 37:
			s.colour = n - 30 + 1
		case n >= 90 && n <= 97:
			s.colour = n - 90 + 8 + 1
		case n == 39:
			s.colour = 0
		case n == 38 || n == 48: // 38;5;N or 38;2;R;G;B
			if i+2 < len(codes) && codes[i+1] == "5" {
				if c, err := strconv.Atoi(codes[i+2]); err == nil && n == 38 && c >= 0 && c < 16 {
					s.colour = c + 1
				}
				i += 2
			} else {
				i += 4
			}
		}
	}
}

// scanANSI splits a line into text, made harmless, and the parameters of SGR sequences. A carriage return within the
// line starts it again, as on a terminal: progress bars leave only their last state.
func scanANSI(line string, text func(string), sgr func(params string)) {
	if i := strings.LastIndexByte(strings.TrimRight(line, "\r"), '\r'); i >= 0 {
		line = line[i+1:]
	}
	line = strings.TrimRight(line, "\r")
	for line != "" {
		i := strings.IndexByte(line, 0x1b)
		if i != 0 {
			if i < 0 {
				i = len(line)
			}
			text(visible(line[:i]))
			line = line[i:]
			continue
		}
		params, rest, isSGR := cutSequence(line)
		if isSGR {
			sgr(params)
		}
		line = rest
	}
}

// cutSequence takes the escape sequence off the front of s, which starts with ESC.
func cutSequence(s string) (params, rest string, isSGR bool) {
	if len(s) < 2 {
		return "", "", false
	}
	switch s[1] {
	case '[': // CSI: parameters and intermediates (0x20-0x3f), then one final byte (0x40-0x7e)
		end := 2
		for end < len(s) && s[end] >= 0x20 && s[end] <= 0x3f {
			end++
		}
		if end == len(s) {
			return "", "", false
		}
		if s[end] < 0x40 || s[end] > 0x7e {
			return "", s[end:], false // broken: what follows is text again
		}
		return s[2:end], s[end+1:], s[end] == 'm'
	case ']', 'P', '^', '_', 'X': // OSC, DCS, PM, APC, SOS: up to BEL or ESC \
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return "", s[i+1:], false
			}
			if s[i] == 0x1b {
				if i+1 < len(s) && s[i+1] == '\\' {
					return "", s[i+2:], false
				}
				return "", s[i:], false
			}
		}
		return "", "", false
	}
	_, size := utf8.DecodeRuneInString(s[1:])
	return "", s[1+size:], false
}

// visible replaces characters that act instead of showing.
func visible(s string) string {
	if !strings.ContainsFunc(s, acts) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !acts(r):
			b.WriteRune(r) // U+FFFD for what is not UTF-8
		case r < 0x20:
			b.WriteRune(0x2400 + r) // control pictures
		case r == 0x7f:
			b.WriteRune(0x2421)
		default:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
	}
	return b.String()
}

// acts reports whether a character is a control, or changes the direction or the lines of the text around it.
func acts(r rune) bool {
	switch {
	case r == '\t':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0xfeff:
		return true
	}
	return false
}
