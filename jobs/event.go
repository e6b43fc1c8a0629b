package jobs

import (
	"strings"
	"time"
)

// EventKind names what a delivery means.
type EventKind string

// The events that planning knows. Every other delivery is stored and decided as ignored, with the reason.
const (
	EventPush        EventKind = "push"
	EventPullRequest EventKind = "pull_request"
	EventMergeGroup  EventKind = "merge_group" // a head that a merge queue wants checked
	EventRelease     EventKind = "release"     // a release was published on a tag
	EventSchedule    EventKind = "schedule"    // a moment that the pipeline names has come
	EventCommand     EventKind = "command"     // slash commands in a comment, or one of them
	EventButton      EventKind = "button"      // a click on a button of one of our checks
	EventRerun       EventKind = "rerun"       // a click on Re-run at a check or a suite
	EventWorkflow    EventKind = "workflow"    // news of a workflow run or of one of its jobs
	EventChecked     EventKind = "checked"     // another App's check, or a status, of a commit ended
	EventRequest     EventKind = "request"     // what a machine asked for by the API, or somebody on the command line
)

// Asks reports whether the event is a person's request about what is there already, not news about the repository.
func (k EventKind) Asks() bool {
	return k == EventCommand || k == EventButton || k == EventRerun || k == EventRequest
}

// News reports whether the event tells how something outside stands that a job may wait for.
func (k EventKind) News() bool { return k == EventWorkflow || k == EventChecked }

// MaxMessage is how much of a commit's message is looked at, in bytes: a mark such as [skip ci] may stand anywhere in it, and a
// trailer always stands last. Records keep far less.
const MaxMessage = 64 << 10

// An Event is a delivery in our words. It holds what the payload said; what is true now is asked at GitHub.
type Event struct {
	Kind         EventKind  `json:"kind"`
	Action       string     `json:"action,omitempty"` // as GitHub names it, such as opened or synchronize
	Delivery     string     `json:"delivery"`         // GUID of the delivery that caused it
	Installation int64      `json:"installation"`
	Repository   Repository `json:"repository"`
	Sender       Actor      `json:"sender"`
	// Time is when it happened by GitHub's clock, as far as the payload tells; zero when it doesn't.
	Time time.Time `json:"time,omitzero"`

	Message string `json:"message,omitempty"` // head commit's message, at most MaxMessage bytes
	// Of a push.
	Ref    string `json:"ref,omitempty"`    // refs/heads/main, refs/tags/v1
	Before string `json:"before,omitempty"` // full SHA; empty when the ref was created
	After  string `json:"after,omitempty"`  // full SHA; empty when the ref was deleted
	Forced bool   `json:"forced,omitempty"`
	// Changed files of a push as its payload listed them.
	Changes Changes `json:"changes"`

	PullRequest *PullRequest `json:"pull_request,omitempty"`
	Label       string       `json:"label,omitempty"` // that was just added to the pull request, or taken from it

	MergeGroup *MergeGroup `json:"merge_group,omitempty"`
	Release    *Release    `json:"release,omitempty"`
	Schedule   string      `json:"schedule,omitempty"` // the cron expression that came due, as the pipeline writes it
	Comment    *Comment    `json:"comment,omitempty"`
	// Commands are all commands of a comment while its delivery is handled, and the one that is decided about after.
	Commands []Command   `json:"commands,omitempty"`
	Check    *CheckClick `json:"check,omitempty"`

	Workflow *WorkflowRun `json:"workflow,omitempty"` // as far as the payload tells
	Checked  *Checked     `json:"checked,omitempty"`
	Request  *Request     `json:"request,omitempty"`
}

// Checked says that another App's check or a status of a commit ended.
type Checked struct {
	SHA  string `json:"sha"`
	Name string `json:"name,omitempty"` // of the check or the status's context; "" for a whole suite
}

// A MergeGroup is a head that a merge queue made: the base with one or more pull requests merged into it.
type MergeGroup struct {
	HeadRef string `json:"head_ref"` // refs/heads/gh-readonly-queue/main/pr-7-…
	HeadSHA string `json:"head_sha"`
	BaseRef string `json:"base_ref"` // refs/heads/main
	BaseSHA string `json:"base_sha"`
}

// A Release as its payload described it.
type Release struct {
	Tag        string `json:"tag"`
	Name       string `json:"name,omitempty"`
	Prerelease bool   `json:"prerelease,omitempty"`
}

// A Comment is where commands were written. It is on a pull request (Number) or on a commit (SHA).
type Comment struct {
	ID      int64     `json:"id"`
	Author  Actor     `json:"author"`
	Created time.Time `json:"created"` // by GitHub's clock
	Number  int       `json:"number,omitempty"`
	SHA     string    `json:"sha,omitempty"`
	URL     string    `json:"url,omitempty"`
}

// A CheckClick is a click at one of our checks: on one of its buttons, on its Re-run, or on that of its suite.
type CheckClick struct {
	ID         int64  `json:"id,omitempty"` // of the check run; 0 for a suite
	Name       string `json:"name,omitempty"`
	ExternalID string `json:"external_id,omitempty"` // ours: RUN/CHECK
	Suite      int64  `json:"suite,omitempty"`
	SHA        string `json:"sha"`
	Button     string `json:"button,omitempty"` // identifier, one of the Button constants or one that starts with it and a colon
}

// Buttons that our checks offer, by GitHub's identifier of at most 20 characters.
const (
	ButtonApprove  = "approve"  // let a held pull request be built, or a held rollout go on
	ButtonRetry    = "retry"    // run again what failed
	ButtonRollback = "rollback" // take the rollouts of a run back
)

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
	MergeSHA string   `json:"merge_sha,omitempty"` // of a merged one: the commit on the base branch
	Draft    bool     `json:"draft,omitempty"`
	Author   Actor    `json:"author"`
	HeadRef  string   `json:"head_ref"` // branch name without refs/heads/
	HeadSHA  string   `json:"head_sha"`
	HeadRepo int64    `json:"head_repo"` // repository ID; 0 when the fork was deleted
	HeadName string   `json:"head_name,omitempty"`
	BaseRef  string   `json:"base_ref"`
	BaseSHA  string   `json:"base_sha"`
	Labels   []string `json:"labels,omitempty"`
	// Message is the head commit's message, at most MaxMessage bytes. Payloads don't hold it; GitHub is asked.
	Message string `json:"message,omitempty"`
}

// Branch is the branch a push went to, or "" for anything else.
func (e Event) Branch() string { return cutRef(e.Ref, "refs/heads/") }

// Tag is the Git tag a push created or moved, or "".
func (e Event) Tag() string { return cutRef(e.Ref, "refs/tags/") }

// SHA is the commit the event is about: a push's new commit, a pull request's or merge group's head. Empty for a
// deleted ref, and for a comment until it is known what it means.
func (e Event) SHA() string {
	switch {
	case e.PullRequest != nil:
		return e.PullRequest.HeadSHA
	case e.MergeGroup != nil:
		return e.MergeGroup.HeadSHA
	case e.Check != nil && e.After == "":
		return e.Check.SHA
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
