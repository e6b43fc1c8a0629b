package jobs

import "strings"

// EventKind names what a delivery means.
type EventKind string

// The events that planning knows. Every other delivery is stored and decided as "not handled yet".
const (
	EventPush        EventKind = "push"
	EventPullRequest EventKind = "pull_request"
)

// An Event is a delivery in our words. It holds what the payload said; what is true now is asked at GitHub (Facts).
type Event struct {
	Kind         EventKind  `json:"kind"`
	Action       string     `json:"action,omitempty"` // of a pull request: opened, synchronize, reopened, ready_for_review, closed
	Delivery     string     `json:"delivery"`         // GUID of the delivery that caused it
	Installation int64      `json:"installation"`
	Repository   Repository `json:"repository"`
	Sender       Actor      `json:"sender"`

	Message string `json:"message,omitempty"` // head commit's message, at most 1,000 bytes
	// Of a push.
	Ref    string `json:"ref,omitempty"`    // refs/heads/main, refs/tags/v1
	Before string `json:"before,omitempty"` // full SHA; empty when the ref was created
	After  string `json:"after,omitempty"`  // full SHA; empty when the ref was deleted
	Forced bool   `json:"forced,omitempty"`
	// Changed files of a push as its payload listed them.
	Changes Changes `json:"changes"`

	PullRequest *PullRequest `json:"pull_request,omitempty"`
}

// A Repository as GitHub names it. ID is the key everywhere: names move.
type Repository struct {
	ID            int64  `json:"id"`
	Owner         string `json:"owner"`
	Name          string `json:"name"`
	DefaultBranch string `json:"default_branch"`
	Private       bool   `json:"private,omitempty"`
	Archived      bool   `json:"archived,omitempty"`
}

// FullName is "owner/name", or "" for no repository.
func (r Repository) FullName() string {
	if r == (Repository{}) {
		return ""
	}
	return r.Owner + "/" + r.Name
}

// An Actor is a GitHub account. ID is what is compared; Login is what is shown.
type Actor struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	Type  string `json:"type,omitempty"` // User, Bot, Organization
}

// A PullRequest as a payload or GitHub's answer described it.
type PullRequest struct {
	Number   int      `json:"number"`
	Title    string   `json:"title,omitempty"`
	State    string   `json:"state"` // open, closed
	Merged   bool     `json:"merged,omitempty"`
	Draft    bool     `json:"draft,omitempty"`
	Author   Actor    `json:"author"`
	HeadRef  string   `json:"head_ref"` // branch name without refs/heads/
	HeadSHA  string   `json:"head_sha"`
	HeadRepo int64    `json:"head_repo"` // repository ID; 0 when the fork was deleted
	HeadName string   `json:"head_name,omitempty"`
	BaseRef  string   `json:"base_ref"`
	BaseSHA  string   `json:"base_sha"`
	Labels   []string `json:"labels,omitempty"`
	// Message is the head commit's message, at most 1,000 bytes. Payloads don't hold it; GitHub is asked.
	Message string `json:"message,omitempty"`
}

// Branch is the branch a push went to, or "" for anything else.
func (e Event) Branch() string { return cutRef(e.Ref, "refs/heads/") }

// Tag is the Git tag a push created or moved, or "".
func (e Event) Tag() string { return cutRef(e.Ref, "refs/tags/") }

// SHA is the commit the event is about: a push's new commit, a pull request's head. Empty for a deleted ref.
func (e Event) SHA() string {
	if e.PullRequest != nil {
		return e.PullRequest.HeadSHA
	}
	return e.After
}

func cutRef(ref, prefix string) string {
	if name, ok := strings.CutPrefix(ref, prefix); ok {
		return name
	}
	return ""
}

// Changes are the files an event changed, or the word that they can't be known. Unknown counts as everything
// changed (invariant 14), and the decision says so.
type Changes struct {
	Known bool     `json:"known"`
	Files []string `json:"files,omitempty"` // slash-separated paths from the repository's root, sorted, without duplicates
	Why   string   `json:"why,omitempty"`   // when not known: the reason, as a clause
}
