package jobs

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// CommandLife is how long after it was written a command may still be carried out (invariant 8).
const CommandLife = 15 * time.Minute

// Asked says who asked for a run, and how.
type Asked struct {
	By      Actor  `json:"by"`
	Command string `json:"command"`       // as written
	URL     string `json:"url,omitempty"` // of the comment
}

// An Ask narrows planning to what a person asked for. Exactly one of its forms is set.
type Ask struct {
	Build    bool      // /build: the jobs named, or with none all build jobs that pull requests start
	Jobs     []string  // of Build
	Deploy   *AskPlace // /deploy: the deploy jobs that name the environment
	Rollback *AskPlace // /rollback: the same, taken back by Helm's history
	Command  string    // name of a command that the pipeline declares
	Args     map[string]any
	Dispatch *AskDispatch // /dispatch: a workflow, whether the pipeline has a job for it or not
}

// An AskDispatch is a workflow to be dispatched, with its inputs as they were written.
type AskDispatch struct {
	Workflow   string            `json:"workflow"`
	Repository string            `json:"repository,omitempty"` // owner/name; "" for the one it was asked in
	Ref        string            `json:"ref,omitempty"`        // "" for that of the run
	Inputs     map[string]string `json:"inputs,omitempty"`
}

// An AskPlace is an environment, and perhaps one release in it.
type AskPlace struct {
	Environment string
	Release     string // "" for all that the pipeline rolls out there
	Revision    int    // of a rollback; 0 for the one deployed before
}

// A DeclaredCommand is a command that a pipeline file declares by on.command.
type DeclaredCommand struct {
	Name        string
	Description string
	Args        []CommandArg // in the file's order
}

// Again says that a run repeats an earlier one. What succeeded there and is not named is taken over with its outputs.
type Again struct {
	Run  string   `json:"run"`            // the earlier run, which is over
	Jobs []string `json:"jobs,omitempty"` // to be done again, with what needs them
}

// A Stopping ends a run, or one of its jobs.
type Stopping struct {
	Run    string `json:"run"`
	Job    string `json:"job,omitempty"` // "" for the whole run
	Reason string `json:"reason"`
}

// An Ordering is an order for one job under way.
type Ordering struct {
	Run string `json:"run"`
	Job string `json:"job"`
	Order
}

// An Approval is somebody's word that a pull request's exact commit may be built, or that an exact commit may go to an
// environment. It is void for every other commit.
type Approval struct {
	Repository  int64     `json:"repository"`
	PullRequest int       `json:"pull_request,omitempty"`
	BaseRef     string    `json:"base_ref,omitempty"` // the pull request's base at that moment; another voids it
	SHA         string    `json:"sha"`
	Environment string    `json:"environment,omitempty"`
	By          Actor     `json:"by"`
	Permission  string    `json:"permission"` // the approver's on the repository at that moment
	Cause       string    `json:"cause"`      // key of the decision: the comment's command or the click's delivery
	Time        time.Time `json:"time"`
}

// Approvals are all there are for one commit of a pull request, or for one commit and environment.
type Approvals struct {
	Given []Approval `json:"given"`
}

// ApprovalKey is the key of the Approvals of a pull request's head.
func ApprovalKey(repository int64, pull int, sha string) string {
	return fmt.Sprintf("%d.pull-%d.%s", repository, pull, sha)
}

// EnvironmentApprovalKey is the key of the Approvals for a commit to go to an environment.
func EnvironmentApprovalKey(repository int64, environment, sha string) string {
	return fmt.Sprintf("%d.environment-%s.%s", repository, digest(environment), sha)
}

// A CommandPolicy says who may give a command. Whoever fits one of the lists may.
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
		{"cancel", "/cancel [job]", "stop what is queued or running here"},
		{"retry", "/retry [job]", "do again what failed"},
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
		return false, "GitHub's answer about who you are is about another account"
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
