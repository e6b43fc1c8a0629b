package pipeline

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// The examples of GitHub's own page (docs.github.com, "Workflow syntax", filter pattern cheat sheet), and what lies
// between them.
func TestMatch(t *testing.T) {
	for _, tt := range []struct{ pattern, yes, no string }{
		// branches and tags
		{"feature/*", "feature/my-branch feature/your-branch", "feature feature/beta-a/my-branch xfeature/a"},
		{"feature/**", "feature/beta-a/my-branch feature/your-branch feature/mona/the/octocat", "feature xfeature/a"},
		{"main", "main", "maine amain Main"},
		{"releases/mona-the-cat", "releases/mona-the-cat", "releases/mona"},
		{"*", "main releases", "all/the/branches"},
		{"**", "all/the/branches every/tag main", ""},
		{"*feature", "mona-feature feature ver-10-feature", "feature-x a/feature"},
		{"v2*", "v2 v2.0 v2.9", "v1 av2 v2/a"},
		{"v[12].[0-9]+.[0-9]+", "v1.10.1 v2.0.0", "v3.0.0 v1.10 v1.10.x v1..1 v1.10.1-rc"},
		// paths
		{"*.jsx?", "page.js page.jsx", "page.jsxx a/page.js page.jx"},
		{"**.js", "index.js js/index.js src/js/app.js", "index.jsx"},
		{"*.js", "app.js index.js", "js/index.js"},
		{"docs/*", "docs/README.md docs/file.txt", "docs docs/a/b README.md"},
		{"docs/**", "docs/README.md docs/mona/octocat.txt", "docs xdocs/a"},
		{"docs/**/*.md", "docs/README.md docs/mona/hello-world.md docs/a/markdown/file.md", "README.md docs/a.txt adocs/README.md"},
		{"**/docs/**", "docs/hello.md dir/docs/my-file.txt space/docs/plan/space.doc", "docs adocs/x docsx/y"},
		{"**/README.md", "README.md js/README.md a/b/README.md", "xREADME.md js/xREADME.md README.md/a"},
		{"**/*src/**", "a/src/app.js my-src/code/js/app.js src/x", "src asrcb/x"},
		{"**/*-post.md", "my-post.md path/their-post.md", "post.md my-post.txt"},
		{"**/migrate-*.sql", "migrate-10909.sql db/migrate-v1.0.sql db/sept/migrate-v1.sql", "migrate.sql db/migrate-a/b.sql"},
		// between them
		{"a+b", "ab aaab", "b a+b"},
		{"a?b", "ab b", "aab a?b"},
		{"[ab]+c", "ac abbac", "c adc"},
		{"[a-cX9]", "a b c X 9", "d x 8 ab"},
		{"[._-]x", ".x _x -x", "ax x"},
		{`\*\?\+\[\]\!`, "*?+[]!", "a"},
		{`\a`, "a", `\a`},
		{"a**b", "ab axb a/x/b", "ac"},
		{"a/**/b", "a/b a/x/b a/x/y/b", "ab a/xb axb a//"},
		{"**/**/a", "a x/a x/y/a", "xa"},
		{"a/**", "a/", "a"},
		{"***", "a a/b", ""},
		{"***/a", "a b/a", "ba"},
		{"é?", "é", "e éé"},
		{"[é]x", "éx", "ex"},
		{"a/*/b", "a/x/b a//b", "a/x/y/b a/b"},
		{"!x", "!x", "x"},
		{"", "", "a"},
		{"[", "", "["},
		{strings.Repeat("a", maxPattern+1), "", strings.Repeat("a", maxPattern+1)},
	} {
		for name := range strings.FieldsSeq(tt.yes) {
			if !Match(tt.pattern, name) {
				t.Errorf("%q must match %q", tt.pattern, name)
			}
		}
		for name := range strings.FieldsSeq(tt.no) {
			if Match(tt.pattern, name) {
				t.Errorf("%q must not match %q", tt.pattern, name)
			}
		}
	}
}

