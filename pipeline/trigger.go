package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// A trigger says which events start a job.
type trigger struct {
	usual bool // the file says nothing: pull requests, and pushes of the default branch
	push  *pushTrigger
	pull  *pullTrigger
	paths filter // of the job
}

// usualOn is how reasons name the trigger of a file that has none.
const usualOn = "the usual on (pull requests, and pushes of the default branch)"

type pushTrigger struct{ branches, tags, paths filter }

type pullTrigger struct {
	branches, paths filter
	types           []string
}

// usualTypes are what happens to a pull request that starts jobs without a word about types, as in GitHub Actions.
func usualTypes() []string { return actions()[:3] }

// readTrigger takes an on apart; without one it is the default. It returns nil when the on is not of the right form.
func (f *file) readTrigger(n *node, job string) *trigger {
	if n == nil {
		branch := filter{{text: defaultWord, isDef: true}}
		return &trigger{usual: true, push: &pushTrigger{branches: branch}, pull: &pullTrigger{types: usualTypes()}}
	}
	if n.kind != mapNode {
		return nil
	}
	f.report.job = job
	defer func() { f.report.job = "" }()
	t := &trigger{}
	if push := n.get("push"); push != nil {
		t.push = &pushTrigger{
			branches: f.readFilter(push.get("branches"), true),
			tags:     f.readFilter(push.get("tags"), false),
			paths:    f.readFilter(push.get("paths"), false),
		}
	}
	if pull := n.get("pull_request"); pull != nil {
		t.pull = &pullTrigger{
			branches: f.readFilter(pull.get("branches"), true),
			paths:    f.readFilter(pull.get("paths"), false),
			types:    usualTypes(),
		}
		var types []string
		if list := pull.get("types"); list != nil && list.into(&types) == nil {
			t.pull.types = types
		}
	}
	return t
}

// readFilter takes a list of patterns; a faulty one was or is reported.
func (f *file) readFilter(n *node, branches bool) filter {
	var patterns []string
	if n == nil || n.kind != listNode || n.into(&patterns) != nil {
		return nil
	}
	list, errs := parseFilter(patterns, branches)
	for _, i := range slices.Sorted(maps.Keys(errs)) {
		at := n
		if i >= 0 {
			at = n.items[i]
		}
		f.report.meaning(at, "%v", errs[i])
	}
	return list
}

// looksAtFiles reports whether the changed files decide if an event starts the job.
func (t *trigger) looksAtFiles(e jobs.Event) bool {
	if t == nil || e.Tag() != "" {
		return false
	}
	if ok, _ := t.matchEvent(e); !ok {
		return false
	}
	own, _ := t.eventPaths(e)
	return len(own) > 0 || len(t.paths) > 0
}

// match decides whether an event starts the job, and says why in a clause.
func (t *trigger) match(e jobs.Event, changes jobs.Changes) (bool, string) {
	ok, why := t.matchEvent(e)
	if !ok || e.Tag() != "" {
		return ok, why
	}
	own, name := t.eventPaths(e)
	if len(own)+len(t.paths) > 0 && !changes.Known {
		return true, why + "; changed files are not known, so all count as changed"
	}
	for _, paths := range []struct {
		filter filter
		name   string
	}{{own, name}, {t.paths, "paths"}} {
		if len(paths.filter) == 0 {
			continue
		}
		file, pattern := paths.filter.matchFiles(changes.Files)
		if file == "" {
			return false, fmt.Sprintf("no changed file matches %s %s", paths.name, paths.filter)
		}
		why += fmt.Sprintf("; changed %s matches %s %s", shorten(file), paths.name, pattern)
	}
	return true, why
}

// eventPaths is the path filter of an event that matchEvent let through, and what it is called.
func (t *trigger) eventPaths(e jobs.Event) (filter, string) {
	if e.Kind == jobs.EventPullRequest {
		return t.pull.paths, "on.pull_request.paths"
	}
	return t.push.paths, "on.push.paths"
}

// matchEvent is match without the changed files.
func (t *trigger) matchEvent(e jobs.Event) (bool, string) {
	switch {
	case e.Kind == jobs.EventPullRequest && e.PullRequest != nil:
		return t.matchPull(e)
	case e.Kind != jobs.EventPush:
		return false, fmt.Sprintf("a %s event starts no job in this version", e.Kind)
	case t.push == nil:
		return false, "on names no push"
	case e.Branch() != "":
		return t.matchRef(e, "branch", e.Branch(), t.push.branches, len(t.push.tags) > 0, "tags")
	case e.Tag() != "":
		return t.matchRef(e, "tag", e.Tag(), t.push.tags, len(t.push.branches) > 0, "branches")
	}
	return false, fmt.Sprintf("%s is neither a branch nor a tag", shorten(e.Ref))
}

// matchRef holds a pushed branch or tag against its own patterns; others is whether the on has patterns of the other
// sort only.
func (t *trigger) matchRef(e jobs.Event, sort, name string, f filter, others bool, other string) (bool, string) {
	key := map[string]string{"branch": "branches", "tag": "tags"}[sort]
	switch {
	case t.usual && sort == "tag":
		return false, fmt.Sprintf("tag %s was pushed, and %s names no tags", shorten(name), usualOn)
	case len(f) == 0 && others:
		return false, fmt.Sprintf("%s %s was pushed, and on.push names %s only", sort, shorten(name), other)
	case len(f) == 0:
		return true, fmt.Sprintf("push of %s %s matches on.push", sort, shorten(name))
	}
	ok, pattern := f.match(name, e.Repository.DefaultBranch)
	switch {
	case ok && t.usual:
		return true, fmt.Sprintf("push of the default branch %s matches %s", shorten(name), usualOn)
	case ok:
		return true, fmt.Sprintf("push of %s %s matches on.push.%s %s", sort, shorten(name), key, pattern)
	case t.usual:
		return false, fmt.Sprintf("branch %s does not match %s", shorten(name), usualOn)
	case pattern != "":
		return false, fmt.Sprintf("%s %s is taken out by %s in on.push.%s", sort, shorten(name), pattern, key)
	}
	return false, fmt.Sprintf("%s %s does not match on.push.%s %s", sort, shorten(name), key, f)
}

func (t *trigger) matchPull(e jobs.Event) (bool, string) {
	pr := e.PullRequest
	what := fmt.Sprintf("pull request #%d into %s", pr.Number, shorten(pr.BaseRef))
	switch {
	case t.pull == nil:
		return false, "on names no pull_request"
	case !slices.Contains(t.pull.types, e.Action):
		return false, fmt.Sprintf("%s was %s, which is not among on.pull_request.types [%s]", what, shorten(e.Action), strings.Join(t.pull.types, ", "))
	case t.usual:
		return true, fmt.Sprintf("%s matches %s", what, usualOn)
	case len(t.pull.branches) == 0:
		return true, fmt.Sprintf("%s matches on.pull_request", what)
	}
	ok, pattern := t.pull.branches.match(pr.BaseRef, e.Repository.DefaultBranch)
	switch {
	case ok:
		return true, fmt.Sprintf("%s matches on.pull_request.branches %s", what, pattern)
	case pattern != "":
		return false, fmt.Sprintf("%s is taken out by %s in on.pull_request.branches", what, pattern)
	}
	return false, fmt.Sprintf("%s does not match on.pull_request.branches %s", what, t.pull.branches)
}
