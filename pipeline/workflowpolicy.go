package pipeline

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// WorkflowsPolicy says who may start the workflows of a repository. A repository may always start its own; when it has a block,
// files and refs narrow that, too.
type WorkflowsPolicy struct {
	Repositories []string `yaml:"repositories"` // patterns of owner/name, in any case, that may start workflows here; required
	Files        []string `yaml:"files"`        // patterns of workflow files' names, such as "deploy-*.yaml"; default: all
	Refs         []string `yaml:"refs"`         // patterns of branches and tags to start them on; default: all
}

// maxRequired is the most checks that an environment can ask for.
const maxRequired = maxAwaited

type workflowRule struct {
	repository   string // in lower case
	repositories []patternRule
	files, refs  []string
}

// workflows compiles who may start workflows of which repository.
func (c *compiler) workflows(all map[string]WorkflowsPolicy) []workflowRule {
	var rules []workflowRule
	for _, name := range sortedKeys(all) {
		p, key := all[name], "workflows."+name
		if checkRepository(name) != "" {
			c.fault("workflows", "%q is no repository: write owner/name", shorten(name))
			continue
		}
		rule := workflowRule{repository: strings.ToLower(name), files: slices.Clone(p.Files), refs: slices.Clone(p.Refs)}
		if slices.ContainsFunc(rules, func(other workflowRule) bool { return other.repository == rule.repository }) {
			c.fault("workflows", "%s is here twice, in two cases", name)
		}
		if len(p.Repositories) == 0 {
			c.fault(key+".repositories", "say which repositories may start workflows here, such as [acme/*]")
		}
		rule.repositories = c.repositories(key+".repositories", p.Repositories)
		for _, list := range []struct {
			key      string
			patterns []string
		}{{key + ".files", p.Files}, {key + ".refs", p.Refs}} {
			if list.patterns != nil && len(list.patterns) == 0 {
				c.fault(list.key, "an empty list lets nobody start anything: leave it out, or name some")
			}
			c.patterns(list.key, list.patterns, false, false)
		}
		rules = append(rules, rule)
	}
	slices.SortFunc(rules, func(a, b workflowRule) int { return strings.Compare(a.repository, b.repository) })
	return rules
}

// workflowGrants are the repositories whose workflows the jobs of a repository may start: its own first.
func (r *Rules) workflowGrants(repo jobs.Repository) []jobs.WorkflowGrant {
	grants := []jobs.WorkflowGrant{{Repository: strings.ToLower(repo.FullName())}}
	for _, rule := range r.workflows {
		grant := jobs.WorkflowGrant{Repository: rule.repository, Files: slices.Clone(rule.files), Refs: slices.Clone(rule.refs)}
		switch {
		case rule.repository == grants[0].Repository:
			grants[0] = grant
		case r.names(rule.repositories, repo):
			grants = append(grants, grant)
		}
	}
	return grants
}

// checks compiles the checks that an environment asks for.
func (c *compiler) checks(key string, names []string) []string {
	if len(names) > maxRequired {
		c.fault(key, "there are %d names, more than %d", len(names), maxRequired)
	}
	for i, name := range names {
		if message := checkCheckName(name, names[:i]); message != "" {
			c.fault(key, "%s", message)
		}
	}
	return slices.Clone(names)
}
