package pipeline

import (
	"maps"
	"slices"

	"github.com/slipway-ci/slipway/jobs"
)

// A trigger says which events start a job.
type trigger struct {
	byDefault bool // the file says nothing: pull requests, and pushes of the default branch
	own       bool // it is the job's own, not the file's
	push      *pushTrigger
	pull      *pullTrigger
	queue     *queueTrigger // nil: as pull requests
	release   *releaseTrigger
	tag       filter // of pushed tags, beside push
	label     filter // of labels put on a pull request, beside pull
	schedules []Schedule
	command   *jobs.DeclaredCommand
	paths     filter // of the job
}

type pushTrigger struct{ branches, tags, paths filter }

type pullTrigger struct {
	branches, paths, labels filter
	types                   []string
	drafts                  bool
}

type queueTrigger struct {
	never    bool
	branches filter
}

type releaseTrigger struct{ prereleases bool }

// defaultTypes are what happens to a pull request that starts jobs by default: what changes its head or its base.
func defaultTypes() []string { return actions()[:4] }

// readTrigger takes an on apart; without one it is the default. It returns nil when the on is not of the right form.
func (f *file) readTrigger(n *node, job string) *trigger {
	if n == nil {
		branch := filter{{text: defaultWord, isDef: true}}
		return &trigger{byDefault: true, push: &pushTrigger{branches: branch}, pull: &pullTrigger{types: defaultTypes(), drafts: true}}
	}
	if n.kind != mapNode {
		return nil
	}
	f.report.job = job
	defer func() { f.report.job = "" }()
	t := &trigger{own: job != "", tag: f.readFilter(n.get("tag"), false), label: f.readFilter(n.get("label"), false)}
	if push := n.get("push"); push != nil {
		t.push = &pushTrigger{
			branches: f.readFilter(push.get("branches"), true),
			tags:     f.readFilter(push.get("tags"), false),
			paths:    f.readFilter(push.get("paths"), false),
		}
	}
	if pull := n.get("pull_request"); pull != nil {
		t.pull = f.readPull(pull)
	}
	if queue := n.get("merge_group"); queue != nil {
		t.queue = &queueTrigger{never: queue.value == false, branches: f.readFilter(queue.get("branches"), true)}
	}
	if release := n.get("release"); release != nil {
		prereleases := release.get("prereleases")
		t.release = &releaseTrigger{prereleases: prereleases != nil && prereleases.value == true}
	}
	t.schedules = f.readSchedules(n.get("schedule"))
	t.command = f.readCommand(n.get("command"))
	return t
}

func (f *file) readPull(n *node) *pullTrigger {
	t := &pullTrigger{
		branches: f.readFilter(n.get("branches"), true),
		paths:    f.readFilter(n.get("paths"), false),
		labels:   f.readFilter(n.get("labels"), false),
		types:    defaultTypes(),
		drafts:   true,
	}
	var types []string
	if list := n.get("types"); list != nil && list.into(&types) == nil {
		t.types = types
	}
	if drafts := n.get("drafts"); drafts != nil {
		t.drafts = drafts.value != false
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
