package pipeline

import (
	"reflect"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

const workflowsPolicy = `
environments: {production: {clusters: [seoul], repositories: [acme/*], required_checks: [CI / test, lint, lint@sonar, CI / test@status]}}
workflows:
  acme/tools: {repositories: [acme/*, "!acme/Secret"], files: ["deploy-*.yaml"], refs: [main, v*]}
  Acme/Shop: {repositories: [acme/other], files: [hello.yaml]}
repositories: {allow: [acme/*], mode: run}
`

func TestWorkflowGrants(t *testing.T) {
	r := mustCompile(t, workflowsPolicy)
	tools := jobs.WorkflowGrant{Repository: "acme/tools", Files: []string{"deploy-*.yaml"}, Refs: []string{"main", "v*"}}
	shop := jobs.WorkflowGrant{Repository: "acme/shop", Files: []string{"hello.yaml"}}
	for name, want := range map[string][]jobs.WorkflowGrant{
		"Shop":   {shop, tools},
		"other":  {{Repository: "acme/other"}, shop, tools},
		"tools":  {tools},
		"secret": {{Repository: "acme/secret"}},
	} {
		if got := r.Grant(pushTo(repository("acme", name), "x")).Workflows; !reflect.DeepEqual(got, want) {
			t.Errorf("%s is granted %+v, want %+v", name, got, want)
		}
	}
	for _, level := range []jobs.TrustLevel{jobs.Approved, jobs.Untrusted, ""} {
		run := pushTo(repository("acme", "shop"), "x")
		run.Trust.Level = level
		if got := r.Grant(run).Workflows; got != nil {
			t.Errorf("a run that is %q is granted %+v", level, got)
		}
	}
	if got := r.Grant(pushTo(repository("acme", "shop"), "x")).Environments[0].RequiredChecks; !reflect.DeepEqual(got, []string{"CI / test", "lint", "lint@sonar", "CI / test@status"}) {
		t.Errorf("required checks %q", got)
	}
}

func TestWorkflowPolicyFaults(t *testing.T) {
	long := strings.Repeat("x", 201)
	_, err := compilePolicy(t, `
environments:
  e: {clusters: [seoul], repositories: [acme/*], required_checks: [slipway, slipway / a, slipway@x, b, b@, c@x, "c @X", "", "@x", `+long+`]}
workflows:
  tools: {repositories: [acme/*]}
  acme/../x: {repositories: [acme/*]}
  acme/none: {}
  acme/empty: {repositories: [acme/*], files: [], refs: []}
  acme/odd: {repositories: ["[", "${{ repository.name }}"], files: ["!a"], refs: ["a["]}
  acme/Twice: {repositories: [acme/*]}
  acme/twice: {repositories: [acme/*]}
`)
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{
		"environments.e.required_checks: slipway is Slipway's own",
		"environments.e.required_checks: slipway / a is Slipway's own",
		"environments.e.required_checks: slipway@x is Slipway's own",
		"environments.e.required_checks: b@ is here twice",
		"environments.e.required_checks: c @X is here twice",
		"environments.e.required_checks: a name is empty",
		"has more than 200 bytes",
		`workflows: "tools" is no repository: write owner/name`,
		`workflows: "acme/../x" is no repository`,
		"workflows.acme/none.repositories: say which",
		"workflows.acme/empty.files: an empty list",
		"workflows.acme/empty.refs: an empty list",
		`workflows.acme/odd.repositories: "[" can't be used`,
		"${{ }} has no meaning here",
		"workflows.acme/odd.files: patterns that begin with !",
		`workflows.acme/odd.refs: "a[" can't be used`,
		"workflows: acme/twice is here twice",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in\n%v", want, err)
		}
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != 18 {
		t.Errorf("%d faults:\n%v", got, err)
	}
}
