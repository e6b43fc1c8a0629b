package webhook

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/jobs"
)

// keyForm begins a value that is given by name.
var keyForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}=`)

// arguments splits what follows a command's name: values by position, and values by name. Quotes count at the start of a
// value only, so that "don't" is a word; within double quotes a backslash keeps " and \ as they are.
func arguments(rest string) (args []string, named map[string]string, fault string) {
	if fault := unseen(rest); fault != "" {
		return nil, nil, fault
	}
	for n := 0; rest != ""; n++ {
		if n == maxWords {
			return nil, nil, fmt.Sprintf("there are more than %d arguments", maxWords)
		}
		key := keyForm.FindString(rest)
		value, after, fault := value(rest[len(key):])
		if fault != "" {
			return nil, nil, fault
		}
		rest = strings.TrimLeftFunc(after, unicode.IsSpace)
		if key == "" {
			args = append(args, value)
			continue
		}
		key = strings.TrimSuffix(key, "=")
		if _, twice := named[key]; twice {
			return nil, nil, key + " is given twice"
		}
		if named == nil {
			named = map[string]string{}
		}
		named[key] = value
	}
	return args, named, ""
}

// value takes one value off the front of a text.
func value(s string) (v, after, fault string) {
	switch first, _ := utf8.DecodeRuneInString(s); first {
	case '"', '\'':
		return quotedValue(s)
	case '“', '”', '„', '‘', '’', '«', '»':
		return "", "", fmt.Sprintf("only straight quotes group words: write \" or ' in place of %c", first)
	}
	if i := strings.IndexFunc(s, unicode.IsSpace); i >= 0 {
		return s[:i], s[i:], ""
	}
	return s, "", ""
}

func quotedValue(s string) (v, after, fault string) {
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			after = s[i+1:]
			if next, _ := utf8.DecodeRuneInString(after); after != "" && !unicode.IsSpace(next) {
				return "", "", fmt.Sprintf("a blank is missing after the closing %c of %s", quote, quoted(s[:i+1]))
			}
			return b.String(), after, ""
		case quote == '"' && s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", fmt.Sprintf("the quote that begins %s is never closed with %c", quoted(s), quote)
}

// unseen refuses a text with characters that nobody sees: what is carried out must be what was read.
func unseen(s string) (fault string) {
	for _, r := range s {
		switch {
		case r == utf8.RuneError:
			return "the line holds a character that is not valid UTF-8"
		case unicode.IsControl(r) && !unicode.IsSpace(r),
			unicode.Is(unicode.Bidi_Control, r),
			r == '\u200b', r == '\u2060', r == '\ufeff', r == '\u00ad':
			return fmt.Sprintf("the line holds a character that can't be seen (U+%04X); write it anew", r)
		}
	}
	return ""
}

// quoted shows a stranger's text in a sentence.
func quoted(s string) string { return strconv.Quote(jobs.Cut(s, 60)) }
