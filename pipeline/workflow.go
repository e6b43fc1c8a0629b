package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/slipway-ci/slipway/jobs"
)

// maxWorkflow bounds what is read of a workflow file, in bytes. Within it the bounds of pipeline files hold.
const maxWorkflow = 512 << 10

// A Workflow is what a workflow file says about being started by hand (docs.github.com, "Workflow syntax": on.workflow_dispatch).
type Workflow struct {
	Dispatch bool            // its on names workflow_dispatch
	Inputs   []WorkflowInput // in the file's order
	RunName  string          // as written
}

// A WorkflowInput is an input that a workflow asks for.
type WorkflowInput struct {
	Name        string
	Description string
	Type        string // string, boolean, choice, number or environment
	Required    bool
	Default     string   // "" for none
	Options     []string // of a choice
}

// ReadWorkflow reads a workflow file. Only what matters for starting it is looked at: GitHub judges the rest. The problem says why
// the file can't be read, as a clause that continues its name.
func ReadWorkflow(content []byte) (w Workflow, problem string) {
	on, runName, problem := loadWorkflow(content)
	if problem != "" {
		return w, problem
	}
	if runName != nil && runName.kind == scalarNode {
		w.RunName = runName.text
	}
	const event = "workflow_dispatch"
	switch on.kind {
	case scalarNode:
		w.Dispatch = on.text == event
	case listNode:
		w.Dispatch = slices.ContainsFunc(on.items, func(n *node) bool { return n.kind == scalarNode && n.text == event })
	case mapNode:
		dispatch := on.get(event)
		w.Dispatch = dispatch != nil
		if inputs := dispatch.get("inputs"); inputs != nil {
			if n := len(inputs.entries); n > maxInputs {
				return Workflow{}, fmt.Sprintf("declares %d inputs: GitHub takes at most %d", n, maxInputs)
			}
			for _, e := range inputs.entries {
				w.Inputs = append(w.Inputs, readInput(e))
			}
		}
	}
	return w, ""
}

func readInput(e entry) WorkflowInput {
	in := WorkflowInput{Name: e.key.text, Description: e.val.scalar("description"), Type: "string", Default: e.val.scalar("default")}
	if t := e.val.scalar("type"); slices.Contains([]string{"boolean", "choice", "number", "environment"}, t) {
		in.Type = t
	}
	in.Required = e.val.scalar("required") == "true"
	if options := e.val.get("options"); options != nil {
		for _, o := range options.items {
			if o.kind == scalarNode {
				in.Options = append(in.Options, o.text)
			}
		}
	}
	return in
}

// scalar is the text of a scalar under a key, or "".
func (n *node) scalar(key string) string {
	if v := n.get(key); v != nil && v.kind == scalarNode && v.value != nil {
		return v.text
	}
	return ""
}

// loadWorkflow finds a workflow's on and its run-name, nil without one.
func loadWorkflow(content []byte) (on, runName *node, problem string) {
	if len(content) > maxWorkflow {
		return nil, nil, fmt.Sprintf("has %d bytes, more than the %d that are read", len(content), maxWorkflow)
	}
	loader, err := yaml.NewLoader(bytes.NewReader(content))
	if err != nil {
		return nil, nil, "can't be read as YAML: " + shorten(err.Error())
	}
	var doc yaml.Node
	if err := loader.Load(&doc); err != nil && !errors.Is(err, io.EOF) {
		r := &report{}
		r.syntax(err)
		f, where := r.faults[0], ""
		if f.Line > 0 {
			where = fmt.Sprintf("line %d: ", f.Line)
		}
		return nil, nil, "can't be read: " + where + f.Message
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, nil, "is no workflow: it holds no mapping"
	}
	// What GitHub may take and this reader would not, such as a merge key, is no reason to refuse a workflow: of what the reader
	// reports only the bounds count.
	l := loading{report: &report{}, left: maxNodes}
	root := doc.Content[0].Content
	for i := 0; i+1 < len(root); i += 2 {
		switch key := root[i].Value; {
		case key == "on" && on == nil:
			on = l.node(root[i+1], 1)
		case key == "run-name" && runName == nil:
			runName = l.node(root[i+1], 1)
		}
	}
	switch {
	case l.over:
		return nil, nil, "is too large: " + l.report.faults[len(l.report.faults)-1].Message
	case on == nil:
		return nil, nil, "has no on"
	}
	return on, runName, ""
}

// markerInput is the input that Slipway fills with a text of its own, so that the run can be found by its name.
const markerInput = "slipway_run"

var markerForm = regexp.MustCompile(`\$\{\{[^}]*\binputs(\.slipway_run\b|\[\s*'slipway_run'\s*\])`)

