package pipeline

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/slipway-ci/slipway/jobs"
)

// The variables of expressions, by type and field. A job's name becomes a field of needs.
func variableTypes() map[string]map[string]*cel.Type {
	str, num := cel.StringType, cel.IntType
	return map[string]map[string]*cel.Type{
		"event":        {"name": str, "action": str, "actor": str},
		"repository":   {"owner": str, "name": str, "full_name": str, "default_branch": str},
		"run":          {"id": str, "sha": str, "short_sha": str, "ref": str, "branch": str, "tag": str, "trust": str},
		"pull_request": {"number": num, "head": str, "base": str},
		"job.build":    {"result": str, "outputs": objectType("outputs.build")},
		"job.deploy":   {"result": str, "outputs": objectType("outputs.deploy")},
		"job.dispatch": {"result": str, "outputs": objectType(openOutputs)},
		"job.await":    {"result": str, "outputs": objectType("outputs.await")},
		"outputs.build": {
			"image": str, "digest": str, "index_digest": str, "ref": str, "tags": str,
			"size": num, "steps": num, "cached_steps": num, "seconds": cel.DoubleType,
		},
		"outputs.deploy": {"revision": num, "status": str, "namespace": str, "release": str, "images": str},
		// And whatever the workflow left behind: see openOutputs.
		"outputs.dispatch": {"run_id": num, "run_url": str, "conclusion": str, "artifacts": str},
		"outputs.await":    {},
	}
}

// openOutputs have fields that nobody knows before the job has ended.
const openOutputs = "outputs.dispatch"

// typePrefix keeps our types out of reach of expressions: no identifier holds a blank.
const typePrefix = "slipway "

func objectType(name string) *cel.Type { return cel.ObjectType(typePrefix + name) }

// A provider tells CEL the fields of our types, and reads them from plain maps.
type provider struct {
	types.Provider
	structs map[string]map[string]*types.FieldType
	// anyArg lets args have any field. It is set once a plan was made, which knew them all.
	anyArg bool
}

// newProvider knows the variables and, as fields of needs and args, the given jobs and arguments.
func newProvider(kinds map[string]jobs.KindName, args map[string]*cel.Type) (*provider, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("make a registry of CEL types: %w", err)
	}
	p := &provider{Provider: registry, structs: map[string]map[string]*types.FieldType{"needs": {}, "args": {}}}
	for name, fields := range variableTypes() {
		p.structs[name] = make(map[string]*types.FieldType, len(fields))
		for field, t := range fields {
			p.structs[name][field] = fieldType(name, field, t)
		}
	}
	for name, kind := range kinds {
		t := cel.DynType // of a faulty job, which never runs
		if kind != "" {
			t = objectType("job." + string(kind))
		}
		p.structs["needs"][name] = fieldType("needs", name, t)
	}
	for name, t := range args {
		p.structs["args"][name] = fieldType("args", name, t)
	}
	return p, nil
}

func fieldType(owner, field string, t *cel.Type) *types.FieldType {
	return &types.FieldType{
		Type: t,
		IsSet: func(target any) bool {
			m, _ := target.(map[string]any)
			_, ok := m[field]
			return ok
		},
		GetFrom: func(target any) (any, error) {
			m, _ := target.(map[string]any)
			v, ok := m[field]
			switch {
			case ok:
				return v, nil
			case owner == "pull_request":
				return nil, fmt.Errorf("pull_request.%s is not set: the event is no pull request; ask has(pull_request.%s) first", field, field)
			case owner == "args":
				return nil, fmt.Errorf("args.%s is not set: no command with it started this run; ask has(args.%s) first", field, field)
			}
			return nil, fmt.Errorf("the job gave no output %s; ask has(...) first", field)
		},
	}
}

// fields returns the fields of one of our types.
func (p *provider) fields(name string) (map[string]*types.FieldType, bool) {
	own, ok := strings.CutPrefix(name, typePrefix)
	if !ok {
		return nil, false
	}
	fields, ok := p.structs[own]
	return fields, ok
}

