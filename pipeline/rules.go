package pipeline

import (
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// Rules are a compiled policy. They answer for one repository at a time, purely, and may be asked by many at once.
type Rules struct {
	scope        *scope
	registries   []registryRule    // sorted by host
	environments []environmentRule // sorted by name
	workflows    []workflowRule    // sorted by repository
	allow        []patternRule
	mode         jobs.Mode
	run          []patternRule // that run although the mode is observe
	bots         []string
	image        *textExpr // nil without defaults.image

	commands      map[string]jobs.CommandPolicy
	prefix        string
	requirePrefix bool

	quarantineHost, quarantineName string // empty without a quarantine
}

type registryRule struct {
	host string
	push []patternRule
}

type environmentRule struct {
	name                               string
	clusters                           []string
	repositories, namespaces, branches []patternRule
	approvals                          jobs.ApprovalRule
	url                                string
	checks                             []string
}

// A patternRule is one pattern of the operator's, with ${{ }} or without.
type patternRule struct {
	literal   string // as written
	no        bool
	isDefault bool // $default
	text      *textExpr
}

// repositoryForm is what GitHub lets owners and repositories be called. A name of any other form gets nothing: it
// must not be able to mean more in a pattern, an image or a namespace than a name.
var repositoryForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)

// usable reports whether the repository's names can be put into patterns.
func usable(r jobs.Repository) bool {
	for _, s := range []string{r.Owner, r.Name} {
		if !repositoryForm.MatchString(s) || s == "." || s == ".." {
			return false
		}
	}
	return true
}

// Mode says what Slipway does for a repository.
func (r *Rules) Mode(repo jobs.Repository) jobs.Mode {
	switch {
	case !usable(repo), len(r.allow) > 0 && !r.names(r.allow, repo):
		return jobs.ModeOff
	case len(r.run) > 0 && r.names(r.run, repo):
		return jobs.ModeRun
	}
	return r.mode
}

// Grant says what the jobs of a run may touch. An untrusted run, and one of a fork, may touch nothing (invariant 6);
// a repository that is not listed, likewise (invariant 7). An approved run may push into the quarantine, if there is one.
func (r *Rules) Grant(run jobs.RunInfo) jobs.Grant {
	var g jobs.Grant
	repo := run.Repository
	if run.Trust.Level == jobs.Approved && r.Mode(repo) != jobs.ModeOff {
		return r.quarantined(lower(repo))
	}
	if run.Trust.Level != jobs.Trusted || run.Fork || r.Mode(repo) == jobs.ModeOff {
		return g
	}
	for _, registry := range r.registries {
		if names := r.expand(registry.push, lower(repo)); len(names) > 0 {
			g.Push = append(g.Push, jobs.PushGrant{Registry: registry.host, Names: names})
		}
	}
	for _, e := range r.environments {
		if !r.names(e.repositories, repo) {
			continue
		}
		g.Environments = append(g.Environments, jobs.EnvironmentGrant{
			Name:       e.name,
			Clusters:   slices.Clone(e.clusters),
			Namespaces: r.expand(e.namespaces, lower(repo)),
			Branches:   r.expand(e.branches, repo),
			Approvals:  e.approvals,
			URL:        e.url,

			RequiredChecks: slices.Clone(e.checks),
		})
	}
	g.Workflows = r.workflowGrants(repo)
	return g
}

// DefaultImage is the default image of a repository's builds, in lower case, or "".
func (r *Rules) DefaultImage(repo jobs.Repository) string {
	if r.image == nil || !usable(repo) {
		return ""
	}
	if r.image.exprs == nil {
		return r.image.segments[0].literal
	}
	v, err := r.scope.evaluateText(r.image, repositoryVariables(lower(repo)))
	if err != nil {
		return ""
	}
	image, _ := v.(string)
	return image
}

// Bots are the logins of bots that may start jobs by pull requests.
func (r *Rules) Bots() []string { return slices.Clone(r.bots) }

// names reports whether a repository is among patterns of owner/name, in any case.
func (r *Rules) names(rules []patternRule, repo jobs.Repository) bool {
	if !usable(repo) {
		return false
	}
	patterns := make([]string, len(rules))
	for i, p := range rules {
		patterns[i] = strings.ToLower(p.literal)
	}
	return Allows(patterns, strings.ToLower(repo.FullName()))
}

// expand puts a repository's names into patterns, each as itself and never as a part of the pattern. When one can't
// be expanded, all of the list is dropped: a pattern that takes away must not get lost.
func (r *Rules) expand(rules []patternRule, repo jobs.Repository) []string {
	vars := repositoryVariables(repo)
	list := make([]string, 0, len(rules))
	for _, p := range rules {
		var b strings.Builder
		switch {
		case p.isDefault && repo.DefaultBranch == "":
			continue
		case p.isDefault:
			if p.no {
				b.WriteByte('!')
			}
			b.WriteString(escapeGlob(repo.DefaultBranch))
		default:
			for i, s := range p.text.segments {
				if !s.isExpr {
					b.WriteString(s.literal)
					continue
				}
				v, err := r.scope.evaluate(p.text.exprs[i], vars)
				if err != nil {
					return nil
				}
				text, err := asText(v)
				if err != nil || text == "" {
					return nil
				}
				b.WriteString(escapeGlob(text))
			}
		}
		pattern := b.String()
		if _, err := parseGlob(strings.TrimPrefix(pattern, "!")); err != nil {
			return nil
		}
		list = append(list, pattern)
	}
	return list
}

// lower is the repository as images and namespaces name it.
func lower(r jobs.Repository) jobs.Repository {
	r.Owner, r.Name = strings.ToLower(r.Owner), strings.ToLower(r.Name)
	return r
}
