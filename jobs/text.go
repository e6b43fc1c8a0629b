package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Abbreviate shortens a commit's SHA to the 12 characters that Slipway shows and tags with.
func Abbreviate(sha string) string {
	if len(sha) > 12 {
		return sha[:12]
	}
	return sha
}

// short is a ref as people say it.
func short(ref string) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			return name
		}
	}
	if number, ok := strings.CutPrefix(ref, "refs/pull/"); ok {
		return "#" + strings.TrimSuffix(number, "/head")
	}
	return ref
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

var markdownEscapes = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "#", `\#`, "~", `\~`, "|", `\|`,
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b", "\n", " ", "\r", " ")

// EscapeMarkdown makes a text a part of one line of Markdown, also within a table, that shows it as it is and mentions nobody.
func EscapeMarkdown(s string) string { return markdownEscapes.Replace(s) }

// Duration is a time as people write it, without parts that are zero at its end: 30s, 1m30s, 2m, 24h.
func Duration(d time.Duration) string {
	text := d.String()
	for _, zeros := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zeros) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// digest makes a key of any name.
func digest(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// tokenForm matches GitHub's tokens in both of their formats, the long ghs_<app>_<JWT> included
// (docs.github.com, "About authentication to GitHub": token formats), and those of Slipway's API.
var tokenForm = regexp.MustCompile(`\b(gh[pousr]_[A-Za-z0-9_.-]{20,}|github_pat_[A-Za-z0-9_]{20,}|slp_[a-z0-9]{8,20}_[0-9a-f]{32,})`)

// NewMask returns a function that hides tokens of GitHub and of our API, and the given secrets in a text. Secrets shorter than 6
// characters are left alone: hiding them would garble the text and say what they are.
func NewMask(secrets []string) func(string) string {
	var known []string
	for _, s := range secrets {
		if s = strings.TrimSpace(s); len(s) >= 6 {
			known = append(known, s)
		}
	}
	// The longest first: where several begin, the replacer takes the one it was given first.
	slices.SortFunc(known, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range known {
		pairs = append(pairs, s, "***")
	}
	literal := strings.NewReplacer(pairs...)
	return func(text string) string {
		if strings.Contains(text, "gh") || strings.Contains(text, "github_pat_") || strings.Contains(text, "slp_") {
			text = tokenForm.ReplaceAllString(text, "***")
		}
		return literal.Replace(text)
	}
}
