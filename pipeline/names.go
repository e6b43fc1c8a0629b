package pipeline

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

var (
	jobName = regexp.MustCompile(jobNameForm)
	// github.com/distribution/reference: host and port, and the components of a repository's name.
	hostForm  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*(:[0-9]{1,5})?$`)
	imageForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	labelForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`) // RFC 1123 label, as Kubernetes takes it
	platform  = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?$`)
	argForm   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	envForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
)

// Bounds of a rollout's timeout.
const (
	minTimeout     = 10 * time.Second
	maxTimeout     = 30 * time.Minute
	defaultTimeout = 5 * time.Minute
)

// SplitImage takes registry.example.com/name apart. Its errors are clauses for people.
func SplitImage(image string) (registry, name string, err error) {
	registry, name, found := strings.Cut(image, "/")
	switch {
	case strings.Contains(image, "@"):
		return "", "", errors.New("must not carry a digest: name the image only")
	case !found || !strings.ContainsAny(registry, ".:") && registry != "localhost":
		return "", "", errors.New("names no registry: write it as registry.example.com/name")
	case strings.Contains(name, ":"):
		return "", "", errors.New("must not carry a tag: tags have a list of their own")
	case !hostForm.MatchString(registry):
		return "", "", fmt.Errorf("has a registry %q that is no host name", registry)
	case name != strings.ToLower(name):
		return "", "", errors.New("must be in lower case (in ${{ }}: .lowerAscii())")
	case len(name) > 200 || !imageForm.MatchString(name):
		return "", "", errors.New("must be lower-case letters and digits, separated by one of . _ - or /")
	}
	return registry, name, nil
}

// checkPath says what is wrong with a path from the repository's root, or "".
func checkPath(p string) string {
	switch {
	case p == "":
		return "is empty"
	case strings.HasPrefix(p, "/"), strings.Contains(p, "://"):
		return "must be relative to the repository's root"
	case strings.ContainsAny(p, "\\"):
		return "must have / between folders"
	case strings.ContainsAny(p, "\x00\n\r"):
		return "must be one line"
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return "must not climb with .."
		}
	}
	if clean := path.Clean(p); clean == ".git" || strings.HasPrefix(clean, ".git/") {
		return "must not be Git's own folder"
	}
	return ""
}

// checkLabel says what is wrong with a name that Kubernetes is given, or "".
func checkLabel(s string, longest int) string {
	if len(s) > longest || !labelForm.MatchString(s) {
		return fmt.Sprintf("must be 1 to %d lower-case letters, digits and -, beginning and ending with a letter or digit", longest)
	}
	return ""
}

// checkTimeout says what is wrong with a timeout, or "".
func checkTimeout(s string, least, most time.Duration) string {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return "must be a time such as 90s or 5m"
	case d < least || d > most:
		return fmt.Sprintf("must be between %s and %s", jobs.Duration(least), jobs.Duration(most))
	}
	return ""
}

// suggest returns " (did you mean X?)" when one of the known words is near, or else "".
func suggest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if strings.EqualFold(k, strings.ReplaceAll(word, "-", "_")) {
			return fmt.Sprintf(" (did you mean %s?)", k)
		}
		if d := distance(word, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance is the Levenshtein distance of two words; long ones are not compared.
func distance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 40
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// shorten shortens what a stranger wrote before it is quoted.
func shorten(s string) string { return jobs.Cut(s, 80) }
