package pipeline

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

func containsText(data []byte, text string) bool { return bytes.Contains(data, []byte(text)) }

const peoplePolicy = `
registries: {registry.example.com: {}}
environments:
  production:
    clusters: [seoul]
    repositories: [acme/*]
    approvals: {count: 2, teams: [acme/sre], users: [alice]}
    url: https://shop.example.com
  staging: {clusters: [staging], repositories: [acme/*], approvals: {}}
  open: {clusters: [staging], repositories: [acme/*]}
trust: {command_prefix: slipway, require_prefix: true, quarantine: registry.example.com/quarantine}
commands:
  deploy: {role: maintain, teams: [acme/sre], users: [alice]}
  rollback: {teams: [acme/sre]}
  cancel: {role: none}
  greet: {role: read}
repositories: {allow: [acme/*], mode: run}
`

func TestCommandPolicy(t *testing.T) {
	r := mustCompile(t, peoplePolicy)
	for name, want := range map[string]jobs.CommandPolicy{
		"deploy":   {Role: "maintain", Teams: []string{"acme/sre"}, Users: []string{"alice"}},
		"rollback": {Teams: []string{"acme/sre"}}, // the default role does not count beside it
		"cancel":   {},
		"greet":    {Role: "read"},
		"build":    {Role: "write"},
		"unheard":  {Role: "write"},
		"help":     {Role: "read"},
	} {
		if got := r.Command(name); !reflect.DeepEqual(got, want) {
			t.Errorf("/%s is for %+v, want %+v", name, got, want)
		}
	}
	if prefix, required := r.Prefix(); prefix != "slipway" || !required {
		t.Errorf("prefix %q, required %v", prefix, required)
	}
	if prefix, required := mustCompile(t, "{}").Prefix(); prefix != "" || required {
		t.Errorf("without a word: prefix %q, required %v", prefix, required)
	}
}

func TestEnvironmentPeople(t *testing.T) {
	grant := mustCompile(t, peoplePolicy).Grant(pushTo(repository("acme", "shop"), "main"))
	want := map[string]jobs.EnvironmentGrant{
		"production": {Approvals: jobs.ApprovalRule{Count: 2, Teams: []string{"acme/sre"}, Users: []string{"alice"}}, URL: "https://shop.example.com"},
		"staging":    {Approvals: jobs.ApprovalRule{Count: 1}}, // whoever writes approvals wants one
		"open":       {},
	}
	if len(grant.Environments) != len(want) {
		t.Fatalf("granted %+v", grant.Environments)
	}
	for _, e := range grant.Environments {
		if !reflect.DeepEqual(e.Approvals, want[e.Name].Approvals) || e.URL != want[e.Name].URL {
			t.Errorf("%s: %+v at %q", e.Name, e.Approvals, e.URL)
		}
	}
}

// An approved pull request from outside may push into its repository's part of the quarantine, and touch nothing else.
func TestGrantApproved(t *testing.T) {
	r := mustCompile(t, peoplePolicy)
	approved := func(owner, name string) jobs.RunInfo {
		return jobs.RunInfo{Repository: repository(owner, name), Event: jobs.EventPullRequest, Fork: true, Trust: jobs.Trust{Level: jobs.Approved}}
	}
	want := jobs.Grant{Push: []jobs.PushGrant{{Registry: "registry.example.com", Names: []string{"quarantine/acme/shop/**"}}}}
	if got := r.Grant(approved("Acme", "Shop")); !reflect.DeepEqual(got, want) {
		t.Errorf("granted %+v, want %+v", got, want)
	}
	inside := approved("acme", "shop")
	inside.Fork = false
	if got := r.Grant(inside); !reflect.DeepEqual(got, want) {
		t.Errorf("from a branch: granted %+v, want %+v", got, want)
	}
	nothing := map[string]jobs.Grant{
		"another owner":    r.Grant(approved("evil", "shop")),
		"a name of dots":   r.Grant(approved("acme", "..")),
		"no image's name":  r.Grant(approved("acme", "-shop-")),
		"a pattern's name": r.Grant(approved("acme", "*")),
		"no quarantine":    mustCompile(t, fullPolicy).Grant(approved("acme", "shop")),
	}
	untrusted := approved("acme", "shop")
	untrusted.Trust.Level = jobs.Untrusted
	nothing["not approved"] = r.Grant(untrusted)
	for name, g := range nothing {
		if len(g.Push)+len(g.Environments) > 0 {
			t.Errorf("%s: granted %+v", name, g)
		}
	}
}

