package githubapp

import (
	"maps"
	"slices"
)

// A Permission is one that the App asks for, by GitHub's key for it.
type Permission struct {
	Name     string // such as pull_requests
	Level    string // read or write
	Why      string // a clause that goes on from "to …"
	Optional bool   // everything else works without it
}

// A Subscription is a webhook event that the App is sent.
type Subscription struct {
	Name string
	Why  string // as for Permission
	// Automatic events come with a permission, whether they are subscribed to or not.
	Automatic bool
}

// Permissions is what the App needs, and no more: setup asks for it and doctor compares with it. Which operation needs
// what is from GitHub's page "Permissions required for GitHub Apps", which event needs what from "Webhook events and
// payloads".
func Permissions() []Permission {
	return []Permission{
		{Name: "actions", Level: "write", Why: "to start workflows and follow them", Optional: true},
		{Name: "checks", Level: "write", Why: "to show every run as checks, with buttons"},
		{Name: "contents", Level: "read", Why: "to read .slipway.yaml and the commit that is built"},
		{Name: "deployments", Level: "write", Why: "to show rollouts as GitHub deployments", Optional: true},
		{Name: "issues", Level: "read", Why: "to be sent the comments on pull requests: GitHub ties that event to this permission"},
		{Name: "members", Level: "read", Why: "to find out who is in a team that may approve; without it, rules that name teams say no", Optional: true},
		{Name: "merge_queues", Level: "read", Why: "to be sent merge queues' heads, so that they get their required check", Optional: true},
		{Name: "metadata", Level: "read", Why: "to ask who may write to a repository; GitHub gives it to every App"},
		{Name: "pull_requests", Level: "write", Why: "to read pull requests and their files, and to answer comments on them"},
		{Name: "statuses", Level: "read", Why: "to see commit statuses that a job or an environment waits for; without it only checks are seen", Optional: true},
	}
}

// Subscriptions is every event the App acts on. Events that GitHub sends to all Apps, such as installation, are not among
// them: they can't be subscribed to.
func Subscriptions() []Subscription {
	return []Subscription{
		{Name: "check_run", Why: "to hear of buttons and of Re-run", Automatic: true},
		{Name: "check_suite", Why: "to hear of Re-run all", Automatic: true},
		{Name: "commit_comment", Why: "to take commands on pushes without a pull request"},
		{Name: "issue_comment", Why: "to take commands in comments on pull requests"},
		{Name: "merge_group", Why: "to check what a merge queue is about to merge"},
		{Name: "pull_request", Why: "to start runs for pull requests"},
		{Name: "push", Why: "to start runs for branches and tags"},
		{Name: "release", Why: "to start runs for published releases"},
		{Name: "status", Why: "to hear of commit statuses that a job waits for"},
		{Name: "workflow_job", Why: "to follow the jobs of workflows"},
		{Name: "workflow_run", Why: "to follow workflows"},
	}
}

// A Difference is how what an App has differs from what it needs.
type Difference struct {
	Missing     []Permission      // or with too low a level
	Superfluous map[string]string // permission to level: not needed, or higher than needed
	Unsent      []Subscription    // events that are not subscribed to
	Unused      []string          // events that nothing is done with
}

// Compare tells how permissions and subscribed events of an App differ from Permissions and Subscriptions.
func Compare(permissions map[string]string, events []string) Difference {
	d := Difference{Superfluous: maps.Clone(permissions)}
	if d.Superfluous == nil {
		d.Superfluous = map[string]string{}
	}
	for _, p := range Permissions() {
		have := permissions[p.Name]
		if !covers(have, p.Level) {
			d.Missing = append(d.Missing, p)
		}
		if level(have) <= level(p.Level) {
			delete(d.Superfluous, p.Name)
		}
	}
	known := map[string]bool{}
	for _, s := range Subscriptions() {
		known[s.Name] = true
		if !s.Automatic && !slices.Contains(events, s.Name) {
			d.Unsent = append(d.Unsent, s)
		}
	}
	for _, name := range events {
		if !known[name] {
			d.Unused = append(d.Unused, name)
		}
	}
	slices.Sort(d.Unused)
	return d
}

func level(name string) int { return slices.Index([]string{"", "read", "write", "admin"}, name) }

// covers tells whether one level of a permission includes another. A level that is not known includes none.
func covers(have, want string) bool { return level(have) >= level(want) }
