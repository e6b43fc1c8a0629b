package githubtest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// workflowDir is the only folder that GitHub reads workflows from.
const workflowDir = ".github/workflows/"

// Bounds for what is read of a workflow file. maxWorkflowInputs is GitHub's, from its page "Workflow syntax"; the others are
// this server's.
const (
	maxWorkflowInputs = 25
	maxWorkflowFile   = 1 << 20
	maxWorkflowJobs   = 256
)

// workflowFile is what is understood of a workflow file.
type workflowFile struct {
	name     string // empty: GitHub shows the path
	runName  string
	triggers map[string]*trigger // by event
	inputs   []workflowInput     // of workflow_dispatch, in the file's order
	env      []variable
	jobs     []*jobSpec
}

// trigger are the filters of one event. A nil list doesn't filter.
type trigger struct {
	branches, branchesIgnore, tags, tagsIgnore, types []string
}

// workflowInput is one input of a workflow that is dispatched by hand.
type workflowInput struct {
	name, kind, standard string // kind is string, boolean, choice, number or environment
	required             bool
	options              []string
}

// jobSpec is a job as the file describes it.
type jobSpec struct {
	key, name, condition, environment string
	needs, labels                     []string
	env                               []variable
	steps                             []stepSpec
}

// stepSpec is a step as the file describes it: a script or an action.
type stepSpec struct {
	name, condition, run, uses, dir string
	with, env                       []variable
}

// variable is a name with a value, in the file's order.
type variable struct{ name, value string }

// parseWorkflow reads a workflow file. What GitHub's syntax has beyond the fields of workflowFile is passed over.
func parseWorkflow(text []byte) (*workflowFile, error) {
	if len(text) > maxWorkflowFile {
		return nil, fmt.Errorf("the file has more than %d bytes", maxWorkflowFile)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("the file is not a mapping")
	}
	root := document.Content[0]
	f := &workflowFile{name: scalar(child(root, "name")), runName: scalar(child(root, "run-name")), env: variables(child(root, "env"))}
	if err := f.readTriggers(child(root, "on")); err != nil {
		return nil, err
	}
	for key, node := range members(child(root, "jobs")) {
		f.jobs = append(f.jobs, readJob(key, node))
	}
	return f, f.checkNeeds()
}

// readTriggers reads the three forms of on: one event, a list of events, a mapping from events to filters.
func (f *workflowFile) readTriggers(on *yaml.Node) error {
	f.triggers = map[string]*trigger{}
	if on == nil {
		return errors.New("the file has no triggers: on is missing")
	}
	if on.Kind != yaml.MappingNode {
		for _, event := range texts(on) {
			f.triggers[event] = &trigger{}
		}
		return nil
	}
	for event, node := range members(on) {
		f.triggers[event] = &trigger{branches: texts(child(node, "branches")), branchesIgnore: texts(child(node, "branches-ignore")), tags: texts(child(node, "tags")),
			tagsIgnore: texts(child(node, "tags-ignore")), types: texts(child(node, "types"))}
		if event != "workflow_dispatch" {
			continue
		}
		for name, input := range members(child(node, "inputs")) {
			in := workflowInput{name: name, kind: scalar(child(input, "type")), standard: scalar(child(input, "default")), required: scalar(child(input, "required")) == "true",
				options: texts(child(input, "options"))}
			if in.kind == "" {
				in.kind = "string"
			}
			f.inputs = append(f.inputs, in)
		}
	}
	if len(f.inputs) > maxWorkflowInputs {
		return fmt.Errorf("you may only define up to %d `inputs` for a `workflow_dispatch` event", maxWorkflowInputs)
	}
	return nil
}

func readJob(key string, node *yaml.Node) *jobSpec {
	j := &jobSpec{key: key, name: scalar(child(node, "name")), condition: scalar(child(node, "if")), needs: texts(child(node, "needs")), labels: texts(child(node, "runs-on")),
		env: variables(child(node, "env")), environment: scalar(child(node, "environment"))}
	if place := child(node, "environment"); place != nil && place.Kind == yaml.MappingNode {
		j.environment = scalar(child(place, "name"))
	}
	if steps := child(node, "steps"); steps != nil && steps.Kind == yaml.SequenceNode {
		for _, step := range steps.Content {
			j.steps = append(j.steps, stepSpec{name: scalar(child(step, "name")), condition: scalar(child(step, "if")), run: scalar(child(step, "run")), uses: scalar(child(step, "uses")),
				dir: scalar(child(step, "working-directory")), with: variables(child(step, "with")), env: variables(child(step, "env"))})
		}
	}
	return j
}

