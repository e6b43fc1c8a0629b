package pipeline

import (
	"cmp"
	"encoding/json"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/jobs"
)

// Bounds of what waits for others.
const (
	defaultWait     = "1h"
	minWait         = time.Second
	maxWait         = 24 * time.Hour
	maxInputs       = 25     // of a dispatch, as GitHub takes them
	maxInputText    = 65_535 // characters of all inputs together, as GitHub takes them
	maxRetries      = 5
	maxAwaited      = 50  // checks of one await
	maxCheckName    = 200 // bytes
	maxWorkflowName = 200 // bytes
	maxRefName      = 250 // bytes
)

// ownCheck is what Slipway's own checks are called: this, and this with a job's name behind a slash.
const ownCheck = "slipway"

var (
	workflowID = regexp.MustCompile(`^[1-9][0-9]{0,17}$`)
	commitForm = regexp.MustCompile(`^([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$`)
	// refForbidden is what git check-ref-format takes nowhere in a name.
	refForbidden = regexp.MustCompile(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)`)
	controls     = regexp.MustCompile(`[\x00-\x1f\x7f]`)
)

// completeDispatch fills in what a dispatch leaves out, and leaves out what says the same as nothing: this repository, and in it
// the run's own branch or tag.
func completeDispatch(d *jobs.DispatchSpec, run jobs.RunInfo) {
	d.Timeout = cmp.Or(d.Timeout, defaultWait)
	if strings.EqualFold(d.Repository, run.Repository.FullName()) {
		d.Repository = ""
	}
	if resolved(d.Ref) {
		d.Ref = bareRef(d.Ref)
	}
	if d.Repository == "" && d.Ref == run.DispatchRef() {
		d.Ref = ""
	}
}

// bareRef is a branch or tag without what Git writes before it.
func bareRef(ref string) string {
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return branch
	}
	return strings.TrimPrefix(ref, "refs/tags/")
}

func checkDispatch(d *jobs.DispatchSpec, bad func(at place, format string, args ...any)) {
	for _, p := range []struct {
		key, value string
		check      func(string) string
	}{
		{"workflow", d.Workflow, checkWorkflowName},
		{"repository", d.Repository, checkRepository},
		{"ref", d.Ref, checkRef},
		{"timeout", d.Timeout, checkWait},
	} {
		if p.value == "" && p.key != "workflow" || !resolved(p.value) {
			continue
		}
		if message := p.check(p.value); message != "" {
			bad(place{p.key}, "dispatch.%s %s %s", p.key, shorten(p.value), message)
		}
	}
	if d.RetryFailedJobs < 0 || d.RetryFailedJobs > maxRetries {
		bad(place{"retry_failed_jobs"}, "dispatch.retry_failed_jobs must be between 0 and %d", maxRetries)
	}
	if len(d.Inputs) > maxInputs {
		bad(place{"inputs"}, "dispatch.inputs has %d entries: GitHub takes at most %d", len(d.Inputs), maxInputs)
	}
	for _, name := range sortedKeys(d.Inputs) {
		switch v := d.Inputs[name].(type) {
		case string, bool, int64, float64, json.Number:
		default:
			bad(place{"inputs", name}, "dispatch.inputs.%s must be text, a number, true or false, not %s", shorten(name), (&node{value: v, kind: kindOf(v)}).what())
		}
	}
}

// kindOf is what a node with a value of JSON would be.
func kindOf(v any) nodeKind {
	switch v.(type) {
	case []any:
		return listNode
	case map[string]any:
		return mapNode
	}
	return scalarNode
}

// checkWorkflowName says what is wrong with how a workflow is named, or "".
func checkWorkflowName(name string) string {
	switch ext := path.Ext(name); {
	case strings.Contains(name, "/"):
		if base := path.Base(name); checkWorkflowName(base) == "" {
			return "must be the file's name alone: write " + shorten(base)
		}
		return "must be the name of a file in .github/workflows, without folders"
	case workflowID.MatchString(name):
		return ""
	case ext != ".yaml" && ext != ".yml" || len(name) == len(ext):
		return "names no workflow: write its file's name, such as hello.yaml, or its ID"
	case len(name) > maxWorkflowName || !utf8.ValidString(name) || strings.Contains(name, `\`) || controls.MatchString(name):
		return "can't be a workflow file's name"
	}
	return ""
}

// checkRepository says what is wrong with the name of a repository, or "".
func checkRepository(name string) string {
	owner, repo, _ := strings.Cut(name, "/")
	if !usable(jobs.Repository{Owner: owner, Name: repo}) {
		return "is not of the form owner/name"
	}
	return ""
}

// checkRef says what is wrong with a branch or tag, or "". The reason why there are no commits is GitHub's (docs.github.com,
// "Create a workflow dispatch event": ref is a branch or tag name).
func checkRef(ref string) string {
	name := bareRef(ref)
	switch {
	case commitForm.MatchString(name):
		return "is a commit: GitHub starts workflows on branches and tags only"
	case strings.HasPrefix(name, "refs/"):
		return "is neither a branch nor a tag: GitHub starts workflows on branches and tags only"
	case name == "", len(name) > maxRefName, !utf8.ValidString(name), refForbidden.MatchString(name),
		strings.HasPrefix(name, "/"), strings.HasSuffix(name, "/"), strings.HasPrefix(name, "-"), strings.HasPrefix(name, "."), strings.HasSuffix(name, "."):
		return "can't be the name of a branch or tag"
	}
	return ""
}

func checkWait(s string) string { return checkTimeout(s, minWait, maxWait) }

func checkAwait(a *jobs.AwaitSpec, bad func(at place, format string, args ...any)) {
	for i, name := range a.Checks {
		if !resolved(name) {
			continue
		}
		if message := checkCheckName(name, a.Checks[:i]); message != "" {
			bad(place{"checks", i}, "await.checks: %s", message)
		}
	}
	if a.Timeout != "" && resolved(a.Timeout) {
		if message := checkWait(a.Timeout); message != "" {
			bad(place{"timeout"}, "await.timeout %s %s", shorten(a.Timeout), message)
		}
	}
}

// checkCheckName says what is wrong with a check that is to be waited for, beside those before it, or "".
func checkCheckName(text string, before []string) string {
	awaited := jobs.ParseAwaited(text)
	switch name := awaited.Name; {
	case strings.TrimSpace(name) == "":
		return "a name is empty"
	case len(text) > maxCheckName:
		return shorten(text) + " has more than 200 bytes"
	case !utf8.ValidString(text) || controls.MatchString(text):
		return "a name must be one line of text"
	case name == ownCheck || strings.HasPrefix(name, ownCheck+" / "):
		return shorten(text) + " is Slipway's own: a run can't wait for itself (use needs)"
	}
	for _, other := range before {
		if jobs.ParseAwaited(other) == awaited {
			return shorten(text) + " is here twice"
		}
	}
	return ""
}
