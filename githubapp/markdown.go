package githubapp

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/jobs"
)

// wordJoiner shows as nothing. After an @ it keeps GitHub from taking what follows for someone to notify.
const wordJoiner = "\u2060"

// inline makes any text safe inside a line or table cell of Markdown: it shows as it is, calls nobody, and starts
// nothing. Line ends and control characters become blanks.
func inline(s string) string {
	var b strings.Builder
	for _, r := range unmention(text(s)) {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case strings.ContainsRune("\\`*_[]|~#!", r):
			b.WriteRune('\\')
			b.WriteRune(r)
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029':
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}

// plain is inline for places that GitHub shows as they are, such as a title.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text(s))
	return strings.Join(strings.Fields(s), " ")
}

// escapes are the sequences by which programs colour a terminal.
var escapes = regexp.MustCompile(`\x1b\[[0-9;:?]*[A-Za-z]`)

// text is valid UTF-8 without terminal colours.
func text(s string) string { return strings.ToValidUTF8(escapes.ReplaceAllString(s, ""), "�") }

// code puts text into a code span that it can't leave. In a table GitHub splits cells before it looks for code spans, so
// a bar is escaped there.
func code(s string, table bool) string {
	s = plain(s)
	if s == "" {
		return ""
	}
	if table {
		s = strings.ReplaceAll(s, "|", `\|`)
	}
	ticks := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return ticks + s + ticks
}

// addressForm is what an address may hold so that a link can't be left through it.
var addressForm = regexp.MustCompile(`^https?://[A-Za-z0-9._~:/?#@!$&*+,;=%[\]-]+$`)

const maxAddress = 2000 // bytes

// linked makes Markdown that is safe already a link, if the address is one.
func linked(text, address string) string {
	if text == "" || len(address) > maxAddress || !addressForm.MatchString(address) {
		return text
	}
	return "[" + text + "](" + address + ")"
}

// fence puts lines into a code block that they can't leave.
func fence(lines []string) string {
	body := text(strings.Join(lines, "\n"))
	body = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return -1
		}
		return r
	}, body)
	marks := strings.Repeat("`", max(3, longestRun(body, '`')+1))
	return marks + "text\n" + body + "\n" + marks + "\n"
}

func longestRun(s string, mark rune) int {
	longest, run := 0, 0
	for _, r := range s {
		if r != mark {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// defang keeps the Markdown that a kind of job wrote, but not what could reach beyond it: mentions, HTML, and a code block
// left open. Only in code that is certainly code does HTML stay as it is; mentions are taken apart even there.
//
// Certain are blocks whose fence begins its line: no list and no quote goes on across that line, so none can end the block
// sooner than it looks. A fence that is set in may lie in a list, so nothing after it is certain. Nor are code spans, which
// may begin and end lines away.
func defang(markdown string) string {
	markdown = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text(markdown)) // all three end a line
	var b strings.Builder
	open, certain := "", true
	for line := range strings.Lines(unmention(markdown)) {
		line = strings.TrimSuffix(line, "\n")
		after := fenceAfter(open, line)
		if open == "" && after != "" && strings.HasPrefix(line, " ") {
			certain = false
		}
		if open == "" || !certain {
			line = withoutHTML.Replace(line)
		}
		open = after
		b.WriteString(line)
		b.WriteByte('\n')
	}
	if open != "" {
		b.WriteString(open + "\n")
	}
	return b.String()
}

// withoutHTML takes apart what begins HTML, and the character references that stand for an @. It looks the same then, in code and
// elsewhere.
var withoutHTML = strings.NewReplacer("<", "<"+wordJoiner, "&#", "&"+wordJoiner+"#", "&commat", "&"+wordJoiner+"commat")

// unmention takes apart what GitHub would take for a mention: an @ that follows no letter or digit. That leaves the one in
// image@sha256:… alone, which people copy. An underscore may be emphasis, which shows as nothing.
func unmention(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[i])
		if s[i] == '@' && !(i > 0 && wordByte(s[i-1])) {
			b.WriteString(wordJoiner)
		}
	}
	return b.String()
}

func wordByte(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// fenceMarks returns the backticks or tildes that open or close a code block on this line, or "".
func fenceMarks(line string) string {
	trimmed := strings.TrimLeft(line, " ")
	if len(line)-len(trimmed) > 3 {
		return ""
	}
	for _, mark := range []string{"`", "~"} {
		rest := strings.TrimLeft(trimmed, mark)
		marks := trimmed[:len(trimmed)-len(rest)]
		if len(marks) >= 3 && !(mark == "`" && strings.Contains(rest, "`")) {
			return marks
		}
	}
	return ""
}

// cutMarkdown cuts a text of several lines to at most limit bytes, at a line's end where one is near, closes a code block
// that was cut through, and says that something is missing.
func cutMarkdown(s string, limit int, note string) string {
	if len(s) <= limit {
		return s
	}
	tail := "\n\n" + note + "\n"
	for room := limit - len(tail); room > 0; {
		kept := cutLines(s, room)
		end := tail
		if open := openFence(kept); open != "" {
			end = "\n" + open + tail
		}
		if kept = strings.TrimRight(kept, "\n"); len(kept)+len(end) <= limit {
			return kept + end
		}
		room -= len(end) - len(tail) // for the marks that close the block
	}
	return jobs.Cut(note, limit)
}

// cutLines cuts to at most n bytes: at a line's end if that leaves more than half, else at a rune's edge.
func cutLines(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	s = s[:n]
	if end := strings.LastIndexByte(s, '\n'); end > n/2 {
		return s[:end+1]
	}
	return s
}

// openFence returns the marks of the code block that is open at the text's end, or "".
func openFence(markdown string) string {
	open := ""
	for line := range strings.Lines(markdown) {
		open = fenceAfter(open, strings.TrimRight(line, "\r\n"))
	}
	return open
}

// fenceAfter returns the marks of the code block that is open after a line, given those before it.
func fenceAfter(open, line string) string {
	marks := fenceMarks(line)
	switch {
	case open == "":
		return marks
	case marks != "" && marks[0] == open[0] && len(marks) >= len(open) && strings.Trim(line, " \t") == marks:
		return ""
	}
	return open
}

// took says a duration as people do: 0.4 s, 12 s, 2 min 10 s, 1 h 5 min.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Truncate(time.Second).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}