// checkNeeds refuses what could never run: no job, a need that doesn't exist, a circle.
func (f *workflowFile) checkNeeds() error {
	if len(f.jobs) == 0 || len(f.jobs) > maxWorkflowJobs {
		return fmt.Errorf("there are %d jobs: at least one is needed, %d are allowed", len(f.jobs), maxWorkflowJobs)
	}
	done := map[string]bool{}
	for range f.jobs {
		for _, j := range f.jobs {
			if !slices.ContainsFunc(j.needs, func(need string) bool { return !done[need] }) {
				done[j.key] = true
			}
		}
	}
	for _, j := range f.jobs {
		if !done[j.key] {
			return fmt.Errorf("job %q needs jobs that don't exist or that need it", j.key)
		}
	}
	return nil
}

// title is how GitHub names a step.
func (step stepSpec) title() string {
	if step.name != "" {
		return step.name
	}
	first, _, _ := strings.Cut(step.run+step.uses, "\n")
	return "Run " + first
}

// runsOnRef reports whether a push to a full ref starts the workflow. Filters on one kind of ref leave out the other.
func (t *trigger) runsOnRef(ref string) bool {
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	tag, isTag := strings.CutPrefix(ref, "refs/tags/")
	onBranches, onTags := t.branches != nil || t.branchesIgnore != nil, t.tags != nil || t.tagsIgnore != nil
	switch {
	case isBranch:
		return (onBranches || !onTags) && passes(branch, t.branches, t.branchesIgnore)
	case isTag:
		return (onTags || !onBranches) && passes(tag, t.tags, t.tagsIgnore)
	}
	return false
}

// runsOnPull reports whether an activity of a pull request to a base branch starts the workflow.
func (t *trigger) runsOnPull(action, base string) bool {
	types := t.types
	if types == nil {
		types = []string{"opened", "synchronize", "reopened"}
	}
	return slices.Contains(types, action) && passes(base, t.branches, t.branchesIgnore)
}

// passes applies an including and an ignoring list; the last pattern of the including list that matches decides.
func passes(name string, only, ignore []string) bool {
	in := only == nil
	for _, pattern := range only {
		negated := strings.HasPrefix(pattern, "!")
		if refPattern(strings.TrimPrefix(pattern, "!")).MatchString(name) {
			in = !negated
		}
	}
	return in && !slices.ContainsFunc(ignore, func(pattern string) bool { return refPattern(pattern).MatchString(name) })
}

// refPattern understands * (not across slashes) and ** of GitHub's filter patterns.
func refPattern(pattern string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(pattern)
	quoted = strings.ReplaceAll(quoted, `\*\*`, `.*`)
	quoted = strings.ReplaceAll(quoted, `\*`, `[^/]*`)
	return regexp.MustCompile("^" + quoted + "$")
}

// members walks a mapping in the file's order; nothing for other nodes.
func members(node *yaml.Node) func(yield func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) {
		if node == nil || node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			value := node.Content[i+1]
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			if !yield(node.Content[i].Value, value) {
				return
			}
		}
	}
}

// child is the value under a key of a mapping, or nil.
func child(node *yaml.Node, key string) *yaml.Node {
	for name, value := range members(node) {
		if name == key {
			return value
		}
	}
	return nil
}

// scalar is a scalar as written; empty for everything else.
func scalar(node *yaml.Node) string {
	if node == nil || node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		return ""
	}
	return node.Value
}

// texts is a list of scalars, or a single one; nil when there is none.
func texts(node *yaml.Node) []string {
	if node == nil || node.Kind != yaml.SequenceNode {
		if text := scalar(node); text != "" {
			return []string{text}
		}
		return nil
	}
	list := []string{}
	for _, item := range node.Content {
		list = append(list, scalar(item))
	}
	return list
}

func variables(node *yaml.Node) []variable {
	var list []variable
	for name, value := range members(node) {
		list = append(list, variable{name, scalar(value)})
	}
	return list
}
