package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// Resolve evaluates what a planned job's settings left to its needs, once those have ended, and holds a rollout that somebody
// must approve first. It is pure and evaluates every expression once. grant is what the operator's policy grants the run now.
//
// A Fault is the pipeline's: the job fails with that sentence. An error is ours: the record is not what Plan wrote.
// Whether the needs succeeded is the scheduler's to ask; an if can't run a job whose needs did not.
func Resolve(run jobs.Run, job jobs.Job, grant jobs.Grant) (jobs.Resolution, error) {
	answer, err := settle(run, job, grant)
	if err != nil || answer.Spec == nil || job.Kind != jobs.KindDeploy {
		return answer, err
	}
	settings, err := decodeSpec(job.Kind, answer.Spec)
	if err != nil {
		return jobs.Resolution{}, fmt.Errorf("resolve job %s: %w", job.Name, err)
	}
	if approvals, hold := missingApprovals(run.RunInfo, *settings.deploy, grant); hold != "" {
		return jobs.Resolution{Hold: hold, Approvals: approvals}, nil
	}
	return answer, nil
}

// missingApprovals names the environments of a rollout whose approval the run does not have, and says who can give it. What is taken back
// waits for nobody.
func missingApprovals(run jobs.RunInfo, d jobs.DeploySpec, grant jobs.Grant) (approvals []string, sentence string) {
	if d.Rollback != nil {
		return nil, ""
	}
	var texts []string
	for _, name := range d.Environments {
		for _, e := range grant.Environments {
			if e.Name == name && e.Approvals.Needed() && !slices.Contains(run.Approved, name) {
				approvals = append(approvals, name)
				texts = append(texts, fmt.Sprintf("of %s by %s", name, approvers(e.Approvals)))
			}
		}
	}
	if len(approvals) == 0 {
		return nil, ""
	}
	return approvals, jobs.Cut("waits for approval "+strings.Join(texts, ", and "), jobs.MaxSummary)
}

// settle gives a job its settings, or says why it has none.
func settle(run jobs.Run, job jobs.Job, grant jobs.Grant) (jobs.Resolution, error) {
	if len(job.Template) == 0 {
		return jobs.Resolution{Spec: job.Spec}, nil
	}
	s, err := runScope(run, job)
	if err != nil {
		return jobs.Resolution{}, err
	}
	vars := runVariables(run.RunInfo)
	vars["needs"] = needsVariable(run, job)
	if job.If != "" {
		yes, err := s.resolveIf(job.If, vars)
		if err != nil {
			return jobs.Resolution{Fault: fmt.Sprintf("if: %v", err)}, nil
		}
		if !yes {
			return jobs.Resolution{Skip: "its if is false: " + shorten(job.If)}, nil
		}
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(job.Template))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return jobs.Resolution{}, fmt.Errorf("read the template of job %s: %w", job.Name, err)
	}
	filled, fault := s.fillTemplate(tree, wantText, job.Kind, vars)
	if fault != nil {
		return jobs.Resolution{Fault: fault.Error()}, nil
	}
	data, err := json.Marshal(filled)
	if err != nil {
		return jobs.Resolution{}, fmt.Errorf("write the settings of job %s: %w", job.Name, err)
	}
	return finish(run, job, data, grant)
}

// finish checks resolved settings as Plan does those that wait for nothing.
func finish(run jobs.Run, job jobs.Job, data []byte, grant jobs.Grant) (jobs.Resolution, error) {
	settings, err := decodeSpec(job.Kind, data)
	if err != nil {
		return jobs.Resolution{}, fmt.Errorf("resolve job %s: %w", job.Name, err)
	}
	settings.complete(defaults{run: run.RunInfo})
	settings.quarantine(run.RunInfo, grant)
	var faults []string
	bad := func(_ place, format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	settings.check(bad)
	settings.checkGrant(run.RunInfo, grant, bad)
	if len(faults) > 0 {
		return jobs.Resolution{Fault: jobs.Cut(strings.Join(faults, "; "), jobs.MaxSummary)}, nil
	}
	if data, err = settings.marshal(); err != nil {
		return jobs.Resolution{}, fmt.Errorf("write the settings of job %s: %w", job.Name, err)
	}
	if len(data) > maxSpec {
		return jobs.Resolution{Fault: fmt.Sprintf("its settings have %d bytes once evaluated, more than %d", len(data), maxSpec)}, nil
	}
	return jobs.Resolution{Spec: data}, nil
}

// runScope is where the expressions of a run's job stand.
func runScope(run jobs.Run, job jobs.Job) (*scope, error) {
	kinds := make(map[string]jobs.KindName, len(job.Needs))
	for _, name := range job.Needs {
		if need := run.Job(name); need != nil {
			kinds[name] = need.Kind
		}
	}
	env, err := laterEnvironment(kinds, run.Args)
	if err != nil {
		return nil, err
	}
	return &scope{env: env, jobs: kinds, needs: job.Needs, job: job.Name, hasArgs: true}, nil
}

func (s *scope) resolveIf(text string, vars map[string]any) (bool, error) {
	one, err := condition(text)
	if err != nil {
		return false, err
	}
	e, problem := s.compile(one.expr, wantBool)
	if problem != nil {
		return false, problem
	}
	return s.evaluateIf(e, vars)
}

// fillTemplate replaces every text that waits by its value.
func (s *scope) fillTemplate(v any, want wanted, kind jobs.KindName, vars map[string]any) (any, error) {
	switch v := v.(type) {
	case []any:
		for i := range v {
			filled, err := s.fillTemplate(v[i], want, kind, vars)
			if err != nil {
				return nil, err
			}
			v[i] = filled
		}
	case map[string]any:
		if text, ok := v[exprOpen].(string); ok && len(v) == 1 {
			t, _, problem := s.compileText(text, want)
			if problem != nil {
				return nil, problem
			}
			return s.evaluateText(t, vars)
		}
		for _, key := range sortedKeys(v) {
			below := want
			if keepsTypes(kind, key) {
				below = wantAny
			}
			filled, err := s.fillTemplate(v[key], below, kind, vars)
			if err != nil {
				return nil, err
			}
			v[key] = filled
		}
	}
	return v, nil
}

// makeTemplate turns settings with marked texts into a template: the kind's spec, in which a text that waits is a mapping of
// one key, exprOpen, to the text as it is written. No key of a pipeline file can be that, and no text elsewhere is ever read
// as an expression again.
func makeTemplate(data []byte) ([]byte, error) {
	var tree any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	return json.Marshal(markTexts(tree))
}

func markTexts(v any) any {
	switch v := v.(type) {
	case string:
		if text, ok := strings.CutPrefix(v, unresolved); ok {
			return map[string]any{exprOpen: text}
		}
	case []any:
		for i := range v {
			v[i] = markTexts(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = markTexts(v[key])
		}
	}
	return v
}
