package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// Policy is what the operator lets repositories do: the blocks of config.yaml that are about whom, not about how.
// The zero Policy decides and explains for every repository, and lets none of them touch anything.
type Policy struct {
	Registries   map[string]RegistryPolicy    `yaml:"registries"` // by host[:port]
	Environments map[string]EnvironmentPolicy `yaml:"environments"`
	Workflows    map[string]WorkflowsPolicy   `yaml:"workflows"` // by owner/name of the repository they are in
	Repositories RepositoriesPolicy           `yaml:"repositories"`
	Trust        TrustPolicy                  `yaml:"trust"`
	Defaults     DefaultsPolicy               `yaml:"defaults"`
	Commands     map[string]CommandPolicy     `yaml:"commands"` // by name, also those that pipelines declare
}

// RegistryPolicy says who may push what to a registry. Embed it beside the registry's credentials.
type RegistryPolicy struct {
	// Push lists patterns of image names within the registry, in GitHub's filter dialect. ${{ repository.owner }},
	// ${{ repository.name }} and ${{ repository.full_name }} stand for the repository at hand, in lower case.
	// Default: its own name and what lies below it.
	Push []string `yaml:"push"`
}

// EnvironmentPolicy is a named place that rollouts go to.
type EnvironmentPolicy struct {
	Clusters     []string `yaml:"clusters"`     // names of the clusters block
	Repositories []string `yaml:"repositories"` // patterns of owner/name, in any case, that may roll out here; required
	// Namespaces lists patterns of Kubernetes namespaces. Default: ${{ repository.name }}, in lower case.
	Namespaces []string `yaml:"namespaces"`
	// Branches lists patterns of branches whose pushes may roll out. Default: $default, the default branch.
	Branches []string `yaml:"branches"`
	// Approvals says who must approve each commit before it is rolled out here. Without it nobody must.
	Approvals *ApprovalsPolicy `yaml:"approvals"`
	// URL is where people reach what runs here; GitHub shows it beside the deployment.
	URL string `yaml:"url"`
	// RequiredChecks names checks and statuses of other Apps that must have succeeded on a commit before it is rolled out here:
	// a workflow's job as JOB or as WORKFLOW / JOB, with @ and an App's slug or status behind it to say who has to make it. No pipeline can
	// leave them out.
	RequiredChecks []string `yaml:"required_checks"`
}

// RepositoriesPolicy says for whom Slipway acts.
type RepositoriesPolicy struct {
	// Allow lists patterns of owner/name, in any case. By default all repositories are observed; to run, they
	// have to be listed.
	Allow []string `yaml:"allow"`
	// Mode is observe (decide and explain, start nothing), which is the default, or run.
	Mode jobs.Mode `yaml:"mode"`
	// Run lists patterns of owner/name, in any case, of repositories that run although the mode is observe: they are
	// opted in one after the other.
	Run []string `yaml:"run"`
}

// TrustPolicy says what strangers and bots may cause, and which commands are ours.
type TrustPolicy struct {
	Bots []string `yaml:"bots"` // logins such as "dependabot[bot]" that may start jobs by pull requests
	// CommandPrefix is a word that addresses Slipway, such as slipway: /slipway deploy staging. Commands without it work
	// as well, unless RequirePrefix leaves them to other bots.
	CommandPrefix string `yaml:"command_prefix"`
	RequirePrefix bool   `yaml:"require_prefix"`
	// Quarantine is a place in a registry, such as registry.example.com/quarantine, that builds of approved pull requests
	// from outside are pushed to, each repository's below OWNER/NAME there. Without it they are built and not pushed.
	Quarantine string `yaml:"quarantine"`
}

// DefaultsPolicy holds what pipelines may leave out.
type DefaultsPolicy struct {
	// Image is the default image of a build, without a tag, such as
	// registry.example.com/${{ repository.owner }}/${{ repository.name }}.
	Image string `yaml:"image"`
}

