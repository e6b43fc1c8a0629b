package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
)

// KindName names a kind of job as the pipeline file does.
type KindName string

// The kinds there are.
const (
	KindBuild    KindName = "build"
	KindDeploy   KindName = "deploy"
	KindDispatch KindName = "dispatch"
	KindAwait    KindName = "await"
)

// A Kind carries one claimed job to a result. It is called again after a crash or a lost claim, so it must find out
// what an earlier call already did, or do it again without harm.
//
// What it returns decides the job's fate (invariant 5): a Result is theirs and final; an error is ours, retried with
// backoff, and shown only when patience runs out. When ctx ends it returns ctx's error soon: the job is handed back
// at no cost, or cancelled, as context.Cause says.
type Kind interface {
	Run(ctx context.Context, task Task) (Result, error)
}

// A Stopper is a Kind whose jobs have something at work outside, which must be told to stop. When such a job's run is cancelled or
// superseded after it was claimed once, it does not just end: Stop is called, with the same rules as Run, and its result is final.
type Stopper interface {
	Kind
	Stop(ctx context.Context, task Task, stop Stop) (Result, error)
}

// An Order is what a person asked of a job that is under way.
type Order struct {
	Do    string    `json:"do"`              // OrderApprove
	Names []string  `json:"names,omitempty"` // of the environments that are meant
	By    Actor     `json:"by"`
	Cause string    `json:"cause"` // key of the decision: each counts once
	Time  time.Time `json:"time"`  // when it was asked for: what waits only since then is not meant
}

// OrderApprove lets what the job waits for go on.
const OrderApprove = "approve"

// maxOrders bounds the orders kept of a job; the oldest go first.
const maxOrders = 20

// A Task is all a kind is given. What is not in it, a job may not touch.
type Task struct {
	Run     RunInfo
	Job     string
	Attempt int             // 1 for the first; grows when a person asks for another
	Claim   string          // unique to this claim: the fencing token
	Spec    json.RawMessage // a resolved BuildSpec, DeploySpec, ...: no expression left in it
	Grant   Grant
	Source  Source
	Log     io.Writer // the job's log: text in lines, secrets masked behind it
	// Newest reports whether the run's commit is still the newest of its ref; what moves forward asks it just
	// before it moves anything (invariant 8). When it is not, reason says what is newer.
	Newest func(ctx context.Context) (ok bool, reason string, err error)
	// Watch asks for the job to be called again soon after news about a topic came: a WorkflowTopic, or a CommitTopic with the
	// names of the checks it waits for. What came before is not told: look after asking.
	Watch func(ctx context.Context, topic string, names ...string) error
	// Resume says that what the job waited for outside is over, and that it is worked on here from now on.
	Resume func(ctx context.Context) error
	// Orders are what people asked of the job since it began, oldest first.
	Orders []Order
	// Earlier is the run of the last attempt before this one in which a worker claimed the job, or "".
	Earlier string
	// Began is when the job was first claimed.
	Began time.Time
	// Lock keeps others of this installation of Slipway from the same named thing while do runs.
	Lock func(ctx context.Context, name string, do func(context.Context) error) error
}

