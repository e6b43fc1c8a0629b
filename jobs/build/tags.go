package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	maxTag   = 128 // bytes; distribution's reference grammar
	slugHash = 8   // hex digits of a slug's hash
)

var (
	shaForm  = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)
	hashEnd  = regexp.MustCompile(`-[0-9a-f]{8}$`)
	notInTag = regexp.MustCompile(`[^A-Za-z0-9_.]+`) // runs of "-" count, so that they become one
	// looksLikeVersion holds for 7, 1.2, v1.2.3, 1.2.3-rc.1: what a Git tag's policy may produce, or what people
	// would take for it. 123-fix-login doesn't look like one.
	looksLikeVersion = regexp.MustCompile(`^[vV]?[0-9]+(\.[0-9]+)*$|^[vV]?[0-9]+\.[0-9]+\.[0-9]+[-+._].*$`)
	releaseForm      = regexp.MustCompile(`^v?(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})(-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$`)
)

// Tags decides an image's tags for a run. Immutable tags name one commit and are set whatever else happened; moving
// tags name the newest of something and may only be set by the newest run. extra are the tags that the pipeline adds; they
// move, and count only where NotMoved has nothing to say.
//
//	push to the default branch   sha-<12>   latest
//	push to another branch       sha-<12>   the branch's slug
//	pull request                            the head branch's slug (not for forks), pr-<number>
//	merge queue's head           sha-<12>
//	Git tag v1.2.3                          1.2.3, 1.2, 1 (the last two only upward, and not for prereleases)
//	any other Git tag                       the tag's slug
//
// The error is a *jobs.Refusal about extra, or about a run that names no commit.
func Tags(run jobs.RunInfo, extra []string) (immutable, moving []string, err error) {
	if !shaForm.MatchString(run.SHA) {
		return nil, nil, fmt.Errorf("commit %q of run %s is no full SHA", run.SHA, run.ID)
	}
	switch {
	case queued(run):
		immutable = append(immutable, "sha-"+run.SHA[:12])
	case run.PullRequest > 0:
		if !run.Fork && run.Branch != "" {
			moving = append(moving, slug(run.Branch))
		}
		moving = append(moving, "pr-"+strconv.Itoa(run.PullRequest))
	case run.Tag != "":
		if v, ok := parseRelease(run.Tag); ok {
			moving = append(moving, v.String())
			if !run.Prerelease {
				moving = append(moving, v.lines()...)
			}
		} else {
			moving = append(moving, slug(run.Tag))
		}
	default:
		immutable = append(immutable, "sha-"+run.SHA[:12])
		if run.OnDefaultBranch() {
			moving = append(moving, "latest")
		} else if run.Branch != "" {
			moving = append(moving, slug(run.Branch))
		}
	}
	if len(extra) > jobs.MaxExtraTags {
		return nil, nil, &jobs.Refusal{Sentence: fmt.Sprintf("the build asks for %d further tags; at most %d are possible", len(extra), jobs.MaxExtraTags)}
	}
	for _, t := range extra {
		if message := jobs.CheckExtraTag(t); message != "" {
			return nil, nil, &jobs.Refusal{Sentence: message}
		}
		if movesExtra(run) && !slices.Contains(moving, t) {
			moving = append(moving, t)
		}
	}
	return immutable, moving, nil
}

// NotMoved says which tags that the pipeline adds a run leaves alone, or returns "".
func NotMoved(run jobs.RunInfo, extra []string) string {
	if len(extra) == 0 || movesExtra(run) {
		return ""
	}
	return "not moved by pull requests and merge queues: " + strings.Join(extra, ", ")
}

// movesExtra reports whether a run sets the tags that the pipeline adds. They tell people what is the newest of something, as
// latest does, so only what is in the repository for good moves them: not a pull request's run, whoever asked for it, nor a merge
// queue's head, which may never be merged.
func movesExtra(run jobs.RunInfo) bool {
	return run.Trust.Level == jobs.Trusted && run.PullRequest == 0 && !queued(run)
}

// queued reports whether a run is on a merge queue's head: for the queue, or because somebody asked for it on the branch that GitHub
// keeps the head on meanwhile.
func queued(run jobs.RunInfo) bool {
	return run.Event == jobs.EventMergeGroup || strings.HasPrefix(run.Branch, "gh-readonly-queue/") && run.PullRequest == 0
}

// slug makes a tag of a branch's or Git tag's name. Different names give different slugs (but for a collision of the
// hash): a name that had to be changed, that is reserved, or that could be taken for a version or for a hashed slug
// gets a short hash of itself.
func slug(name string) string {
	s := strings.Trim(notInTag.ReplaceAllString(name, "-"), "-")
	s = strings.TrimLeft(s, ".-")
	if s != "" && s == name && len(s) <= maxTag && !reserved(s) && !looksLikeVersion.MatchString(s) && !hashEnd.MatchString(s) {
		return s
	}
	if s == "" {
		s = "ref"
	}
	if most := maxTag - 1 - slugHash; len(s) > most {
		s = strings.TrimRight(s[:most], "-")
	}
	sum := sha256.Sum256([]byte(name))
	return s + "-" + hex.EncodeToString(sum[:])[:slugHash]
}

func reserved(tag string) bool {
	t := strings.ToLower(tag)
	return t == "latest" || strings.HasPrefix(t, "pr-") || strings.HasPrefix(t, "sha-")
}

// A release is a version as Git tags name it: v1.2.3 or 1.2.3-rc.1 (semver.org, without build metadata, which an
// image tag can't hold).
type release struct {
	major, minor, patch int
	pre                 string // with its dash; empty for a release proper
}

func parseRelease(tag string) (release, bool) {
	m := releaseForm.FindStringSubmatch(tag)
	if m == nil || len(tag) > maxTag {
		return release{}, false
	}
	n := func(s string) int { i, _ := strconv.Atoi(s); return i } // at most nine digits: can't fail
	return release{n(m[1]), n(m[2]), n(m[3]), m[4]}, true
}

func (v release) String() string {
	return fmt.Sprintf("%d.%d.%d%s", v.major, v.minor, v.patch, v.pre)
}

// lines are the tags that follow the newest release of a line: 1.2 and 1. A prerelease has none.
func (v release) lines() []string {
	if v.pre != "" {
		return nil
	}
	return []string{fmt.Sprintf("%d.%d", v.major, v.minor), strconv.Itoa(v.major)}
}

// onLine reports whether v is a release proper of the line, "1.2" or "1".
func (v release) onLine(line string) bool { return slices.Contains(v.lines(), line) }

func (v release) less(w release) bool {
	return slices.Compare([]int{v.major, v.minor, v.patch}, []int{w.major, w.minor, w.patch}) < 0
}

// newerOnLine finds a tag in existing that is a higher release of the line than v; "" when there is none. Only tags as
// this policy writes them count.
func newerOnLine(v release, line string, existing []string) string {
	newest := v
	for _, t := range existing {
		if w, ok := parseRelease(t); ok && w.String() == t && w.onLine(line) && newest.less(w) {
			newest = w
		}
	}
	if newest == v {
		return ""
	}
	return newest.String()
}