func TestMatchAny(t *testing.T) {
	for _, tt := range []struct {
		patterns string
		name     string
		ok       bool
		pattern  string
	}{
		{"a b", "b", true, "b"},
		{"** !secret/**", "secret/x", false, "!secret/**"},
		{"** !secret/** secret/ok", "secret/ok", true, "secret/ok"},
		{"!a a", "a", true, "a"},
		{"a !a", "a", false, "!a"},
		{"x", "a", false, ""},
		{"", "a", false, ""},
		// A refusal that can't be read refuses; a permission that can't be read permits nothing.
		{"** ![", "a", false, "!["},
		{"[", "a", false, ""},
		// $default has a meaning only where the repository is known.
		{"$default", "main", false, ""},
	} {
		ok, pattern := MatchAny(strings.Fields(tt.patterns), tt.name)
		if ok != tt.ok || pattern != tt.pattern {
			t.Errorf("MatchAny(%s, %s) = %v, %q; want %v, %q", tt.patterns, tt.name, ok, pattern, tt.ok, tt.pattern)
		}
	}
}

// A name put into a pattern is that name and nothing else.
func TestEscapeGlob(t *testing.T) {
	for _, name := range []string{"main", "m+n", "a*b", "[a]", "a?b", `a\b`, "!x", "$default", "x!y", "é*", "**/a"} {
		pattern := escapeGlob(name)
		if !Match(pattern, name) {
			t.Errorf("%q escaped as %q does not match itself", name, pattern)
		}
		for _, other := range []string{"", "a", "b", "main", "mn", "mmn", "ab", "x", "aXb", "x/a"} {
			if other != name && Match(pattern, other) {
				t.Errorf("%q escaped as %q matches %q", name, pattern, other)
			}
		}
		if ok, _ := MatchAny([]string{pattern}, name); !ok {
			t.Errorf("%q escaped as %q does not match in a list", name, pattern)
		}
	}
}

func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{{"**/*src/**", "a/src/b"}, {"v[12].[0-9]+", "v1.22"}, {`\*a?`, "*"}, {"a+b?[x-z]+", "aabxyz"}, {"***/", "a/"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := Match(pattern, name)
		if _, err := parseGlob(pattern); err != nil && got {
			t.Errorf("%q is no pattern (%v) and matches %q", pattern, err, name)
		}
		if name != "" && len(name) < 100 && utf8.ValidString(name) && !Match(escapeGlob(name), name) {
			t.Errorf("%q escaped does not match itself", name)
		}
		if len(name) < maxPattern && utf8.ValidString(name) && !Match("**", name) {
			t.Errorf("** does not match %q", name)
		}
		if want, ok := slowMatch(pattern, name); ok && want != got {
			t.Errorf("Match(%q, %q) = %v, the slow way says %v", pattern, name, got, want)
		}
	})
}

// slowMatch is the dialect written down once more, as plainly as possible: by trying everything.
func slowMatch(pattern, name string) (matched, decided bool) {
	g, err := parseGlob(pattern)
	if err != nil || len(pattern) > 20 || len(name) > 20 || !utf8.ValidString(name) {
		return false, false
	}
	if g.plain {
		return pattern == name, true
	}
	name, ok := strings.CutPrefix(name, g.literal)
	if !ok {
		return false, true
	}
	var try func(i int, rest []rune) bool
	try = func(i int, rest []rune) bool {
		if i == len(g.atoms) {
			return len(rest) == 0
		}
		a := g.atoms[i]
		switch a.kind {
		case atomSegment, atomAny:
			for n := 0; n <= len(rest); n++ {
				if try(i+1, rest[n:]) {
					return true
				}
				if n < len(rest) && a.kind == atomSegment && rest[n] == '/' {
					return false
				}
			}
			return false
		case atomEnter:
			if try(i+2, rest) {
				return true
			}
			for n, r := range rest {
				if r == '/' && try(i+2, rest[n+1:]) {
					return true
				}
			}
			return false
		}
		if a.optional && try(i+1, rest) {
			return true
		}
		for n := 0; n < len(rest) && a.takes(rest[n]); n++ {
			if try(i+1, rest[n+1:]) {
				return true
			}
			if !a.repeat {
				break
			}
		}
		return false
	}
	return try(0, []rune(name)), true
}
