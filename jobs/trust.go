package jobs

import (
	"fmt"
	"slices"
)

// TrustLevel is what the sender of an event may cause.
type TrustLevel string

const (
	// Trusted work runs the pipeline of its own commit with the repository's grants.
	Trusted TrustLevel = "trusted"
	// Untrusted work is held: the base branch's pipeline, no secret, no push credential, no cluster.
	Untrusted TrustLevel = "untrusted"
	// Approved work is untrusted work whose exact commit somebody with write permission let be built: still the base
	// branch's pipeline, no secret, no push credential, no cluster, but its builds run.
	Approved TrustLevel = "approved"
)

// Trust is a level and the sentence that explains it.
type Trust struct {
	Level  TrustLevel `json:"level"`
	Reason string     `json:"reason"`
}

// TrustFacts is what DecideTrust needs to know, asked at GitHub for this event, never taken from a cache or a payload.
type TrustFacts struct {
	Permission   string // the sender's permission on the base repository now: admin, write, read, none
	Role         string // the finer name of it, such as maintain or triage, or that of a custom role; may be empty
	PermissionOf int64  // numeric ID of the account GitHub answered about
	// Approval is somebody's word for this very commit of this pull request into this base; nil when there is none.
	Approval *Approval
}

// DecideTrust decides what an event's sender may cause (invariant 6). bots lists the logins, such as
// "dependabot[bot]", that may act as pull request senders.
//
// A push is trusted: GitHub let it in; so is what a merge queue merged. A pull request is trusted when its head lies in
// the base repository and the sender has write permission there. An untrusted one is approved when somebody's word for
// this very commit is on record. Every doubt falls to untrusted.
func DecideTrust(e Event, facts TrustFacts, bots []string) Trust {
	switch e.Kind {
	case EventPush:
		return Trust{Trusted, "pushed to the repository itself"}
	case EventMergeGroup:
		return Trust{Trusted, "merged for the merge queue by the repository's own rules"}
	case EventRelease:
		return Trust{Trusted, "released in the repository itself"}
	case EventSchedule:
		return Trust{Trusted, "scheduled by the default branch's pipeline"}
	}
	trust := decidePullTrust(e, facts, bots)
	if a := facts.Approval; trust.Level == Untrusted && a != nil && e.PullRequest != nil && a.binds(e) {
		return Trust{Approved, fmt.Sprintf("%s, but %s approved this commit", trust.Reason, a.By.Login)}
	}
	return trust
}

// binds reports whether an approval is for exactly this commit of this pull request into this base.
func (a *Approval) binds(e Event) bool {
	pr := e.PullRequest
	return a.Repository == e.Repository.ID && a.Environment == "" && a.PullRequest == pr.Number && a.BaseRef == pr.BaseRef &&
		a.SHA == pr.HeadSHA && a.SHA != "" && a.By.ID != 0
}

func decidePullTrust(e Event, facts TrustFacts, bots []string) Trust {
	pr := e.PullRequest
	switch {
	case pr == nil:
		return Trust{Untrusted, fmt.Sprintf("a %s event carries no right of its own", e.Kind)}
	case pr.HeadRepo == 0:
		return Trust{Untrusted, "the pull request's head repository is gone"}
	case pr.HeadRepo != e.Repository.ID:
		return Trust{Untrusted, "the pull request comes from a fork" + named(pr.HeadName)}
	case e.Sender.ID == 0:
		return Trust{Untrusted, "the event names no sender"}
	case e.Sender.Type != "User" && !slices.Contains(bots, e.Sender.Login):
		return Trust{Untrusted, fmt.Sprintf("%s is a bot that trust.bots does not list", e.Sender.Login)}
	case e.Sender.Type != "User":
		return Trust{Trusted, fmt.Sprintf("%s is listed in trust.bots and the head is in this repository", e.Sender.Login)}
	case facts.PermissionOf != e.Sender.ID:
		return Trust{Untrusted, fmt.Sprintf("GitHub returned the permissions of another account than %s", e.Sender.Login)}
	case facts.Permission != "admin" && facts.Permission != "write":
		return Trust{Untrusted, fmt.Sprintf("%s has no write permission on %s", e.Sender.Login, e.Repository.FullName())}
	}
	return Trust{Trusted, fmt.Sprintf("%s has %s permission and the head is in this repository", e.Sender.Login, facts.Permission)}
}

// trustRank orders the levels; a doubt is the lowest.
func trustRank(level TrustLevel) int {
	switch level {
	case Trusted:
		return 2
	case Approved:
		return 1
	}
	return 0
}

func named(name string) string {
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}