// FindStructType is part of types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.fields(name); ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames is part of types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if fields, ok := p.fields(name); ok {
		return sortedKeys(fields), true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType is part of types.Provider.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields, ok := p.fields(name); ok {
		t, ok := fields[field]
		if !ok && p.anyArg && name == typePrefix+"args" {
			return fieldType("args", field, cel.DynType), true
		}
		if !ok && name == typePrefix+openOutputs {
			return fieldType(openOutputs, field, cel.DynType), true
		}
		return t, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}

// NewValue refuses to make values of our types in an expression.
func (p *provider) NewValue(name string, _ map[string]ref.Val) ref.Val {
	return types.NewErr("%s can't be made in an expression", name)
}

// runVariables are the variables that an event gives.
func runVariables(run jobs.RunInfo) map[string]any {
	vars := repositoryVariables(run.Repository)
	vars["event"] = map[string]any{"name": string(run.Event), "action": run.Action, "actor": run.Actor.Login}
	vars["run"] = map[string]any{
		"id": run.ID, "sha": run.SHA, "short_sha": short(run.SHA), "ref": run.Ref,
		"branch": run.Branch, "tag": run.Tag, "trust": string(run.Trust.Level),
	}
	pr := map[string]any{}
	if run.PullRequest > 0 {
		pr = map[string]any{"number": int64(run.PullRequest), "head": run.Branch, "base": run.BaseBranch}
	}
	vars["pull_request"] = pr
	vars["needs"] = map[string]any{}
	vars["args"] = argValues(run.Args)
	return vars
}

func repositoryVariables(r jobs.Repository) map[string]any {
	return map[string]any{"repository": map[string]any{
		"owner": r.Owner, "name": r.Name, "full_name": r.FullName(), "default_branch": r.DefaultBranch,
	}}
}

// needsVariable is what the ended jobs that a job needs have to say.
func needsVariable(run jobs.Run, job jobs.Job) map[string]any {
	fields := variableTypes()
	needs := make(map[string]any, len(job.Needs))
	for _, name := range job.Needs {
		need := run.Job(name)
		if need == nil {
			continue
		}
		outputs := map[string]any{}
		declared := fields["outputs."+string(need.Kind)]
		for field, v := range need.Outputs {
			t := declared[field]
			if t == nil && need.Kind == jobs.KindDispatch {
				t = cel.DynType
			}
			if v, ok := typedOutput(v, t); ok {
				outputs[field] = v
			}
		}
		needs[name] = map[string]any{"result": result(need.State), "outputs": outputs}
	}
	return needs
}

// typedOutput gives an output its declared type: records keep all numbers as JSON does.
func typedOutput(v any, t *cel.Type) (any, bool) {
	switch {
	case t == nil:
		return nil, false
	case t == cel.DynType:
		return anyOutput(v), v != nil
	}
	switch v := v.(type) {
	case string:
		return v, t == cel.StringType
	case int64:
		if t == cel.DoubleType {
			return float64(v), true
		}
		return v, t == cel.IntType
	case float64:
		if t == cel.IntType {
			return int64(v), v == float64(int64(v))
		}
		return v, t == cel.DoubleType
	}
	return nil, false
}

// anyOutput is an output of no declared type; whole numbers in it are whole.
func anyOutput(v any) any {
	switch v := v.(type) {
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = anyOutput(v[i])
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key := range v {
			m[key] = anyOutput(v[key])
		}
		return m
	}
	return v
}

// result says how a job ended, in the words of jobs.Conclusion.
func result(s jobs.JobState) string {
	switch s {
	case jobs.JobSucceeded:
		return string(jobs.Success)
	case jobs.JobFailed:
		return string(jobs.Failure)
	case jobs.JobCancelled:
		return string(jobs.Cancelled)
	case jobs.JobSkipped:
		return string(jobs.Skipped)
	}
	return ""
}

// short is the form of a commit's SHA that people read.
func short(sha string) string { return sha[:min(len(sha), 12)] }