// A build of an approved run that names the image of another is pushed where only strangers' images are, or not at all.
func TestQuarantineImage(t *testing.T) {
	approved := jobs.RunInfo{Repository: repository("acme", "shop"), Trust: jobs.Trust{Level: jobs.Approved}}
	grant := mustCompile(t, peoplePolicy).Grant(approved)
	for image, want := range map[string]string{
		"registry.example.com/acme/shop":          "registry.example.com/quarantine/acme/shop/shop",
		"ghcr.io/other/deep/thing":                "registry.example.com/quarantine/acme/shop/thing",
		"registry.example.com/quarantine/x/y/z":   "registry.example.com/quarantine/acme/shop/z",
		"registry.example.com/quarantine/acme/a":  "registry.example.com/quarantine/acme/shop/a",
		"":                                        "",
		unresolved + "${{ needs.a.outputs.ref }}": unresolved + "${{ needs.a.outputs.ref }}",
	} {
		for _, times := range []int{1, 2} {
			s := spec{build: &jobs.BuildSpec{Image: image}}
			for range times {
				s.quarantine(approved, grant)
			}
			if s.build.Image != want {
				t.Errorf("%q becomes %q after %d times, want %q", image, s.build.Image, times, want)
			}
		}
		s := spec{build: &jobs.BuildSpec{Image: image}}
		trusted := approved
		trusted.Trust.Level = jobs.Trusted
		if s.quarantine(trusted, grant); s.build.Image != image {
			t.Errorf("%q of a trusted run becomes %q", image, s.build.Image)
		}
		if s.quarantine(approved, jobs.Grant{}); s.build.Image != image {
			t.Errorf("%q without a quarantine becomes %q", image, s.build.Image)
		}
	}
}

func TestPeopleFaults(t *testing.T) {
	_, err := compilePolicy(t, `
registries: {registry.example.com: {}}
environments:
  a: {clusters: [staging], repositories: [acme/*], approvals: {count: -1, teams: [sre, acme/sre, acme/sre]}, url: "ftp://x"}
  b: {clusters: [staging], repositories: [acme/*], approvals: {count: 3, users: [alice, Alice, "bot[bot]"]}, url: "https://user:pw@x"}
  c: {clusters: [staging], repositories: [acme/*], approvals: {count: 11}}
trust: {require_prefix: true, quarantine: other.example.com/q}
commands:
  deploy: {}
  Rollback: {role: write}
  build: {role: owner}
  ok-to-test: {role: read}
  help: {teams: ["acme/a b"], users: ["a b"]}
`)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"environments.a.approvals.count: -1 is not a number from 1 to 10", `environments.a.approvals.teams: "sre" is not of the form`,
		"environments.a.approvals.teams: acme/sre is here twice", `environments.a.url: "ftp://x"`,
		"environments.b.approvals.users: Alice is here twice", `environments.b.approvals.users: "bot[bot]"`, "environments.b.url: ",
		"environments.c.approvals.count: 11", "trust.require_prefix: ", "trust.quarantine: other.example.com is not among registries",
		"commands.deploy: say who may", `commands: "Rollback"`, `commands.build.role: there is no role "owner"`, "commands.ok-to-test.role: everybody",
		"commands.help.teams: ", "commands.help.users: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in:\n%v", want, err)
		}
	}
	for policy, want := range map[string]string{
		"trust: {command_prefix: deploy}":                "trust.command_prefix: deploy is a command's name",
		"trust: {command_prefix: promote}":               "trust.command_prefix: promote is a command's name",
		"trust: {command_prefix: /slipway}":              `trust.command_prefix: "/slipway" can't be`,
		"trust: {quarantine: quarantine}":                "trust.quarantine: quarantine names no registry",
		"trust: {quarantine: registry.example.com/Q}":    "trust.quarantine: ",
		"trust: {quarantine: registry.example.com/q:v1}": "trust.quarantine: ",
		"environments: {a: {clusters: [staging], repositories: [x/y], approvals: {count: 2, users: [alice]}}}": "2 must approve, but only 1 are listed",
	} {
		if _, err := compilePolicy(t, policy); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", policy, err)
		}
	}
}
