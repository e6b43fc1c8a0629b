package jobs

import (
	"fmt"
	"slices"
	"strings"
)

// A CommandPolicy says who may give a command: who has the role, or is in one of the lists.
type CommandPolicy struct {
	Role  string   // least role on the repository: read, triage, write, maintain or admin
	Users []string // logins
	Teams []string // ORG/SLUG
}

// readCommands are those that only tell something.
var readCommands = []string{"help", "status", "why"}

// BuiltinCommands are the commands every repository has, in the order /help lists them, with their usage and what they do.
func BuiltinCommands() [][3]string {
	return [][3]string{
		{"build", "/build [job…]", "build this commit's images, or only the jobs named"},
		{"deploy", "/deploy <environment> [release] [ref=…]", "roll this commit out, or another"},
		{"rollback", "/rollback <environment> [release] [revision=N]", "take a rollout back to the revision before, or to N"},
		{"dispatch", "/dispatch <workflow> [input=value…]", "start a GitHub Actions workflow here and follow it"},
		{"approve", "/approve <environment>", "let a rollout or a workflow that waits for approval go on"},
		{"ok-to-test", "/ok-to-test <sha>", "let this exact commit of a stranger's pull request be built"},
		{"cancel", "/cancel [job…]", "stop what is queued or running here"},
		{"retry", "/retry [job…]", "do again what failed"},
		{"status", "/status", "where everything stands here"},
		{"why", "/why", "why jobs ran or did not"},
		{"help", "/help", "this list"},
	}
}

// DefaultCommandPolicy is who may give a command when the operator says nothing.
func DefaultCommandPolicy(name string) CommandPolicy {
	if slices.Contains(readCommands, name) {
		return CommandPolicy{Role: "read"}
	}
	return CommandPolicy{Role: "write"}
}

// roles are GitHub's, each with the rights of those before it.
var roles = []string{"read", "triage", "write", "maintain", "admin"}

// roleAtLeast reports whether facts show at least a role. The permission is one of admin, write, read and none, where
// maintain counts as write and triage as read; Role, when GitHub tells it, is finer.
func roleAtLeast(facts TrustFacts, least string) bool {
	need := slices.Index(roles, least)
	have := max(slices.Index(roles, facts.Permission), slices.Index(roles, facts.Role))
	return need >= 0 && have >= need
}

// MayAsk decides whether somebody may give a command, from what GitHub says about them now. teams are those of the
// policy's that they are in. A doubt is a no.
func MayAsk(name string, who Actor, facts TrustFacts, policy CommandPolicy, teams []string) (ok bool, why string) {
	switch {
	case who.ID == 0 || facts.PermissionOf != who.ID:
		return false, fmt.Sprintf("GitHub returned the permissions of another account than %s", who.Login)
	case policy.Role != "" && roleAtLeast(facts, policy.Role):
		return true, fmt.Sprintf("%s has the role that /%s asks for (%s)", who.Login, name, policy.Role)
	case slices.ContainsFunc(policy.Users, func(login string) bool { return strings.EqualFold(login, who.Login) }):
		return true, fmt.Sprintf("%s is listed for /%s", who.Login, name)
	}
	for _, team := range policy.Teams {
		if slices.Contains(teams, team) {
			return true, fmt.Sprintf("%s is in %s, which is listed for /%s", who.Login, team, name)
		}
	}
	var needs []string
	if policy.Role != "" {
		needs = append(needs, "the role "+policy.Role+" on this repository")
	}
	if len(policy.Teams) > 0 {
		needs = append(needs, "membership in "+strings.Join(policy.Teams, " or "))
	}
	if len(policy.Users) > 0 {
		needs = append(needs, "to be listed by the operator")
	}
	if len(needs) == 0 {
		return false, fmt.Sprintf("the operator lets nobody use `/%s`", name)
	}
	return false, fmt.Sprintf("`/%s` needs %s", name, strings.Join(needs, ", or "))
}
