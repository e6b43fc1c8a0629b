package pipeline

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// CommandPolicy says who may give a command. It replaces the default rule: read permission for /help, /status and /why,
// write permission for all others. Whoever fits one of the three may.
type CommandPolicy struct {
	// Role is the least role on the repository: read, triage, write, maintain or admin. none lets nobody by role, which
	// is also the meaning of leaving it out.
	Role  string   `yaml:"role"`
	Teams []string `yaml:"teams"` // ORG/SLUG
	Users []string `yaml:"users"` // logins
}

// ApprovalsPolicy says who must approve a commit before it is rolled out. Without teams and users anybody with write
// permission may.
type ApprovalsPolicy struct {
	Count int      `yaml:"count"` // people that must approve; default 1
	Teams []string `yaml:"teams"` // ORG/SLUG
	Users []string `yaml:"users"` // logins
}

// maxApprovals is the most people that an environment can ask for.
const maxApprovals = 10

var (
	// commandForm is a command's name as a comment holds it, in lower case.
	commandForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	// teamForm is an organization's login and a team's slug.
	teamForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9_.-]{1,100}$`)
	loginForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
)

// repositoryRoles are GitHub's, each with the rights of those before it.
func repositoryRoles() []string { return []string{"read", "triage", "write", "maintain", "admin"} }

// builtin reports whether every repository has a command.
func builtin(name string) bool {
	return slices.ContainsFunc(jobs.BuiltinCommands(), func(c [3]string) bool { return c[0] == name })
}

// Command says who may give a command: what the operator wrote, or else the default.
func (r *Rules) Command(name string) jobs.CommandPolicy {
	if p, ok := r.commands[name]; ok {
		return jobs.CommandPolicy{Role: p.Role, Users: slices.Clone(p.Users), Teams: slices.Clone(p.Teams)}
	}
	return jobs.DefaultCommandPolicy(name)
}

// Prefix is the word that addresses Slipway in commands, or "", and whether commands without it are left alone.
func (r *Rules) Prefix() (prefix string, required bool) { return r.prefix, r.requirePrefix }

// commands compiles who may give which command.
func (c *compiler) commands(all map[string]CommandPolicy) map[string]jobs.CommandPolicy {
	rules := make(map[string]jobs.CommandPolicy, len(all))
	for _, name := range sortedKeys(all) {
		p, key := all[name], "commands."+name
		if !commandForm.MatchString(name) {
			c.fault("commands", "%q can't be a command: write its name in lower case, without the slash", shorten(name))
		}
		switch {
		case p.Role == "none":
			p.Role = ""
		case p.Role == "" && len(p.Teams)+len(p.Users) == 0:
			c.fault(key, "say who may: role, teams or users (role: none for nobody)")
		case p.Role == "":
		case !slices.Contains(repositoryRoles(), p.Role):
			c.fault(key+".role", "there is no role %q; there are none, %s", shorten(p.Role), strings.Join(repositoryRoles(), ", "))
		case p.Role == "read" && builtin(name) && jobs.DefaultCommandPolicy(name).Role != "read":
			c.fault(key+".role", "everybody can read a public repository: name a higher role, teams or users")
		}
		c.people(key, p.Teams, p.Users)
		rules[name] = jobs.CommandPolicy{Role: p.Role, Users: p.Users, Teams: p.Teams}
	}
	return rules
}

// people checks lists of teams and users.
func (c *compiler) people(key string, teams, users []string) {
	for i, team := range teams {
		if !teamForm.MatchString(team) {
			c.fault(key+".teams", "%q is not of the form ORG/SLUG, such as acme/sre", shorten(team))
		} else if slices.Contains(teams[:i], team) {
			c.fault(key+".teams", "%s is here twice", team)
		}
	}
	for i, login := range users {
		if !loginForm.MatchString(login) {
			c.fault(key+".users", "%q can't be the login of a person", shorten(login))
		} else if slices.ContainsFunc(users[:i], func(other string) bool { return strings.EqualFold(other, login) }) {
			c.fault(key+".users", "%s is here twice", login)
		}
	}
}

// approvals compiles who must approve; without the block nobody must.
func (c *compiler) approvals(key string, p *ApprovalsPolicy) jobs.ApprovalRule {
	if p == nil {
		return jobs.ApprovalRule{}
	}
	rule := jobs.ApprovalRule{Count: p.Count, Users: slices.Clone(p.Users), Teams: slices.Clone(p.Teams)}
	if rule.Count == 0 {
		rule.Count = 1 // whoever wrote the block wants somebody to be asked
	}
	c.people(key, p.Teams, p.Users)
	switch {
	case rule.Count < 0 || rule.Count > maxApprovals:
		c.fault(key+".count", "%d is not a number from 1 to %d", p.Count, maxApprovals)
	case len(p.Teams) == 0 && len(p.Users) > 0 && rule.Count > len(p.Users):
		c.fault(key+".count", "%d must approve, but only %d are listed", rule.Count, len(p.Users))
	}
	return rule
}

// address checks an environment's URL.
func (c *compiler) address(key, text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(text) > 1000 {
		c.fault(key, "%q is not an address such as https://shop.example.com", shorten(text))
	}
	return text
}

// prefix checks how commands are addressed.
func (c *compiler) prefix(p TrustPolicy) {
	switch {
	case p.CommandPrefix == "" && p.RequirePrefix:
		c.fault("trust.require_prefix", "set trust.command_prefix as well")
	case p.CommandPrefix == "":
	case !commandForm.MatchString(p.CommandPrefix):
		c.fault("trust.command_prefix", "%q can't be a prefix: write up to 32 lower-case letters, digits and -, without the slash", shorten(p.CommandPrefix))
	case builtin(p.CommandPrefix) || slices.Contains(reservedCommands(), p.CommandPrefix):
		c.fault("trust.command_prefix", "%s is a command's name", p.CommandPrefix)
	}
}

// approvers says who is asked, as in "waits for approval of production by …".
func approvers(rule jobs.ApprovalRule) string {
	if len(rule.Users)+len(rule.Teams) == 0 {
		if rule.Count > 1 {
			return fmt.Sprintf("%d people with write permission", rule.Count)
		}
		return "somebody with write permission"
	}
	who := slices.Clone(rule.Users)
	for _, team := range rule.Teams {
		who = append(who, "team "+team)
	}
	if rule.Count > 1 {
		return fmt.Sprintf("%d of %s", rule.Count, jobs.Cut(strings.Join(who, ", "), 200))
	}
	return jobs.Cut(strings.Join(who, " or "), 200)
}
