package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// checkGrant calls bad for everything a job would touch that it was not granted (invariant 7). What is not known yet
// is passed over: it is asked again when it is.
func (s spec) checkGrant(run jobs.RunInfo, grant jobs.Grant, bad func(at place, format string, args ...any)) {
	if s.build != nil && run.Trust.Level == jobs.Approved && len(grant.Push) == 0 && s.build.Image != "" {
		return // it is built and not pushed
	}
	switch {
	case s.build != nil:
		if message := imageGrant(s.build.Image, run, grant); message != "" {
			bad(place{"image"}, "%s", message)
		}
	case s.dispatch != nil:
		if key, message := workflowGrant(*s.dispatch, run, grant); message != "" {
			bad(place{key}, "%s", message)
		}
	case s.deploy != nil:
		s.checkEnvironments(run, grant, bad)
	}
}

// checkEnvironments is checkGrant for a rollout.
func (s spec) checkEnvironments(run jobs.RunInfo, grant jobs.Grant, bad func(at place, format string, args ...any)) {
	for i, name := range s.deploy.Environments {
		if !resolved(name) {
			continue
		}
		env := slices.IndexFunc(grant.Environments, func(e jobs.EnvironmentGrant) bool { return e.Name == name })
		if env < 0 {
			bad(place{"environments", i}, "environment %s is unknown, or not granted to %s: the operator's environments decide", shorten(name), run.Repository.FullName())
			continue
		}
		e := grant.Environments[env]
		// What is taken back was rolled out there, so its branch was granted then.
		if message := branchGrant(e, run); message != "" && s.deploy.Rollback == nil {
			bad(place{"environments", i}, "%s", message)
		}
		for k, h := range s.deploy.Helm {
			if message := namespaceGrant(e, h, run); message != "" {
				bad(place{"helm", k, "namespace"}, "%s", message)
			}
		}
	}
}

// imageGrant says why an image may not be pushed, or "".
func imageGrant(image string, run jobs.RunInfo, grant jobs.Grant) string {
	if !resolved(image) {
		return ""
	}
	if image == "" {
		return "build.image is not set, and the operator has set no defaults.image"
	}
	registry, name, err := SplitImage(image)
	if err != nil {
		return fmt.Sprintf("build.image %s %v", shorten(image), err)
	}
	var granted []string
	for _, p := range grant.Push {
		if p.Registry != registry {
			continue
		}
		if Allows(p.Names, name) {
			return ""
		}
		granted = append(granted, p.Names...)
	}
	if len(granted) == 0 {
		return fmt.Sprintf("image %s may not be pushed by %s: the operator grants it nothing on %s", shorten(image), run.Repository.FullName(), registry)
	}
	return fmt.Sprintf("image %s may not be pushed by %s: on %s the operator grants it %s", shorten(image), run.Repository.FullName(), registry, jobs.Cut(strings.Join(granted, ", "), 200))
}

// branchGrant says why a run may not roll out to an environment at all, or "". Commits of granted branches do: of a push, or
// of a pull request within the repository when somebody asks for it. A tag can be put on any commit, so none does in this
// version. The head of a merge queue is on a branch of the queue's own, such as gh-readonly-queue/main/pr-7-…, which the
// operator may grant.
func branchGrant(e jobs.EnvironmentGrant, run jobs.RunInfo) string {
	only := fmt.Sprintf("only pushes of branches %s may", jobs.Cut("["+strings.Join(e.Branches, ", ")+"]", 200))
	switch {
	case run.Event == jobs.EventPullRequest && (run.Asked == nil || run.Fork):
		return fmt.Sprintf("a pull request may not roll out to %s: %s", e.Name, only)
	case run.Tag != "":
		return fmt.Sprintf("tag %s may not roll out to %s: %s", shorten(run.Tag), e.Name, only)
	}
	if !Allows(e.Branches, run.Branch) {
		return fmt.Sprintf("branch %s may not roll out to %s: %s", shorten(run.Branch), e.Name, only)
	}
	return ""
}

// namespaceGrant says why a release may not go into its namespace, or "".
func namespaceGrant(e jobs.EnvironmentGrant, h jobs.HelmSpec, run jobs.RunInfo) string {
	if !resolved(h.Namespace) || h.Namespace == "" {
		return ""
	}
	if Allows(e.Namespaces, h.Namespace) {
		return ""
	}
	return fmt.Sprintf("namespace %s in %s is not granted to %s: the operator grants it %s", shorten(h.Namespace), e.Name, run.Repository.FullName(), jobs.Cut("["+strings.Join(e.Namespaces, ", ")+"]", 200))
}

// workflowGrant says why a workflow may not be dispatched, and which key is to be mended, or "".
func workflowGrant(d jobs.DispatchSpec, run jobs.RunInfo, grant jobs.Grant) (key, message string) {
	if !resolved(d.Repository) {
		return "", ""
	}
	repository := cmp.Or(d.Repository, run.Repository.FullName())
	at := slices.IndexFunc(grant.Workflows, func(g jobs.WorkflowGrant) bool { return g.Repository == strings.ToLower(repository) })
	if at < 0 {
		return "repository", fmt.Sprintf("no workflow of %s may be started by %s: the operator's key workflows grants that", shorten(repository), run.Repository.FullName())
	}
	g := grant.Workflows[at]
	if len(g.Files) > 0 && resolved(d.Workflow) {
		granted := jobs.Cut("["+strings.Join(g.Files, ", ")+"]", 200)
		if workflowID.MatchString(d.Workflow) {
			return "workflow", fmt.Sprintf("workflow %s must be named by its file: of %s the operator grants the files %s", d.Workflow, shorten(repository), granted)
		}
		if !Allows(g.Files, d.Workflow) {
			return "workflow", fmt.Sprintf("workflow %s of %s is not granted to %s: the operator grants it %s", shorten(d.Workflow), shorten(repository), run.Repository.FullName(), granted)
		}
	}
	if len(g.Refs) == 0 || !resolved(d.Ref) {
		return "", ""
	}
	granted := jobs.Cut("["+strings.Join(g.Refs, ", ")+"]", 200)
	ref := d.Ref
	if ref == "" && d.Repository == "" {
		ref = run.DispatchRef()
	}
	if ref == "" {
		return "ref", fmt.Sprintf("dispatch.ref must be named: the operator lets workflows of %s start only on %s", shorten(repository), granted)
	}
	if !Allows(g.Refs, ref) {
		return "ref", fmt.Sprintf("workflows of %s may not be started on %s by %s: the operator grants it %s", shorten(repository), shorten(ref), run.Repository.FullName(), granted)
	}
	return "", ""
}
