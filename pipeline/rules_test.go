package pipeline

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/slipway-ci/slipway/jobs"
)

func compilePolicy(t *testing.T, text string) (*Rules, error) {
	t.Helper()
	var p Policy
	if err := yaml.Load([]byte(text), &p, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	return Compile(p, []string{"staging", "seoul"})
}

func mustCompile(t *testing.T, text string) *Rules {
	t.Helper()
	r, err := compilePolicy(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func repository(owner, name string) jobs.Repository {
	return jobs.Repository{ID: 1, Owner: owner, Name: name, DefaultBranch: "main"}
}

func pushTo(r jobs.Repository, branch string) jobs.RunInfo {
	return jobs.RunInfo{Repository: r, Event: jobs.EventPush, Branch: branch, Trust: jobs.Trust{Level: jobs.Trusted}}
}

const fullPolicy = `
registries:
  registry.example.com: {push: ["${{ repository.owner }}/${{ repository.name }}", "${{ repository.full_name }}/**", "!*/*/secret"]}
  localhost:5000: {}
environments:
  staging: {clusters: [staging], repositories: ["acme/*"], namespaces: ["${{ repository.name }}", "${{ repository.name }}-*", tks]}
  production: {clusters: [seoul], repositories: ["ACME/shop", "!acme/secret"], branches: [main, "release/*", "$default"]}
repositories: {allow: ["Acme/*", "!acme/banned"], mode: run}
trust: {bots: ["dependabot[bot]"]}
defaults: {image: "registry.example.com/${{ repository.owner }}/${{ repository.name }}"}
`

func TestGrant(t *testing.T) {
	r := mustCompile(t, fullPolicy)
	got := r.Grant(pushTo(repository("Acme", "Shop"), "feat/x"))
	want := jobs.Grant{
		Push: []jobs.PushGrant{
			{Registry: "localhost:5000", Names: []string{"acme/shop", "acme/shop/**"}},
			{Registry: "registry.example.com", Names: []string{"acme/shop", "acme/shop/**", "!*/*/secret"}},
		},
		Environments: []jobs.EnvironmentGrant{
			{Name: "production", Clusters: []string{"seoul"}, Namespaces: []string{"shop"}, Branches: []string{"main", "release/*", "main"}},
			{Name: "staging", Clusters: []string{"staging"}, Namespaces: []string{"shop", "shop-*", "tks"}, Branches: []string{"main"}},
		},
		Workflows: []jobs.WorkflowGrant{{Repository: "acme/shop"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := r.Grant(pushTo(repository("acme", "other"), "main")); len(got.Environments) != 1 || got.Environments[0].Name != "staging" {
		t.Errorf("acme/other is granted %+v", got.Environments)
	}
}

// Whoever is not trusted, not listed, or not what GitHub calls a repository is granted nothing.
func TestGrantNothing(t *testing.T) {
	r := mustCompile(t, fullPolicy)
	good := pushTo(repository("acme", "shop"), "main")
	untrusted, fork, unknown := good, good, good
	untrusted.Trust.Level = jobs.Untrusted
	fork.Fork = true
	unknown.Trust = jobs.Trust{}
	runs := map[string]jobs.RunInfo{
		"untrusted": untrusted, "fork": fork, "trust not decided": unknown,
		"other owner": pushTo(repository("evil", "shop"), "main"),
		"banned":      pushTo(repository("acme", "Banned"), "main"),
	}
	for _, name := range []string{"*", "**", "a*", "shop/../x", "sh?op", "[a-z]", "", ".", "..", "a b", "a,b", `a\`, "${{x}}", "é", strings.Repeat("a", 101)} {
		runs["repository named "+name] = pushTo(repository("acme", name), "main")
		runs["owner named "+name] = pushTo(repository(name, "shop"), "main")
	}
	for name, run := range runs {
		if g := r.Grant(run); len(g.Push)+len(g.Environments)+len(g.Workflows) > 0 {
			t.Errorf("%s: granted %+v", name, g)
		}
	}
	if g := r.Grant(good); len(g.Push) == 0 {
		t.Error("acme/shop is granted nothing, so this test says nothing")
	}
}

// What a repository or its default branch is called widens no pattern.
func TestNamesStayNames(t *testing.T) {
	r := mustCompile(t, `
registries: {r.example.com: {push: ["${{ repository.name }}"]}}
environments: {e: {clusters: [staging], repositories: ["**"]}}
repositories: {mode: observe}
`)
	repo := repository("acme", "a.b")
	repo.DefaultBranch = "*"
	g := r.Grant(pushTo(repo, "main"))
	if ok, _ := MatchAny(g.Push[0].Names, "axb"); ok {
		t.Error("a.b may push axb")
	}
	if ok, _ := MatchAny(g.Environments[0].Branches, "main"); ok {
		t.Error("a default branch called * lets every branch roll out")
	}
	if ok, _ := MatchAny(g.Environments[0].Branches, "*"); !ok {
		t.Error("the default branch may not roll out")
	}
	repo.DefaultBranch = "!main"
	if ok, _ := MatchAny(r.Grant(pushTo(repo, "x")).Environments[0].Branches, "!main"); !ok {
		t.Error("a default branch called !main may not roll out")
	}
	repo.DefaultBranch = ""
	if branches := r.Grant(pushTo(repo, "x")).Environments[0].Branches; len(branches) != 0 {
		t.Errorf("without a default branch %v may roll out", branches)
	}
}

// Some repositories run, the others of an owner are observed.
const optedIn = `repositories: {allow: [acme/*], mode: observe, run: [acme/shop, "*/team-*", "!acme/team-x"]}`

func TestMode(t *testing.T) {
	for _, tt := range []struct {
		policy, owner, name string
		want                jobs.Mode
	}{
		{"{}", "acme", "shop", jobs.ModeObserve},
		{"repositories: {mode: observe}", "acme", "shop", jobs.ModeObserve},
		{"repositories: {allow: [acme/*]}", "acme", "shop", jobs.ModeObserve},
		{"repositories: {allow: [acme/*]}", "other", "shop", jobs.ModeOff},
		{fullPolicy, "ACME", "Shop", jobs.ModeRun},
		{fullPolicy, "acme", "banned", jobs.ModeOff},
		{fullPolicy, "acme2", "shop", jobs.ModeOff},
		{"{}", "acme", "..", jobs.ModeOff},
		{optedIn, "acme", "other", jobs.ModeObserve},
		{optedIn, "Acme", "SHOP", jobs.ModeRun},
		{optedIn, "acme", "team-a", jobs.ModeRun},
		{optedIn, "acme", "team-x", jobs.ModeObserve},
		{optedIn, "other", "shop", jobs.ModeOff},
		{optedIn, "evil", "team-a", jobs.ModeOff},
		{"repositories: {run: [acme/shop]}", "acme", "shop", jobs.ModeRun},
		{"repositories: {run: [acme/shop]}", "acme", "other", jobs.ModeObserve},
	} {
		if got := mustCompile(t, tt.policy).Mode(repository(tt.owner, tt.name)); got != tt.want {
			t.Errorf("%s: %s/%s is %q, want %q", tt.policy, tt.owner, tt.name, got, tt.want)
		}
	}
}

func TestDefaultImageAndBots(t *testing.T) {
	r := mustCompile(t, fullPolicy)
	if got := r.DefaultImage(repository("Acme", "Shop")); got != "registry.example.com/acme/shop" {
		t.Errorf("default image %q", got)
	}
	if got := r.DefaultImage(repository("acme", "a b")); got != "" {
		t.Errorf("default image %q of a name that is none", got)
	}
	if got := mustCompile(t, "{}").DefaultImage(repository("acme", "shop")); got != "" {
		t.Errorf("default image %q without one", got)
	}
	if got := r.Bots(); !reflect.DeepEqual(got, []string{"dependabot[bot]"}) {
		t.Errorf("bots %v", got)
	}
}

// All faults of a policy come at once, each with its key.
func TestCompileFaults(t *testing.T) {
	_, err := compilePolicy(t, `
registries:
  "not a host": {}
  r.example.com: {push: ["[", "!a", "[${{ repository.name }}]", "${{ repository.name }}?", "\\${{ repository.name }}", "${{ run.sha }}", "${{ repository.name"]}
environments:
  "a b": {clusters: [staging], repositories: [acme/*]}
  e: {clusters: [stagin]}
  f: {clusters: [], repositories: ["${{ repository.name }}"], namespaces: ["!x"], branches: ["a["]}
repositories: {mode: on}
trust: {bots: [" "]}
defaults: {image: "nowhere/${{ repository.name }}"}
`)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`registries: "not a host"`, `registries.r.example.com.push: "["`, "can't stand within [ ]", "would repeat the last letter",
		"would escape the first letter", `no variable or function "run"`, "never closed",
		`environments: "a b"`, `environments.e.clusters: there is no cluster "stagin" (did you mean staging?)`, "environments.e.repositories: say which",
		"environments.f.clusters: name at least one", "environments.f.repositories: ", "environments.f.namespaces: patterns that begin with !",
		`environments.f.branches: "a["`, `repositories.mode: "on"`, "trust.bots", "defaults.image: nowhere/",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in:\n%v", want, err)
		}
	}
	if _, err := compilePolicy(t, "repositories: {mode: run}"); err == nil || !strings.Contains(err.Error(), "repositories.allow") {
		t.Errorf("mode run without a list: %v", err)
	}
	for policy, want := range map[string]string{
		"{allow: [acme/*], mode: run, run: [acme/shop]}":     "repositories.run: mode: run lets all of allow run",
		"{allow: [acme/*], run: [Acme/shop, other/shop]}":    "repositories.run: other/shop is not among repositories.allow",
		`{allow: [acme/*], run: ["!acme/shop"]}`:             "repositories.run: patterns that begin with !",
		`{allow: [acme/*], run: ["${{ repository.name }}"]}`: "repositories.run: ",
	} {
		if _, err := compilePolicy(t, "repositories: "+policy); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", policy, err)
		}
	}
	if _, err := compilePolicy(t, "defaults: {image: r.example.com/x}"); err == nil || !strings.Contains(err.Error(), "not among registries") {
		t.Errorf("default image on an unknown registry: %v", err)
	}
}

// A pattern of repositories that no owner/name can fit is a slip, and not a list that lets nobody do anything.
func TestRepositoryPatterns(t *testing.T) {
	compile := func(pattern string) map[string]error {
		faults := map[string]error{}
		for key, policy := range map[string]string{
			"repositories.allow":                "repositories: {allow: [%q]}",
			"repositories.run":                  "repositories: {run: [%q]}",
			"environments.e.repositories":       "environments: {e: {clusters: [staging], repositories: [%q]}}",
			"workflows.acme/tools.repositories": "workflows: {acme/tools: {repositories: [%q]}}",
		} {
			_, faults[key] = compilePolicy(t, fmt.Sprintf(policy, pattern))
		}
		return faults
	}
	for _, pattern := range []string{"*", "acme", "acme*", "/shop", "acme/", "acme/shop/x", "https://github.com/acme/shop"} {
		for key, err := range compile(pattern) {
			want := fmt.Sprintf("%s: %q never matches a repository: write acme/*, or ** for all", key, pattern)
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	}
	for _, pattern := range []string{"**", "*/*", "acme/*", "acme/**", "**/shop", "acme**", "*/team-[a-z]+"} {
		for key, err := range compile(pattern) {
			if err != nil {
				t.Errorf("%s refuses %s: %v", key, pattern, err)
			}
		}
	}
	if _, err := compilePolicy(t, `repositories: {allow: ["**", "!secret"]}`); err == nil || !strings.Contains(err.Error(), `"!secret" never matches`) {
		t.Errorf("what takes nothing away: %v", err)
	}
}

func TestCheckPatterns(t *testing.T) {
	if err := CheckPatterns("k", []string{"base/**", "!base/secret"}); err != nil {
		t.Error(err)
	}
	for want, list := range map[string][]string{
		`k: "![!x]/**" can't be used: `: {"base/**", "![!x]/**"},
		"k: patterns that begin with !": {"!base/**"},
		"${{ }} has no meaning here":    {"${{ repository.owner }}/**"},
	} {
		if err := CheckPatterns("k", list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", list, err)
		}
	}
}