// Compile checks a policy and makes it ready to be asked. clusters are the names of the clusters block. Its error
// joins all faults, each with the key it is about.
func Compile(p Policy, clusters []string) (*Rules, error) {
	env, err := repositoryEnvironment()
	if err != nil {
		return nil, err
	}
	c := compiler{scope: &scope{env: env}}
	r := &Rules{scope: c.scope, mode: p.Repositories.Mode, bots: slices.Clone(p.Trust.Bots)}
	for _, host := range sortedKeys(p.Registries) {
		if !hostForm.MatchString(host) {
			c.fault("registries", "%q is no host such as registry.example.com or localhost:5000", shorten(host))
		}
		push := p.Registries[host].Push
		if push == nil {
			push = []string{"${{ repository.owner }}/${{ repository.name }}", "${{ repository.owner }}/${{ repository.name }}/**"}
		}
		r.registries = append(r.registries, registryRule{host, c.patterns("registries."+host+".push", push, true, false)})
	}
	for _, name := range sortedKeys(p.Environments) {
		r.environments = append(r.environments, c.environment(name, p.Environments[name], clusters))
	}
	r.workflows = c.workflows(p.Workflows)
	r.allow = c.repositories("repositories.allow", p.Repositories.Allow)
	c.mode(&r.mode, len(r.allow) > 0)
	c.run(r, p.Repositories)
	for _, login := range p.Trust.Bots {
		if strings.TrimSpace(login) == "" {
			c.fault("trust.bots", "a login is empty")
		}
	}
	c.defaultImage(r, p)
	r.commands = c.commands(p.Commands)
	c.prefix(p.Trust)
	r.prefix, r.requirePrefix = p.Trust.CommandPrefix, p.Trust.RequirePrefix
	c.quarantine(r, p)
	if err := errors.Join(c.faults...); err != nil {
		return nil, err
	}
	return r, nil
}

type compiler struct {
	scope  *scope
	faults []error
}