// RunInfo is what a job may know of its run and the event behind it.
type RunInfo struct {
	ID            string     `json:"id"`
	Installation  int64      `json:"installation"`
	Repository    Repository `json:"repository"`
	Event         EventKind  `json:"event"`
	Action        string     `json:"action,omitempty"` // of a pull request's event
	SHA           string     `json:"sha"`
	Ref           string     `json:"ref"`              // refs/heads/main, refs/tags/v1, refs/pull/7/head
	Branch        string     `json:"branch,omitempty"` // of a branch push; of a pull request: its head branch
	Tag           string     `json:"tag,omitempty"`
	PullRequest   int        `json:"pull_request,omitempty"`
	Fork          bool       `json:"fork,omitempty"` // the pull request's head is in another repository
	BaseBranch    string     `json:"base_branch,omitempty"`
	Actor         Actor      `json:"actor"`
	Trust         Trust      `json:"trust"`
	URL           string     `json:"url,omitempty"` // of the run's page; filled in where it is shown
	CommitMessage string     `json:"commit_message,omitempty"`
	// Root and Attempt are set on a run that repeats an earlier one: Root is the first of them, Attempt is from 2.
	Root    string `json:"root,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	// Asked is set when a person asked for this run by a command.
	Asked *Asked `json:"asked,omitempty"`
	// Approved lists the environments whose approvals this run has.
	Approved []string `json:"approved,omitempty"`
	// Args are the arguments of the pipeline's command that started the run.
	Args map[string]any `json:"args,omitempty"`
	// Prerelease is set on a run for a release that is marked as such.
	Prerelease bool `json:"prerelease,omitempty"`
}

// OnDefaultBranch reports whether the run is for the repository's default branch itself: pushed, or scheduled.
func (r RunInfo) OnDefaultBranch() bool {
	return (r.Event == EventPush || r.Event == EventSchedule) && r.Branch != "" && r.Branch == r.Repository.DefaultBranch
}

// A Source gives the repository's files at an exact commit.
type Source interface {
	// Checkout returns the files of the run's commit. It is shared and must not be written to. Errors of the
	// content itself (too many files, a path that climbs out) are a *Refusal.
	Checkout(ctx context.Context, run RunInfo) (*Checkout, error)
}

// A Checkout is an unpacked commit. Close it when done.
type Checkout struct {
	Dir        string // absolute path
	Root       *os.Root
	CommitTime time.Time
	Close      func()
}

// A Refusal is an error that is final and theirs: the sentence says what to do.
type Refusal struct {
	Sentence string
	Cause    error // for the operator; may be nil
}

func (r *Refusal) Error() string {
	if r.Cause != nil {
		return r.Sentence + ": " + r.Cause.Error()
	}
	return r.Sentence
}

func (r *Refusal) Unwrap() error { return r.Cause }

// A Later error says that a job must wait for something known, such as another's turn. It costs no patience, and while it waits the
// job holds no worker. News about what it watches call it sooner.
type Later struct {
	After  time.Duration // try again no sooner than this
	Reason string        // clause for people: "release tks/api is being rolled out by run r-…"
	// Progress says how what goes on outside stands: the job counts as under way, with Reason as its title, and what is in here
	// is shown. Its conclusion is not looked at.
	Progress *Result
	// Approvals are environments, as GitHub names them, that somebody must approve there first. They need Progress.
	Approvals []string
}

// Polling is how often a kind asks GitHub about what no delivery has told of for a while.
type Polling struct {
	First time.Duration // of silence before it asks; 0: 5 minutes
	Most  time.Duration // between two questions, which grows while nothing happens; 0: 30 minutes
}

// OrDefault fills in what is zero.
func (p Polling) OrDefault() Polling {
	return Polling{cmp.Or(p.First, 5*time.Minute), cmp.Or(p.Most, 30*time.Minute)}
}

// After is how long to wait for the next question about what has been waited for so long already.
func (p Polling) After(waited time.Duration) time.Duration { return min(max(waited, p.First), p.Most) }

func (l *Later) Error() string { return "later: " + l.Reason }

// Why a running job's context ends. A kind need not look: it returns the context's error and the runner sorts it out.
var (
	ErrShutdown  = errors.New("this server is shutting down")
	ErrCancelled = errors.New("the run was cancelled")
	ErrClaimLost = errors.New("the claim on the job was lost")
)

// A Grant is what the operator's policy lets a job touch. The zero Grant lets it touch nothing.
type Grant struct {
	Push         []PushGrant        `json:"push,omitempty"`
	Environments []EnvironmentGrant `json:"environments,omitempty"`
	// Workflows says in which repositories workflows may be dispatched, in lower case; the run's own is among them.
	Workflows []WorkflowGrant `json:"workflows,omitempty"`
}

// A WorkflowGrant names a repository whose workflows a job may dispatch.
type WorkflowGrant struct {
	Repository string   `json:"repository"`      // owner/name, in lower case
	Files      []string `json:"files,omitempty"` // patterns of workflow files' names; none for all
	Refs       []string `json:"refs,omitempty"`  // patterns of branches and tags; none for all
}

// A PushGrant names images a job may push. Name patterns are in GitHub's filter dialect, already expanded.
type PushGrant struct {
	Registry string   `json:"registry"` // host[:port]
	Names    []string `json:"names"`    // patterns of repository names within the registry
}

// An EnvironmentGrant names an environment a job may roll out to.
type EnvironmentGrant struct {
	Name       string   `json:"name"`
	Clusters   []string `json:"clusters"`
	Namespaces []string `json:"namespaces"` // patterns, already expanded
	Branches   []string `json:"branches"`   // patterns of branches that may roll out, already expanded
	// Approvals says who must approve each commit before it is rolled out there; the zero value asks for nobody.
	Approvals ApprovalRule `json:"approvals,omitzero"`
	URL       string       `json:"url,omitempty"` // where people reach what runs there; http or https
	// RequiredChecks are the checks and statuses of other Apps, as ParseAwaited reads them, that must have succeeded on the commit before it is
	// rolled out there.
	RequiredChecks []string `json:"required_checks,omitempty"`
}

// An ApprovalRule asks for so many people of the lists; with both lists empty, of those with write permission.
type ApprovalRule struct {
	Count int      `json:"count,omitempty"`
	Users []string `json:"users,omitempty"` // logins
	Teams []string `json:"teams,omitempty"` // ORG/SLUG
}

// Needed reports whether anybody must approve.
func (a ApprovalRule) Needed() bool { return a.Count > 0 }
