package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// defaultTriggers is how reasons name the trigger of a file that has none.
const defaultTriggers = "the default triggers (pull requests, and pushes to the default branch)"

// An answer is what a trigger says of an event.
type answer struct {
	ok  bool
	why string // a clause
	// files: the event's changed files decide, too, by paths and the job's own paths.
	files bool
	paths filter
	key   string // of paths
}

func no(format string, args ...any) answer { return answer{why: fmt.Sprintf(format, args...)} }

func yes(format string, args ...any) answer {
	return answer{ok: true, why: fmt.Sprintf(format, args...)}
}

// with makes changed files decide, too, by paths.
func (a answer) with(paths filter, key string) answer {
	a.files, a.paths, a.key = a.ok, paths, key
	return a
}

// looksAtFiles reports whether the changed files decide if an event starts a job.
func (j *job) looksAtFiles(e jobs.Event) bool {
	if j.trigger == nil {
		return false
	}
	a := j.matchEvent(e)
	return a.files && len(a.paths)+len(j.trigger.paths) > 0
}

// match decides whether an event starts a job, and says why in a clause. A job whose on can't be read is planned: it fails
// where people see it.
func (j *job) match(e jobs.Event, changes jobs.Changes) (bool, string) {
	if j.trigger == nil {
		return true, "its on can't be read, so it counts as matching"
	}
	a := j.matchEvent(e)
	own := j.trigger.paths
	switch {
	case !a.ok || !a.files || len(a.paths)+len(own) == 0:
		return a.ok, a.why
	case !changes.Known:
		return true, a.why + "; changed files are not known, so all count as changed"
	}
	why := a.why
	for _, paths := range []struct {
		filter filter
		name   string
	}{{a.paths, a.key}, {own, "paths"}} {
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

// matchEvent is match without the changed files.
func (j *job) matchEvent(e jobs.Event) answer {
	t := j.trigger
	switch {
	case e.Kind == jobs.EventPullRequest && e.PullRequest != nil:
		return t.matchPull(e)
	case e.Kind == jobs.EventMergeGroup && e.MergeGroup != nil:
		return j.matchQueue(e)
	case e.Kind == jobs.EventRelease && e.Release != nil:
		return t.matchRelease(*e.Release)
	case e.Kind == jobs.EventSchedule:
		return t.matchSchedule(e.Schedule)
	case e.Kind != jobs.EventPush:
		return no("a %s event starts no job by itself", e.Kind)
	case e.Branch() != "" && t.push == nil:
		return no("on names no push")
	case e.Branch() != "":
		return t.matchRef(e, "branch", e.Branch(), t.push.branches, len(t.push.tags) > 0, "tags").with(t.push.paths, "on.push.paths")
	case e.Tag() != "":
		return t.matchTag(e)
	}
	return no("%s is neither a branch nor a tag", shorten(e.Ref))
}

// matchTag holds a pushed tag against on.tag, and then on.push.
func (t *trigger) matchTag(e jobs.Event) answer {
	ok, pattern := t.tag.match(e.Tag(), "")
	switch {
	case ok:
		return yes("push of tag %s matches on.tag %s", shorten(e.Tag()), pattern)
	case t.push != nil:
		return t.matchRef(e, "tag", e.Tag(), t.push.tags, len(t.push.branches) > 0, "branches")
	case len(t.tag) > 0:
		return no("tag %s does not match on.tag %s", shorten(e.Tag()), t.tag)
	}
	return no("on names no push")
}

// matchRef holds a pushed branch or tag against its own patterns; others is whether the on has patterns of the other
// sort only.
func (t *trigger) matchRef(e jobs.Event, sort, name string, f filter, others bool, other string) answer {
	key := map[string]string{"branch": "branches", "tag": "tags"}[sort]
	switch {
	case t.byDefault && sort == "tag":
		return no("tag %s was pushed, and %s names no tags", shorten(name), defaultTriggers)
	case len(f) == 0 && others:
		return no("%s %s was pushed, and on.push names %s only", sort, shorten(name), other)
	case len(f) == 0:
		return yes("push of %s %s matches on.push", sort, shorten(name))
	}
	ok, pattern := f.match(name, e.Repository.DefaultBranch)
	switch {
	case ok && t.byDefault:
		return yes("push of the default branch %s matches %s", shorten(name), defaultTriggers)
	case ok:
		return yes("push of %s %s matches on.push.%s %s", sort, shorten(name), key, pattern)
	case t.byDefault:
		return no("branch %s does not match %s", shorten(name), defaultTriggers)
	case pattern != "":
		return no("%s %s is taken out by %s in on.push.%s", sort, shorten(name), pattern, key)
	}
	return no("%s %s does not match on.push.%s %s", sort, shorten(name), key, f)
}

// matchPull holds a pull request against on.pull_request, and a label that was just put on it against on.label.
func (t *trigger) matchPull(e jobs.Event) answer {
	pr := e.PullRequest
	what := fmt.Sprintf("pull request #%d into %s", pr.Number, shorten(pr.BaseRef))
	if e.Action == "labeled" {
		if !slices.Contains(pr.Labels, e.Label) {
			return no("the label %s was taken from %s by now", shorten(e.Label), what)
		}
		if ok, pattern := t.label.match(e.Label, ""); ok {
			return yes("%s was given the label %s, which matches on.label %s", what, shorten(e.Label), pattern).with(nil, "")
		}
	}
	switch {
	case t.pull == nil && len(t.label) > 0:
		return no("%s was %s, and on waits for a label %s", what, shorten(e.Action), t.label)
	case t.pull == nil:
		return no("on names no pull_request")
	}
	a := t.pull.matchAction(e, what)
	if !a.ok {
		return a
	}
	if a = t.matchBase(e, what); a.ok && len(t.pull.labels) > 0 {
		_, pattern := t.pull.labelled(e)
		a.why += "; its label matches on.pull_request.labels " + pattern
	}
	return a.with(t.pull.paths, "on.pull_request.paths")
}

// matchAction holds what happened to a pull request against types, labels and drafts.
func (t *pullTrigger) matchAction(e jobs.Event, what string) answer {
	label, _ := t.labelled(e)
	switch {
	case e.PullRequest.Draft && !t.drafts:
		return no("%s is a draft, and on.pull_request.drafts is false", what)
	case slices.Contains(t.types, e.Action), e.Action == "labeled" && len(t.labels) > 0, e.Action == "ready_for_review" && !t.drafts:
	default:
		return no("%s was %s, which is not among on.pull_request.types [%s]", what, shorten(e.Action), strings.Join(t.types, ", "))
	}
	switch {
	case len(t.labels) == 0, label != "":
		return answer{ok: true}
	case e.Action == "labeled" || e.Action == "unlabeled":
		return no("the label %s of %s does not match on.pull_request.labels %s", shorten(e.Label), what, t.labels)
	}
	return no("%s carries no label that matches on.pull_request.labels %s", what, t.labels)
}

// labelled is the label that fits on.pull_request.labels, and the pattern that let it: the one that was just put on or taken
// away, or else any that the pull request carries.
func (t *pullTrigger) labelled(e jobs.Event) (label, pattern string) {
	candidates := e.PullRequest.Labels
	if e.Action == "labeled" || e.Action == "unlabeled" {
		candidates = []string{e.Label}
	}
	for _, name := range candidates {
		if ok, pattern := t.labels.match(name, ""); ok {
			return name, pattern
		}
	}
	return "", ""
}

// matchBase holds the branch that a pull request goes into against on.pull_request.branches.
func (t *trigger) matchBase(e jobs.Event, what string) answer {
	switch {
	case t.byDefault:
		return yes("%s matches %s", what, defaultTriggers)
	case len(t.pull.branches) == 0:
		return yes("%s matches on.pull_request", what)
	}
	return matchBranch(t.pull.branches, e.PullRequest.BaseRef, e, what, "on.pull_request.branches")
}

func matchBranch(f filter, name string, e jobs.Event, what, key string) answer {
	ok, pattern := f.match(name, e.Repository.DefaultBranch)
	switch {
	case ok:
		return yes("%s matches %s %s", what, key, pattern)
	case pattern != "":
		return no("%s is taken out by %s in %s", what, pattern, key)
	}
	return no("%s does not match %s %s", what, key, f)
}

// matchQueue holds a merge queue's head against on.merge_group, or else against on.pull_request: what must pass on a pull
// request must pass on what it becomes.
func (j *job) matchQueue(e jobs.Event) answer {
	t := j.trigger
	base := strings.TrimPrefix(e.MergeGroup.BaseRef, "refs/heads/")
	what := "merge group into " + shorten(base)
	switch {
	case j.acts() && !j.queues():
		return no("%s", j.notQueued())
	case t.queue != nil && t.queue.never:
		return no("on.merge_group is false")
	case t.queue != nil && len(t.queue.branches) == 0:
		return yes("%s matches on.merge_group", what).with(nil, "")
	case t.queue != nil:
		return matchBranch(t.queue.branches, base, e, what, "on.merge_group.branches").with(nil, "")
	case t.pull == nil:
		return no("on names neither merge_group nor pull_request")
	case len(t.pull.labels) > 0 || !slices.Contains(t.pull.types, "synchronize"):
		return no("on names no merge_group, and not every push to a pull request starts the job")
	case t.byDefault:
		return yes("%s matches %s, as its pull requests do", what, defaultTriggers).with(nil, "")
	case len(t.pull.branches) == 0:
		return yes("%s matches on.pull_request, as its pull requests do", what).with(t.pull.paths, "on.pull_request.paths")
	}
	return matchBranch(t.pull.branches, base, e, what, "on.pull_request.branches").with(t.pull.paths, "on.pull_request.paths")
}

// notQueued says why a merge group rolls nothing out and dispatches nothing by a job that does not queue.
func (j *job) notQueued() string {
	if j.kind == jobs.KindDispatch {
		return "a workflow is dispatched on a merge group only when the job's own on names merge_group"
	}
	return "a rollout runs on a merge group only when its own on names merge_group"
}

// queues reports whether a job's own on names merge_group: without that nothing is rolled out or dispatched there, not even
// when it is needed.
func (j *job) queues() bool {
	return j.trigger != nil && j.trigger.own && j.trigger.queue != nil && !j.trigger.queue.never
}

func (t *trigger) matchRelease(r jobs.Release) answer {
	switch {
	case t.release == nil:
		return no("on names no release")
	case r.Prerelease && !t.release.prereleases:
		return no("release %s is a prerelease, and on.release.prereleases is not true", shorten(r.Tag))
	}
	return yes("release %s matches on.release", shorten(r.Tag))
}