func (c *compiler) fault(key, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

func (c *compiler) environment(name string, p EnvironmentPolicy, clusters []string) environmentRule {
	key := "environments." + name
	if !envForm.MatchString(name) {
		c.fault("environments", "%q can't be a name: write letters, digits, _ and -", shorten(name))
	}
	if len(p.Clusters) == 0 {
		c.fault(key+".clusters", "name at least one cluster")
	}
	for _, cluster := range p.Clusters {
		if !slices.Contains(clusters, cluster) {
			c.fault(key+".clusters", "there is no cluster %q%s", shorten(cluster), suggest(cluster, clusters))
		}
	}
	if len(p.Repositories) == 0 {
		c.fault(key+".repositories", "say which repositories may roll out here, such as [acme/*]")
	}
	if p.Namespaces == nil {
		p.Namespaces = []string{"${{ repository.name }}"}
	}
	if p.Branches == nil {
		p.Branches = []string{defaultWord}
	}
	return environmentRule{
		name:         name,
		clusters:     slices.Clone(p.Clusters),
		repositories: c.repositories(key+".repositories", p.Repositories),
		namespaces:   c.patterns(key+".namespaces", p.Namespaces, true, false),
		branches:     c.patterns(key+".branches", p.Branches, true, true),
		approvals:    c.approvals(key+".approvals", p.Approvals),
		url:          c.address(key+".url", p.URL),
		checks:       c.checks(key+".required_checks", p.RequiredChecks),
	}
}

func (c *compiler) mode(mode *jobs.Mode, listed bool) {
	switch *mode {
	case "":
		*mode = jobs.ModeObserve
	case jobs.ModeObserve:
	case jobs.ModeRun:
		if !listed {
			c.fault("repositories.allow", "mode: run needs a list of repositories that may run, such as [acme/*]")
		}
	default:
		c.fault("repositories.mode", "%q is neither observe nor run", shorten(string(*mode)))
	}
}

// run compiles the repositories that are opted in, and finds those that could never run.
func (c *compiler) run(r *Rules, p RepositoriesPolicy) {
	r.run = c.repositories("repositories.run", p.Run)
	if p.Mode == jobs.ModeRun && len(p.Run) > 0 {
		c.fault("repositories.run", "mode: run lets all of allow run; leave this out, or set mode: observe")
	}
	for _, name := range p.Run {
		owner, repo, ok := strings.Cut(name, "/")
		if one := (jobs.Repository{Owner: owner, Name: repo}); ok && usable(one) && len(r.allow) > 0 && !r.names(r.allow, one) {
			c.fault("repositories.run", "%s is not among repositories.allow", shorten(name))
		}
	}
}

// defaultImage checks the default image with a repository's name put in: it must be one that may be pushed.
func (c *compiler) defaultImage(r *Rules, p Policy) {
	if p.Defaults.Image == "" {
		return
	}
	t := c.template("defaults.image", p.Defaults.Image)
	if t == nil {
		return
	}
	r.image = t
	sample := r.DefaultImage(jobs.Repository{Owner: "owner", Name: "name", DefaultBranch: "main"})
	registry, _, err := SplitImage(sample)
	if err != nil {
		c.fault("defaults.image", "%s %v", shorten(p.Defaults.Image), err)
		return
	}
	if _, ok := p.Registries[registry]; !ok {
		c.fault("defaults.image", "%s is not among registries", registry)
	}
}

// repositories compiles a list of patterns of owner/name. One that could never fit is a slip: * stops at a /.
func (c *compiler) repositories(key string, list []string) []patternRule {
	for _, text := range list {
		rest := strings.TrimPrefix(text, "!")
		owner, name, ok := strings.Cut(rest, "/")
		_, err := parseGlob(rest)
		if err != nil || strings.Contains(rest, exprOpen) || strings.Contains(rest, "**") || ok && owner != "" && name != "" && !strings.Contains(name, "/") {
			continue // what is no pattern is said below
		}
		c.fault(key, "%q never matches a repository: write acme/*, or ** for all", shorten(text))
	}
	return c.patterns(key, list, false, false)
}

// CheckPatterns says what is wrong with a list of patterns that holds no ${{ }}: all faults joined, each with the key that it is about.
func CheckPatterns(key string, list []string) error {
	var c compiler
	for _, text := range list {
		if strings.Contains(text, exprOpen) {
			c.fault(key, "%q: ${{ }} has no meaning here", shorten(text))
		}
	}
	if len(c.faults) == 0 {
		c.patterns(key, list, false, false)
	}
	return errors.Join(c.faults...)
}

// patterns compiles a list of patterns. templates allows ${{ }}; branches allows $default.
func (c *compiler) patterns(key string, list []string, templates, branches bool) []patternRule {
	rules := make([]patternRule, 0, len(list))
	positive := len(list) == 0
	for _, text := range list {
		positive = positive || !strings.HasPrefix(text, "!")
		if branches && strings.TrimPrefix(text, "!") == defaultWord {
			rules = append(rules, patternRule{no: strings.HasPrefix(text, "!"), isDefault: true})
			continue
		}
		t := c.template(key, text)
		if t == nil {
			continue
		}
		rest := strings.TrimPrefix(text, "!")
		if t.exprs == nil {
			if _, err := parseGlob(rest); err != nil {
				c.fault(key, "%q can't be used: %v", shorten(text), err)
			}
		} else if !templates {
			c.fault(key, "%q: ${{ }} has no meaning here", shorten(text))
		} else if problem := unsafe(t.segments); problem != "" {
			c.fault(key, "%q: %s", shorten(text), problem)
		}
		rules = append(rules, patternRule{no: rest != text, text: t, literal: text})
	}
	if !positive {
		c.fault(key, "patterns that begin with ! only take away: put one without ! before them")
	}
	return rules
}

// template takes a text with ${{ }} apart; its exprs are nil when it holds none.
func (c *compiler) template(key, text string) *textExpr {
	if !strings.Contains(text, exprOpen) {
		return &textExpr{segments: []segment{{literal: text}}}
	}
	t, _, problem := c.scope.compileText(text, wantText)
	if problem != nil {
		c.fault(key, "%q: %s", shorten(text), problem.message)
		return nil
	}
	return t
}

// unsafe says why a pattern would read a repository's name as more than a name, or "".
func unsafe(segments []segment) string {
	depth := 0
	for i, s := range segments {
		if s.isExpr {
			if depth > 0 {
				return "${{ }} can't stand within [ ]"
			}
			continue
		}
		if i > 0 && (strings.HasPrefix(s.literal, "?") || strings.HasPrefix(s.literal, "+")) {
			return "? or + after ${{ }} would repeat the last letter of a name"
		}
		if strings.LastIndexByte(s.literal, '[') > strings.LastIndexByte(s.literal, ']') {
			depth = 1
		} else if strings.Contains(s.literal, "]") {
			depth = 0
		}
		if strings.HasSuffix(s.literal, `\`) {
			return `\ before ${{ }} would escape the first letter of a name`
		}
	}
	return ""
}
