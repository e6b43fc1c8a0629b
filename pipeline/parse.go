package pipeline

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/slipway-ci/slipway/jobs"
)

// A file is a pipeline file as far as it could be read.
type file struct {
	report *report
	source []string // its lines
	jobs   []*job   // in the file's order
	kinds  map[string]jobs.KindName
	envs   map[string]*cel.Env                // by the commands whose arguments are in them; made when first needed
	starts map[string][]*jobs.DeclaredCommand // the commands that start a job, by themselves or through needs

	exprs, exprBytes int // read so far

	schedules map[string]parsedSchedule // by what they are called
}

// A job is a job of a file.
type job struct {
	name    string
	kind    jobs.KindName // empty when the job says none, or two
	line    int
	node    *node
	trigger *trigger // nil when its on can't be read
	needs   []string
	ifText  string
	ifNode  *node
	ifExpr  *expression // nil without an if, or when it is wrong
	texts   map[*node]*textExpr
}

// Validate returns all faults of a pipeline file, in the file's order. path is the name that they carry. What only
// an event or the operator's policy can tell, such as whether an image is granted, is not among them.
func Validate(content []byte, path string) []jobs.Fault {
	return ValidateWith(content, path, func(string) (jobs.WorkflowFile, bool) { return jobs.WorkflowFile{}, false })
}

// ValidateWith is Validate that looks at the repository's own workflows, too, where the run's own branch or tag is meant. workflow
// reads one by its file's name; those that it does not find are passed over.
func ValidateWith(content []byte, path string, workflow func(name string) (file jobs.WorkflowFile, found bool)) []jobs.Fault {
	f := parse(content, path)
	f.checkExpressions()
	for _, j := range f.jobs {
		if j.kind != jobs.KindDispatch || f.report.whole() || f.report.first(j.name) != nil {
			continue
		}
		s, err := j.spec(j.node.get(string(j.kind)), func(*node, *textExpr) (any, error) { return unresolved, nil })
		if err != nil || s.dispatch.Repository+s.dispatch.Ref != "" || !resolved(s.dispatch.Workflow) {
			continue
		}
		if file, found := workflow(s.dispatch.Workflow); found {
			f.checkWorkflow(j, *s.dispatch, file)
		}
	}
	return f.report.list()
}

// parse reads a file as far as it can be read, all but its expressions.
func parse(content []byte, path string) *file {
	f := newFile(path)
	root := load(content, f.report)
	if root == nil {
		return f
	}
	f.source = strings.Split(string(content), "\n")
	d := decoder{report: f.report}
	d.check(root, reflect.TypeFor[Document](), "", "the file")
	if root.kind != mapNode {
		return f
	}
	on := f.readTrigger(root.get("on"), "")
	all := root.get("jobs")
	if all == nil || all.kind != mapNode {
		return f
	}
	if len(all.entries) > MaxJobs {
		return f // said by check
	}
	for _, e := range all.entries {
		if jobName.MatchString(e.key.text) {
			f.jobs = append(f.jobs, f.readJob(e, on))
		}
	}
	f.checkNeeds()
	f.checkCommands()
	return f
}

func newFile(path string) *file {
	return &file{report: &report{path: path}, kinds: map[string]jobs.KindName{}, envs: map[string]*cel.Env{}, schedules: map[string]parsedSchedule{}}
}

// readJob takes what can be read of a job. Its form has been checked.
func (f *file) readJob(e entry, on *trigger) *job {
	j := &job{name: e.key.text, line: e.key.line, node: e.val, trigger: on}
	f.report.job = j.name
	defer func() { f.report.job = "" }()
	if said := saidKinds(e.val); len(said) == 1 {
		j.kind = jobs.KindName(said[0].key.text)
	}
	f.kinds[j.name] = j.kind
	if on := e.val.get("on"); on != nil {
		j.trigger = f.readTrigger(on, j.name)
	}
	if paths := e.val.get("paths"); paths != nil && j.trigger != nil {
		own := *j.trigger
		own.paths = f.readFilter(paths, false)
		j.trigger = &own
	}
	if needs := e.val.get("needs"); needs != nil {
		var names Names
		if needs.into(&names) == nil {
			j.needs = names
		}
	}
	if n := e.val.get("if"); n != nil && n.kind == scalarNode && n.value != nil {
		j.ifNode, j.ifText = n, n.text
		if b, ok := n.value.(bool); ok {
			j.ifText = fmt.Sprint(b)
		}
	}
	return j
}

// checkNeeds finds needs that are not there, named twice, or in a circle.
func (f *file) checkNeeds() {
	byName := make(map[string]*job, len(f.jobs))
	for _, j := range f.jobs {
		byName[j.name] = j
	}
	for _, j := range f.jobs {
		f.report.job = j.name
		kept := make([]string, 0, len(j.needs))
		for i, name := range j.needs {
			at := j.needNode(i)
			switch {
			case name == j.name:
				f.report.meaning(at, "job %s needs itself", j.name)
			case byName[name] == nil:
				f.report.meaning(at, "job %s needs %q, which is not there%s", j.name, shorten(name), suggest(name, sortedKeys(byName)))
			case slices.Contains(kept, name):
				f.report.meaning(at, "job %s needs %s twice", j.name, name)
			default:
				kept = append(kept, name)
			}
		}
		j.needs = kept
	}
	f.report.job = ""
	f.checkCircles(byName)
}

// needNode is where the i-th need is written.
func (j *job) needNode(i int) *node {
	n := j.node.get("needs")
	if n.kind == listNode && i < len(n.items) {
		return n.items[i]
	}
	return n
}

// checkCircles reports jobs that need each other, to each of them, and takes those needs away.
func (f *file) checkCircles(byName map[string]*job) {
	const (
		fresh = iota
		open
		done
	)
	state := make(map[string]int, len(f.jobs))
	circles := map[string][]string{}
	var visit func(name string, path []string)
	visit = func(name string, path []string) {
		state[name] = open
		path = append(path, name)
		for _, need := range byName[name].needs {
			switch state[need] {
			case fresh:
				visit(need, path)
			case open:
				circle := path[slices.Index(path, need):]
				for _, member := range circle {
					if circles[member] == nil {
						circles[member] = slices.Clone(circle)
					}
				}
			}
		}
		state[name] = done
	}
	for _, j := range f.jobs {
		if state[j.name] == fresh {
			visit(j.name, nil)
		}
	}
	for _, j := range f.jobs {
		circle := circles[j.name]
		if circle == nil {
			continue
		}
		at := slices.Index(circle, j.name)
		order := append(slices.Concat(circle[at:], circle[:at]), j.name)
		f.report.job = j.name
		f.report.meaning(j.node.get("needs"), "jobs need each other in a circle: %s", jobs.Cut(strings.Join(order, " → "), 300))
		f.report.job = ""
		j.needs = slices.DeleteFunc(j.needs, func(n string) bool { return circles[n] != nil })
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
