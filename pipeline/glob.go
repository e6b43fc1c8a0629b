package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxPattern is the longest pattern in bytes. With it, matching takes time linear in the name.
const maxPattern = 255

// A glob is one pattern of GitHub's dialect of workflow filters, taken apart.
//
// The dialect (docs.github.com, "Workflow syntax", filter pattern cheat sheet):
//
//   - any characters except /
//     **     any characters; **/ at the start of a pattern or after a / also stands for nothing
//     ?      zero or one of the preceding character
//   - one or more of the preceding character
//     [a-z]  one of the listed characters; ranges only within a-z, A-Z and 0-9
//     \x     the character x itself
//
// A leading ! is not part of a pattern: it is what a filter (see filter.go) makes of it.
type glob struct {
	atoms   []atom // of what follows literal
	literal string // what every name begins with
	plain   bool   // and nothing follows
}

// An atom is one step of a glob.
type atom struct {
	kind     atomKind
	char     rune
	class    string // pairs of first and last character, each pair one range
	optional bool   // may be passed over
	repeat   bool   // may be taken again
}

type atomKind uint8

const (
	atomChar atomKind = iota
	atomClass
	atomSegment // *
	atomAny     // **
	atomInside  // within the folders of a **/: any characters up to a /
	atomEnter   // the start of a **/: goes inside, or past it
)

