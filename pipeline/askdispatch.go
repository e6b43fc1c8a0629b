package pipeline

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/jobs"
)

// askedDispatch is what somebody asked for as a job's settings, its inputs still as they were written.
func askedDispatch(in jobs.PlanInput) spec {
	ask := in.Ask.Dispatch
	d := &jobs.DispatchSpec{Workflow: ask.Workflow, Repository: ask.Repository, Ref: ask.Ref}
	if len(ask.Inputs) > 0 {
		d.Inputs = make(map[string]any, len(ask.Inputs))
		for name, text := range ask.Inputs {
			d.Inputs[name] = text
		}
	}
	s := spec{dispatch: d}
	s.complete(defaults{run: in.Run})
	return s
}

// planDispatch plans one job that starts the workflow somebody asked for. The pipeline file has no say in it.
func planDispatch(in jobs.PlanInput) jobs.Plan {
	plan := jobs.Plan{Pipeline: "/dispatch"}
	s, refusal := checkAsked(in)
	if refusal != "" {
		plan.Refusal = refusal
		return plan
	}
	data, err := s.marshal()
	switch {
	case err != nil:
		plan.Refusal = fmt.Sprintf("What was asked for can't be written down: %v.", err)
		return plan
	case len(data) > maxSpec:
		plan.Refusal = fmt.Sprintf("The inputs are too long: with them the job's settings have %d bytes, more than %d.", len(data), maxSpec)
		return plan
	}
	plan.Jobs = []jobs.PlannedJob{{
		Name: workflowJob(s.dispatch.Workflow), Kind: jobs.KindDispatch, Planned: true, Reason: "asked for by /dispatch", Spec: data,
	}}
	return plan
}

// checkAsked reads what somebody asked for, with the inputs in the workflow's types. A refusal is one sentence for them, and the
// usage when it is known.
func checkAsked(in jobs.PlanInput) (s spec, refusal string) {
	ask := in.Ask.Dispatch
	if in.Trust.Level != jobs.Trusted {
		return s, sentence(neverDispatched)
	}
	if !plainText(ask.Workflow + ask.Repository + ask.Ref) {
		return s, "Workflow, repository and ref must be UTF-8 text without NUL characters."
	}
	for _, name := range sortedKeys(ask.Inputs) {
		if !plainText(name + ask.Inputs[name]) {
			return s, fmt.Sprintf("The input %s must be UTF-8 text without NUL characters.", quote(strings.ToValidUTF8(name, "?")))
		}
	}
	s = askedDispatch(in)
	if in.Stale != "" && s.dispatch.Repository == "" && s.dispatch.Ref == "" {
		return s, fmt.Sprintf("No workflow is started from a commit that is behind: %s.", in.Stale)
	}
	var faults []string
	bad := func(_ place, format string, args ...any) {
		faults = append(faults, sentence(strings.TrimPrefix(fmt.Sprintf(format, args...), "dispatch.")))
	}
	s.check(bad)
	if !in.NoGrants && len(faults) == 0 {
		s.checkGrant(in.Run, in.Grant, bad)
	}
	if len(faults) > 0 {
		return s, faults[0]
	}
	file, found := workflowOf(in, *s.dispatch)
	if !found {
		return s, "" // looked at when its turn comes
	}
	w, problem := openWorkflow(file)
	if problem != "" {
		return s, sentence(problem)
	}
	prepared, fault := CheckInputs(w, s.dispatch.Inputs)
	if fault != "" {
		return s, sentence(fault) + "\n\n" + w.Usage(s.dispatch.Workflow)
	}
	for _, input := range w.Inputs {
		if text, given := prepared[input.Name]; given {
			s.dispatch.Inputs[input.Name] = input.typed(text)
		}
	}
	return s, ""
}

// plainText reports whether a text can be kept, and can't be taken for one that waits for other jobs.
func plainText(text string) bool { return utf8.ValidString(text) && resolved(text) }

// typed is a checked text as a value of the input's type. A number that JSON would write otherwise stays text.
func (in WorkflowInput) typed(text string) any {
	switch {
	case in.Type == "boolean":
		return text == "true"
	case in.Type == "number" && json.Valid([]byte(text)):
		return json.Number(text)
	}
	return text
}

// sentence makes a sentence of a clause.
func sentence(clause string) string {
	first, n := utf8.DecodeRuneInString(clause)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(clause[n:], ".") + "."
}

var notInJobName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// workflowJob is the name of the job that starts a workflow: its file's, as far as a job can be called so.
func workflowJob(workflow string) string {
	name := workflow
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		name = name[:i]
	}
	name = strings.Trim(notInJobName.ReplaceAllString(name, "-"), "-")
	if !jobName.MatchString(name[:min(len(name), 63)]) {
		name = strings.TrimSuffix("workflow-"+name, "-")
	}
	return name[:min(len(name), 63)]
}
