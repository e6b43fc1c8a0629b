package main

import (
	"cmp"
	"os"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A workflow is the part of a GitHub Actions workflow that init reads.
type workflow struct {
	Name any       `yaml:"name"`
	On   any       `yaml:"on"`
	Jobs yaml.Node `yaml:"jobs"`
}

const maxChecks = 20 // of a workflow that are named

// checks are the jobs of a workflow that runs on pushes or pull requests, as await names them, each as a YAML scalar. A job whose
// checks have names that only a run tells is left out: of a matrix, of another workflow, or with an expression in its name.
func (w workflow) checks(file string) (list []string) {
	on := events(w.On)
	if !slices.Contains(on, "push") && !slices.Contains(on, "pull_request") || w.Jobs.Kind != yaml.MappingNode {
		return nil
	}
	title := file // GitHub names a workflow without a name after its path
	if name, ok := w.Name.(string); ok && name != "" {
		title = name
	}
	for i := 0; i+1 < len(w.Jobs.Content) && len(list) < maxChecks; i += 2 {
		var job struct {
			Name     string `yaml:"name"`
			Uses     any    `yaml:"uses"`
			Strategy struct {
				Matrix any `yaml:"matrix"`
			} `yaml:"strategy"`
		}
		if w.Jobs.Content[i+1].Decode(&job) != nil || job.Uses != nil || job.Strategy.Matrix != nil {
			continue
		}
		check := title + " / " + cmp.Or(job.Name, w.Jobs.Content[i].Value)
		if !strings.Contains(check, "${{") && !strings.Contains(check, "@") { // await reads an @ as what an App's name follows
			list = append(list, scalar(check))
		}
	}
	return list
}

// workflow notes whether a GitHub Actions workflow can be dispatched or waited for, and what it does that Slipway would do, too.
func (f *findings) workflow(root *os.Root, name string) {
	var w workflow
	data, err := readFile(root, name)
	if err == nil {
		err = yaml.Unmarshal(data, &w)
	}
	if err != nil {
		f.note("%s can't be read as a workflow.", name)
		return
	}
	if slices.Contains(events(w.On), "workflow_dispatch") {
		f.note("%s: can be dispatched: /dispatch %[2]s does, and a job with dispatch: {workflow: %[2]s}.", name, path.Base(name))
	}
	if checks := w.checks(name); len(checks) > 0 {
		f.note("%s: can be waited for: await: {checks: [%s]}.", name, strings.Join(checks, ", "))
	}
	for _, does := range []struct {
		what  string
		words []string
	}{
		{"builds images", []string{"docker/build-push-action", "docker build", "docker buildx", "podman build", "ko build"}},
		{"rolls out", []string{"helm upgrade", "helm install", "kubectl apply", "kustomize build"}},
	} {
		if slices.ContainsFunc(does.words, func(word string) bool { return strings.Contains(string(data), word) }) {
			f.note("%s: %s too. It goes on to run beside Slipway until you take that out of it.", name, does.what)
		}
	}
}

// events are the names of a workflow's triggers, in whichever form they are written.
func events(on any) (list []string) {
	switch on := on.(type) {
	case string:
		return []string{on}
	case []any:
		for _, one := range on {
			if name, ok := one.(string); ok {
				list = append(list, name)
			}
		}
	case map[string]any:
		for name := range on {
			list = append(list, name)
		}
	}
	return list
}

// tekton notes a Pipelines-as-Code run.
func (f *findings) tekton(root *os.Root, name string) {
	var run struct {
		Kind     string `yaml:"kind"`
		Metadata struct {
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"metadata"`
	}
	if err := loadYAML(root, name, &run); err != nil || run.Kind != "PipelineRun" {
		f.note("%s: Tekton; no job was made of it.", name)
		return
	}
	on := strings.Trim(run.Metadata.Annotations["pipelinesascode.tekton.dev/on-event"], "[] ")
	if on == "" {
		on = "something"
	}
	f.note("%s: a Tekton PipelineRun on %s; no job was made of it. Builds and rollouts in it are what the jobs here are for.", name, on)
}
