package pipeline

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/slipway-ci/slipway/jobs"
)

// args are the types of the arguments that a job may read: those of the commands that start it, by itself or because a job
// that they start needs it. They are nil when no command does. The key is the same for jobs with the same arguments.
func (f *file) args(j *job) (args map[string]*cel.Type, key string) {
	if f.starts == nil {
		f.starts = f.startedBy()
	}
	commands := f.starts[j.name]
	if len(commands) == 0 {
		return nil, ""
	}
	args = map[string]*cel.Type{}
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
		for _, a := range c.Args {
			t := argType(a.Type)
			if other, twice := args[a.Name]; twice && other.TypeName() != t.TypeName() {
				t = cel.DynType // seen when it is evaluated
			}
			args[a.Name] = t
		}
	}
	slices.Sort(names)
	return args, strings.Join(names, " ")
}

// startedBy finds the commands that start each job.
func (f *file) startedBy() map[string][]*jobs.DeclaredCommand {
	byName := make(map[string]*job, len(f.jobs))
	for _, j := range f.jobs {
		byName[j.name] = j
	}
	starts := map[string][]*jobs.DeclaredCommand{}
	var mark func(j *job, c *jobs.DeclaredCommand)
	mark = func(j *job, c *jobs.DeclaredCommand) {
		if slices.Contains(starts[j.name], c) {
			return
		}
		starts[j.name] = append(starts[j.name], c)
		for _, need := range j.needs {
			mark(byName[need], c)
		}
	}
	commands := map[string]*jobs.DeclaredCommand{}
	for _, j := range f.jobs {
		if c := j.command(); c != nil {
			if commands[c.Name] == nil {
				commands[c.Name] = c // jobs with the same command share what it declares
			}
			mark(j, commands[c.Name])
		}
	}
	return starts
}

// argType is the type that an argument has in expressions. A number is a whole one or one with a fraction.
func argType(declared string) *cel.Type {
	switch declared {
	case jobs.ArgBoolean:
		return cel.BoolType
	case jobs.ArgNumber:
		return cel.DynType
	}
	return cel.StringType
}

func valueType(v any) *cel.Type {
	switch v.(type) {
	case string:
		return cel.StringType
	case bool:
		return cel.BoolType
	}
	return cel.DynType
}

// argValues are a command's arguments as expressions read them. Whole numbers are whole also when a record kept them.
func argValues(args map[string]any) map[string]any {
	values := make(map[string]any, len(args))
	for name, v := range args {
		if f, ok := v.(float64); ok && f == float64(int64(f)) {
			v = int64(f)
		}
		values[name] = v
	}
	return values
}
