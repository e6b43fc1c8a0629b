package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"golang.org/x/tools/txtar"

	"github.com/slipway-ci/slipway/jobs"
)

// A case is a txtar file in testdata: an event in a few words, a pipeline file (or none), perhaps an operator's
// policy and the outputs of jobs, and the plan as readable text. Add a file, run with -update, read what it says.

// defaultPolicy is the operator's word where a case brings none.
const defaultPolicy = `
registries:
  registry.example.com: {}
environments:
  staging: {clusters: [one], repositories: [acme/*]}
  production: {clusters: [two], repositories: [acme/*], namespaces: [tks], branches: [main, release/*]}
repositories: {allow: [acme/*], mode: run}
defaults: {image: "registry.example.com/${{ repository.owner }}/${{ repository.name }}"}
`

// event is how a case describes what happened.
type event struct {
	Push        string   `yaml:"push"`    // branch
	Tag         string   `yaml:"tag"`     // pushed tag
	Deleted     bool     `yaml:"deleted"` // the push deleted it
	PullRequest string   `yaml:"pull_request"`
	Into        string   `yaml:"into"` // base branch
	Fork        bool     `yaml:"fork"`
	Untrusted   bool     `yaml:"untrusted"`
	Message     string   `yaml:"message"`
	Changed     []string `yaml:"changed"`
	Unknown     string   `yaml:"unknown"` // why changed files are not known
	Stale       string   `yaml:"stale"`
	Dockerfile  bool     `yaml:"dockerfile"`
	Repository  string   `yaml:"repository"` // default acme/shop
	Default     string   `yaml:"default"`    // default branch, default main

	Label      string   `yaml:"label"`  // just put on the pull request, or taken from it
	Labels     []string `yaml:"labels"` // that the pull request carries
	Draft      bool     `yaml:"draft"`
	Approved   bool     `yaml:"approved"`    // a pull request from outside whose commit was approved
	MergeGroup string   `yaml:"merge_group"` // branch that a queue merges into
	Release    string   `yaml:"release"`     // tag of a published release
	Prerelease bool     `yaml:"prerelease"`
	Schedule   string   `yaml:"schedule"`

	// What a person asks for, on the event above.
	Build    *[]string          `yaml:"build"`
	Deploy   *jobs.DeployTarget `yaml:"deploy"`
	Rollback *jobs.DeployTarget `yaml:"rollback"`
	Command  string             `yaml:"command"`
	Args     map[string]any     `yaml:"args"`

	Dispatch *jobs.AskDispatch `yaml:"dispatch"`

	Granted []string `yaml:"granted"` // environments whose approval the run has
}

const caseSHA = "0123456789abcdef0123456789abcdef01234567"

