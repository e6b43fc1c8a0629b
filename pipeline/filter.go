package pipeline

import (
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// defaultWord stands for the repository's default branch in lists of branch patterns.
const defaultWord = "$default"

// A filter is an ordered list of patterns. As at GitHub, the last pattern that fits a name decides, and a pattern
// that begins with ! says no.
type filter []filterPattern

type filterPattern struct {
	text  string // as written
	no    bool
	glob  *glob // nil for $default
	isDef bool
}

// parseFilter takes a list of patterns apart. branches allows $default. It returns an error for each pattern that is
// none, by its index, and one under -1 when the list makes no sense.
func parseFilter(patterns []string, branches bool) (filter, map[int]error) {
	f := make(filter, 0, len(patterns))
	errs := map[int]error{}
	anyYes := len(patterns) == 0
	for i, text := range patterns {
		rest, no := strings.CutPrefix(text, "!")
		anyYes = anyYes || !no
		p := filterPattern{text: text, no: no, isDef: branches && rest == defaultWord}
		if !p.isDef {
			g, err := parseGlob(rest)
			if err != nil {
				errs[i] = fmt.Errorf("pattern %q can't be used: %w", shorten(text), err)
				continue
			}
			p.glob = g
		}
		f = append(f, p)
	}
	if !anyYes {
		errs[-1] = errors.New(`patterns that begin with ! only take away: put one without ! before them, such as "**"`)
	}
	return f, errs
}

// match reports whether the name passes, and the pattern that decided; the pattern is "" when none fits.
func (f filter) match(name, defaultBranch string) (ok bool, pattern string) {
	for i := len(f) - 1; i >= 0; i-- {
		p := f[i]
		var fits bool
		if p.isDef {
			fits = defaultBranch != "" && name == defaultBranch
		} else {
			fits = p.glob.match(name)
		}
		if fits {
			return !p.no, p.text
		}
	}
	return false, ""
}

// matchFiles returns the first file that passes, and the pattern that let it.
func (f filter) matchFiles(files []string) (file, pattern string) {
	for _, name := range files {
		if ok, p := f.match(name, ""); ok {
			return name, p
		}
	}
	return "", ""
}

// String lists the patterns as a person would write them, cut where they would fill a page.
func (f filter) String() string {
	texts := make([]string, len(f))
	for i, p := range f {
		texts[i] = p.text
	}
	return "[" + jobs.Cut(strings.Join(texts, ", "), 200) + "]"
}

// MatchAny reports whether the name passes a list of patterns, case-sensitively, and the pattern that decided. As in
// GitHub's workflow filters the last pattern that fits decides, and one that begins with ! says no. A pattern that is
// none fits nothing. $default is expanded by whoever knows the repository; here it is only a text.
func MatchAny(patterns []string, name string) (ok bool, pattern string) {
	for i := len(patterns) - 1; i >= 0; i-- {
		rest, no := strings.CutPrefix(patterns[i], "!")
		if Match(rest, name) {
			return !no, patterns[i]
		}
		// A refusal that can't be read must not become a permission.
		if _, err := parseGlob(rest); no && err != nil {
			return false, patterns[i]
		}
	}
	return false, ""
}

// Allows is MatchAny for who does not ask for the pattern.
func Allows(patterns []string, name string) bool {
	ok, _ := MatchAny(patterns, name)
	return ok
}
