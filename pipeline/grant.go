package pipeline

import (
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
	if s.build != nil {
		if message := imageGrant(s.build.Image, run, grant); message != "" {
			bad(place{"image"}, "%s", message)
		}
		return
	}
	for i, name := range s.deploy.Environments {
		if !known(name) {
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
	if !known(image) {
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
		if ok, _ := MatchAny(p.Names, name); ok {
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
	if ok, _ := MatchAny(e.Branches, run.Branch); !ok {
		return fmt.Sprintf("branch %s may not roll out to %s: %s", shorten(run.Branch), e.Name, only)
	}
	return ""
}

// namespaceGrant says why a release may not go into its namespace, or "".
func namespaceGrant(e jobs.EnvironmentGrant, h jobs.HelmSpec, run jobs.RunInfo) string {
	if !known(h.Namespace) || h.Namespace == "" {
		return ""
	}
	if ok, _ := MatchAny(e.Namespaces, h.Namespace); ok {
		return ""
	}
	return fmt.Sprintf("namespace %s in %s is not granted to %s: the operator grants it %s", shorten(h.Namespace), e.Name, run.Repository.FullName(), jobs.Cut("["+strings.Join(e.Namespaces, ", ")+"]", 200))
}