func (e event) input(t testing.TB, files map[string][]byte) (jobs.PlanInput, *Rules) {
	t.Helper()
	var policy Policy
	text := []byte(defaultPolicy)
	if own, ok := files["policy.yaml"]; ok {
		text = own
	}
	if err := yaml.Load(text, &policy, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	rules, err := Compile(policy, []string{"one", "two"})
	if err != nil {
		t.Fatal(err)
	}
	owner, name, _ := strings.Cut(or(e.Repository, "acme/shop"), "/")
	repo := jobs.Repository{ID: 7, Owner: owner, Name: name, DefaultBranch: or(e.Default, "main")}
	in := jobs.PlanInput{
		Event:   jobs.Event{Kind: jobs.EventPush, Repository: repo, After: caseSHA, Message: e.Message, Sender: jobs.Actor{ID: 1, Login: "ada"}},
		Trust:   jobs.Trust{Level: jobs.Trusted},
		Changes: jobs.Changes{Known: e.Unknown == "", Files: e.Changed, Why: e.Unknown},
		Path:    ".slipway.yaml", SHA: caseSHA, Stale: e.Stale, HasDockerfile: e.Dockerfile,
	}
	in.File, in.HasFile = files[".slipway.yaml"]
	if e.Untrusted || e.Fork {
		in.Trust.Level = jobs.Untrusted
	}
	if e.Approved {
		in.Trust.Level, e.Fork = jobs.Approved, true
	}
	in.Run = jobs.RunInfo{ID: "r-example", Repository: repo, Event: jobs.EventPush, SHA: caseSHA, Actor: in.Event.Sender, Trust: in.Trust, CommitMessage: e.Message}
	switch {
	case e.PullRequest != "":
		in.Event.Kind, in.Event.Action, in.Event.After = jobs.EventPullRequest, e.PullRequest, ""
		in.Event.PullRequest = &jobs.PullRequest{Number: 12, HeadRef: "feat/x", HeadSHA: caseSHA, BaseRef: or(e.Into, "main"), Labels: e.Labels, Draft: e.Draft}
		in.Event.Label = e.Label
		in.Run.Event, in.Run.Action, in.Run.PullRequest, in.Run.Fork = jobs.EventPullRequest, e.PullRequest, 12, e.Fork
		in.Run.Ref, in.Run.Branch, in.Run.BaseBranch = "refs/pull/12/head", "feat/x", or(e.Into, "main")
	case e.Tag != "":
		in.Event.Ref, in.Run.Ref, in.Run.Tag = "refs/tags/"+e.Tag, "refs/tags/"+e.Tag, e.Tag
	case e.MergeGroup != "":
		ref := "refs/heads/gh-readonly-queue/" + e.MergeGroup + "/pr-12-0123456"
		in.Event.Kind, in.Event.Action, in.Event.Ref = jobs.EventMergeGroup, "checks_requested", ref
		in.Event.MergeGroup = &jobs.MergeGroup{HeadRef: ref, HeadSHA: caseSHA, BaseRef: "refs/heads/" + e.MergeGroup}
		in.Run.Event, in.Run.Action, in.Run.Ref, in.Run.BaseBranch = jobs.EventMergeGroup, in.Event.Action, ref, e.MergeGroup
		in.Run.Branch = strings.TrimPrefix(ref, "refs/heads/")
	case e.Release != "":
		in.Event.Kind, in.Event.Action, in.Event.Ref = jobs.EventRelease, "published", "refs/tags/"+e.Release
		in.Event.Release = &jobs.Release{Tag: e.Release, Prerelease: e.Prerelease}
		in.Run.Event, in.Run.Action, in.Run.Ref, in.Run.Tag = jobs.EventRelease, "published", in.Event.Ref, e.Release
	case e.Schedule != "":
		branch := or(e.Default, "main")
		in.Event.Kind, in.Event.Schedule, in.Event.Ref = jobs.EventSchedule, e.Schedule, "refs/heads/"+branch
		in.Run.Event, in.Run.Ref, in.Run.Branch = jobs.EventSchedule, in.Event.Ref, branch
	default:
		in.Event.Ref, in.Run.Ref, in.Run.Branch = "refs/heads/"+e.Push, "refs/heads/"+e.Push, e.Push
	}
	if e.Deleted {
		in.Event.After = ""
	}
	in.Grant, in.DefaultImage = rules.Grant(in.Run), rules.DefaultImage(repo)
	in.Run.Approved = e.Granted
	e.ask(&in)
	in.Workflows = workflowFiles(in, files)
	return in, rules
}

// workflowFiles reads what a plan asks for, as the planner does, from a case's files. A case without any has no way to read them.
func workflowFiles(in jobs.PlanInput, files map[string][]byte) (list []jobs.WorkflowFile) {
	given := false
	for name := range files {
		given = given || strings.Contains(name, workflowFolder)
	}
	if !given {
		return nil
	}
	for _, ref := range Workflows(in) {
		file := jobs.WorkflowFile{WorkflowRef: ref, Path: workflowFolder + ref.Workflow}
		name := file.Path
		if ref.Repository+ref.Ref != "" {
			name = ref.Repository + "@" + ref.Ref + "/" + file.Path
		}
		var found bool
		if file.Content, found = files[name]; !found {
			file.Problem = "there is no " + name
		}
		list = append(list, file)
	}
	return list
}

const workflowFolder = ".github/workflows/"

func (e event) ask(in *jobs.PlanInput) {
	if e.Build != nil || e.Deploy != nil || e.Rollback != nil || e.Command != "" || e.Dispatch != nil {
		in.Run.Asked = &jobs.Asked{By: in.Event.Sender}
	}
	switch {
	case e.Build != nil:
		in.Ask = &jobs.Ask{Build: true, Jobs: *e.Build}
	case e.Deploy != nil:
		in.Ask = &jobs.Ask{Deploy: e.Deploy}
	case e.Rollback != nil:
		in.Ask = &jobs.Ask{Rollback: e.Rollback}
	case e.Dispatch != nil:
		in.Ask = &jobs.Ask{Dispatch: e.Dispatch}
	case e.Command != "":
		in.Ask = &jobs.Ask{Command: e.Command, Args: e.Args}
		in.Run.Args = e.Args
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func TestCases(t *testing.T) {
	for _, name := range caseFiles(t) {
		t.Run(strings.TrimPrefix(strings.TrimSuffix(name, ".txtar"), "testdata/"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{}
			for _, f := range archive.Files {
				files[f.Name] = f.Data
			}
			var e event
			if err := yaml.Load(files["event"], &e, yaml.WithKnownFields()); err != nil {
				t.Fatalf("event: %v", err)
			}
			in, rules := e.input(t, files)
			plan := Plan(in)
			if again := Plan(in); !reflect.DeepEqual(plan, again) {
				t.Errorf("planned twice, two plans:\n%s\n%s", show(plan), show(again))
			}
			got := show(plan)
			if outputs, ok := files["outputs"]; ok {
				got += resolvedText(t, in, rules, plan, outputs)
			}
			if got == string(files["plan"]) {
				return
			}
			if !*update {
				t.Fatalf("got\n%s\nwant\n%s", got, files["plan"])
			}
			renew(t, name, archive, got)
		})
	}
}

func renew(t *testing.T, name string, archive *txtar.Archive, plan string) {
	t.Helper()
	for i := range archive.Files {
		if archive.Files[i].Name == "plan" {
			archive.Files = append(archive.Files[:i], archive.Files[i+1:]...)
			break
		}
	}
	archive.Files = append(archive.Files, txtar.File{Name: "plan", Data: []byte(plan)})
	if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// show writes a plan as people read it.
func show(p jobs.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", p.Pipeline)
	if p.Refusal != "" {
		fmt.Fprintf(&b, "refusal: %s\n", p.Refusal)
	}
	if p.SkipReason != "" {
		fmt.Fprintf(&b, "skip: %s\n", p.SkipReason)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "fault: %s:%d:%d: [%s] %s\n", f.Path, f.Line, f.Column, f.Job, f.Message)
	}
	for _, j := range p.Jobs {
		verb := "no"
		if j.Planned {
			verb = "RUNS"
		}
		fmt.Fprintf(&b, "%s (%s, line %d): %s: %s\n", j.Name, j.Kind, j.Line, verb, j.Reason)
		for _, detail := range []struct{ name, value string }{
			{"needs", strings.Join(j.Needs, " ")}, {"fault", j.Fault}, {"if", j.If},
			{"spec", string(j.Spec)}, {"template", string(j.Template)},
		} {
			if detail.value != "" {
				fmt.Fprintf(&b, "\t%s: %s\n", detail.name, detail.value)
			}
		}
	}
	return b.String()
}

// resolvedText resolves every planned job that waits for something with the outputs that a case gives its needs.
func resolvedText(t *testing.T, in jobs.PlanInput, rules *Rules, plan jobs.Plan, text []byte) string {
	t.Helper()
	var outputs map[string]map[string]any
	if err := yaml.Load(text, &outputs); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(outputs) // as records keep them
	if err != nil {
		t.Fatal(err)
	}
	outputs = nil
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&outputs); err != nil {
		t.Fatal(err)
	}
	run := jobs.Run{RunInfo: in.Run}
	for _, j := range plan.Jobs {
		if j.Planned {
			run.Jobs = append(run.Jobs, jobs.Job{
				Name: j.Name, Kind: j.Kind, Needs: j.Needs, Spec: j.Spec, Template: j.Template, If: j.If,
				State: jobs.JobSucceeded, Outputs: outputs[j.Name],
			})
		}
	}
	var b strings.Builder
	for _, j := range run.Jobs {
		r, err := Resolve(run, j, rules.Grant(run.RunInfo))
		if err != nil {
			t.Fatal(err)
		}
		if len(j.Template) == 0 && r.Hold == "" {
			continue
		}
		fmt.Fprintf(&b, "%s resolved:\n", j.Name)
		for _, detail := range []struct{ name, value string }{{"hold", r.Hold}, {"approvals", strings.Join(r.Approvals, " ")}, {"skip", r.Skip}, {"fault", r.Fault}, {"spec", string(r.Spec)}} {
			if detail.value != "" {
				fmt.Fprintf(&b, "\t%s: %s\n", detail.name, detail.value)
			}
		}
	}
	return b.String()
}