// Marker is the input that takes a mark which shows in the run's name, or "".
func (w Workflow) Marker() string {
	for _, in := range w.Inputs {
		if in.Name == markerInput && in.Type == "string" && markerForm.MatchString(w.RunName) {
			return markerInput
		}
	}
	return ""
}

// MarkerInput is the input of a workflow that takes a mark which shows in the run's name, or "". Pipelines can't set it.
func MarkerInput(file jobs.WorkflowFile) string {
	w, _ := ReadWorkflow(file.Content)
	return w.Marker()
}

// Workflows are the workflow files that a plan of this input depends on, each once: those that planned dispatch jobs name, as far
// as that is granted and does not wait for other jobs. A file at the run's own commit has neither repository nor ref.
func Workflows(in jobs.PlanInput) []jobs.WorkflowRef {
	if in.Trust.Level != jobs.Trusted {
		return nil
	}
	var list []jobs.WorkflowRef
	add := func(s spec) {
		if s.dispatch == nil || !resolved(s.dispatch.Workflow+s.dispatch.Repository+s.dispatch.Ref) {
			return
		}
		good := true
		bad := func(at place, _ string, _ ...any) {
			good = good && !slices.Contains([]any{"workflow", "repository", "ref"}, at[0])
		}
		s.check(bad)
		if !in.NoGrants {
			s.checkGrant(in.Run, in.Grant, bad)
		}
		if ref := workflowRef(*s.dispatch, in.Run); good && !slices.Contains(list, ref) {
			list = append(list, ref)
		}
	}
	if in.Ask != nil && in.Ask.Dispatch != nil {
		add(askedDispatch(in))
		return list
	}
	p := newPlanning(in)
	if !slices.ContainsFunc(p.file.jobs, func(j *job) bool { return j.kind == jobs.KindDispatch }) || p.endsEarly() {
		return nil
	}
	p.file.checkExpressions()
	if p.file.report.whole() || !p.weigh() {
		return nil
	}
	for _, j := range p.file.jobs {
		if j.kind == jobs.KindDispatch && p.verdict[j.name].runs {
			add(p.glance(j))
		}
	}
	return list
}

// workflowRef names the file of a completed dispatch. An ID says nothing of the files at a commit, so it names the run's own branch or
// tag.
func workflowRef(d jobs.DispatchSpec, run jobs.RunInfo) jobs.WorkflowRef {
	ref := jobs.WorkflowRef{Repository: d.Repository, Workflow: d.Workflow, Ref: d.Ref}
	if ref.Repository+ref.Ref == "" && workflowID.MatchString(ref.Workflow) {
		ref.Ref = run.DispatchRef()
	}
	return ref
}

// workflowOf is the file that a completed dispatch names, when it was read.
func workflowOf(in jobs.PlanInput, d jobs.DispatchSpec) (file jobs.WorkflowFile, found bool) {
	at := slices.IndexFunc(in.Workflows, func(f jobs.WorkflowFile) bool { return f.WorkflowRef == workflowRef(d, in.Run) })
	if at < 0 {
		return file, false
	}
	return in.Workflows[at], true
}

// openWorkflow reads a file that is to be dispatched. The problem is a clause that begins with its name.
func openWorkflow(file jobs.WorkflowFile) (w Workflow, problem string) {
	name := shorten(file.Path)
	if name == "" {
		name = shorten(file.Workflow)
	}
	if file.Problem != "" {
		return w, file.Problem
	}
	if w, problem = ReadWorkflow(file.Content); problem != "" {
		return w, name + " " + problem
	}
	if !w.Dispatch {
		return w, name + " can't be started by anybody: its on does not name workflow_dispatch"
	}
	return w, ""
}

// checkWorkflow holds a dispatch, as far as it is known, against the workflow that it names.
func (f *file) checkWorkflow(j *job, d jobs.DispatchSpec, file jobs.WorkflowFile) {
	f.report.job = j.name
	defer func() { f.report.job = "" }()
	n := j.node.get(string(j.kind))
	w, problem := openWorkflow(file)
	if problem != "" {
		f.report.meaning(n.at(place{"workflow"}), "dispatch.workflow: %s", problem)
		return
	}
	_, faults := w.prepare(d.Inputs, early)
	for _, fault := range faults {
		f.report.meaning(n.at(place{"inputs", fault.input}), "dispatch.inputs: %s", fault.message)
	}
	for _, in := range w.Inputs {
		written := n.get("inputs").get(in.Name)
		if written == nil || j.texts[written] != nil || in.Type == "boolean" || in.Type == "number" {
			continue
		}
		if sent, _ := inputText(written.value); sent != written.text {
			f.report.meaning(written, "dispatch.inputs: the input %s takes text, and %s would arrive as %s: write it in quotes", shorten(in.Name), shorten(written.text), shorten(sent))
		}
	}
}