// parseGlob takes a pattern apart. Its errors are clauses for people.
func parseGlob(pattern string) (*glob, error) {
	switch {
	case pattern == "":
		return nil, errors.New("the pattern is empty")
	case len(pattern) > maxPattern:
		return nil, fmt.Errorf("the pattern has %d bytes, more than %d", len(pattern), maxPattern)
	case !utf8.ValidString(pattern):
		return nil, errors.New("the pattern is not UTF-8")
	}
	special := strings.IndexAny(pattern, `*?+[]\`)
	if special < 0 {
		return &glob{literal: pattern, plain: true}, nil
	}
	if _, n := utf8.DecodeLastRuneInString(pattern[:special]); strings.ContainsRune("?+", rune(pattern[special])) {
		special -= n // it is about the character before it
	}
	g := &glob{literal: pattern[:special]}
	atStart := special == 0 || pattern[special-1] == '/' // of a segment
	for rest := pattern[special:]; rest != ""; {
		a, n, err := parseAtom(rest, atStart)
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
		if a.kind == atomEnter {
			g.atoms = append(g.atoms, a, atom{kind: atomInside})
			continue
		}
		if rest != "" && (rest[0] == '?' || rest[0] == '+') {
			if a.kind != atomChar && a.kind != atomClass {
				return nil, fmt.Errorf("%q has nothing to repeat: it must follow a character or [ ]", rest[:1])
			}
			a.optional, a.repeat = rest[0] == '?', rest[0] == '+'
			rest = rest[1:]
		}
		atStart = a.kind == atomChar && a.char == '/'
		g.atoms = append(g.atoms, a)
	}
	return g, nil
}

// parseAtom reads the first atom of rest, and says how many bytes it took.
func parseAtom(rest string, atStart bool) (atom, int, error) {
	switch c := rest[0]; c {
	case '*':
		if !strings.HasPrefix(rest, "**") {
			return atom{kind: atomSegment}, 1, nil
		}
		n := len(rest) - len(strings.TrimLeft(rest, "*"))
		if atStart && len(rest) > n && rest[n] == '/' {
			return atom{kind: atomEnter}, n + 1, nil
		}
		return atom{kind: atomAny}, n, nil
	case '?', '+':
		return atom{}, 0, fmt.Errorf("%q has nothing to repeat: it must follow a character or [ ]", rest[:1])
	case ']':
		return atom{}, 0, errors.New("] without [; write \\] for the character itself")
	case '[':
		return parseClass(rest)
	case '\\':
		if len(rest) == 1 {
			return atom{}, 0, errors.New("\\ at the end escapes nothing")
		}
		r, n := utf8.DecodeRuneInString(rest[1:])
		return atom{kind: atomChar, char: r}, 1 + n, nil
	}
	r, n := utf8.DecodeRuneInString(rest)
	return atom{kind: atomChar, char: r}, n, nil
}

// parseClass reads a [ ] at the start of rest.
func parseClass(rest string) (atom, int, error) {
	end := strings.IndexByte(rest, ']')
	if end < 0 {
		return atom{}, 0, errors.New("[ is never closed; write \\[ for the character itself")
	}
	chars := []rune(rest[1:end])
	if len(chars) == 0 {
		return atom{}, 0, errors.New("[] lists no character")
	}
	if chars[0] == '!' || chars[0] == '^' {
		return atom{}, 0, errors.New("[ ] can't be negated; begin the pattern with ! instead")
	}
	var class strings.Builder
	for i := 0; i < len(chars); i++ {
		first, last := chars[i], chars[i]
		if strings.ContainsRune(`[\`, first) {
			return atom{}, 0, fmt.Errorf("%q can't be listed in [ ]", first)
		}
		if i+2 < len(chars) && chars[i+1] == '-' {
			last = chars[i+2]
			if !sameRange(first, last) || first > last {
				return atom{}, 0, fmt.Errorf("%c-%c is no range: ranges go upwards within a-z, A-Z or 0-9", first, last)
			}
			i += 2
		}
		class.WriteRune(first)
		class.WriteRune(last)
	}
	return atom{kind: atomClass, class: class.String()}, end + 1, nil
}

func sameRange(a, b rune) bool {
	for _, r := range []string{"az", "AZ", "09"} {
		lo, hi := rune(r[0]), rune(r[1])
		if a >= lo && a <= hi && b >= lo && b <= hi {
			return true
		}
	}
	return false
}

// match reports whether the whole name fits. It walks all ways through the pattern at once, so its time is at worst
// len(name) times len(pattern).
func (g *glob) match(name string) bool {
	if g.plain {
		return name == g.literal
	}
	if !strings.HasPrefix(name, g.literal) {
		return false
	}
	var places [2][maxPattern + 1]bool
	n := len(g.atoms)
	here, next := places[0][:n+1], places[1][:n+1]
	here[0] = true
	g.pass(here)
	for _, r := range name[len(g.literal):] {
		clear(next)
		alive := false
		for i, on := range here[:n] {
			a := &g.atoms[i]
			if !on || !a.takes(r) {
				continue
			}
			alive = true
			if a.repeat || a.kind >= atomSegment {
				next[i] = true
			}
			if a.kind < atomSegment || a.kind == atomInside && r == '/' {
				next[i+1] = true
			}
		}
		if !alive {
			return false
		}
		g.pass(next)
		here, next = next, here
	}
	return here[n]
}

// takes reports whether the atom can stand for the character.
func (a *atom) takes(r rune) bool {
	switch a.kind {
	case atomChar:
		return r == a.char
	case atomSegment:
		return r != '/'
	case atomAny, atomInside:
		return true
	case atomClass:
		first, isFirst := rune(0), true
		for _, c := range a.class {
			if !isFirst && r >= first && r <= c {
				return true
			}
			first, isFirst = c, !isFirst
		}
	}
	return false
}

// pass marks every place that can be reached without taking a character.
func (g *glob) pass(here []bool) {
	for i, on := range here[:len(g.atoms)] {
		if !on {
			continue
		}
		switch a := &g.atoms[i]; {
		case a.kind == atomEnter:
			here[i+1], here[i+2] = true, true
		case a.optional, a.kind == atomSegment, a.kind == atomAny:
			here[i+1] = true
		}
	}
}

// Match reports whether the name fits the pattern, case-sensitively, in GitHub's dialect of workflow filters. A
// pattern that is none matches nothing. A leading ! has no meaning here; see MatchAny.
func Match(pattern, name string) bool {
	g, err := parseGlob(pattern)
	return err == nil && g.match(name)
}

// escapeGlob makes a pattern that matches exactly s.
func escapeGlob(s string) string {
	var b strings.Builder
	for i, r := range s {
		if strings.ContainsRune(`*?+[]\\`, r) || i == 0 && (r == '!' || r == '$') {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
