package jobs

import (
	"encoding/json"
	"fmt"
	"time"
)

// Outcome is what planning concluded for one delivery.
type Outcome string

// The outcomes there are.
const (
	OutcomeRun     Outcome = "run"     // jobs were started
	OutcomeHeld    Outcome = "held"    // jobs matched, but the sender may not start them without approval
	OutcomeFault   Outcome = "fault"   // the pipeline file, or every job of it, is wrong
	OutcomeNothing Outcome = "nothing" // nothing matched, and that is final
	OutcomeObserve Outcome = "observe" // jobs matched, but this server only observes
	OutcomeIgnored Outcome = "ignored" // not an event we act on, or not ours to handle
	OutcomeActed   Outcome = "acted"   // what a person asked for was done or answered, beside or without a run
	OutcomeRefused Outcome = "refused" // what a person asked for was refused
	OutcomeNoted   Outcome = "noted"   // news that a job waits for
)

// A Decision is what planning concluded for one delivery: stored once under the delivery's GUID, with the whole plan,
// and the reason for every job considered. A run is made from it and from nothing else.
type Decision struct {
	Delivery string    `json:"delivery"` // GUID
	Time     time.Time `json:"time"`
	Happened time.Time `json:"happened,omitzero"` // the event, by GitHub's clock
	Outcome  Outcome   `json:"outcome"`
	Reason   string    `json:"reason"` // one sentence
	Run      RunInfo   `json:"run"`    // Run.ID is set when a run, or only a check, follows
	Plan     Plan      `json:"plan"`
	// Stale is set when the commit was not the newest of its branch any more: it says what is.
	Stale string `json:"stale,omitempty"`
	// Judged is the commit that the branch's record was at when Stale was decided.
	Judged string `json:"judged,omitempty"`
	// Shown means that GitHub gets a check for this decision: for a run, a fault, a held pull request, and for a
	// pull request where nothing matched (so that a required check closes).
	Shown bool `json:"shown,omitempty"`

	// Of what a person asked for.
	Command  string        `json:"command,omitempty"`  // as written
	Parts    []string      `json:"parts,omitempty"`    // of a comment: the keys of the decisions about its commands
	Again    *Again        `json:"again,omitempty"`    // the run repeats an earlier one
	Stops    []StopRequest `json:"stops,omitempty"`    // what is to end
	Orders   []JobOrder    `json:"orders,omitempty"`   // what jobs under way are told
	Approval *Approval     `json:"approval,omitempty"` // given by this
	Answer   string        `json:"answer,omitempty"`   // Markdown for who asked; empty when reaction and checks say all
	Reply    *Reply        `json:"reply,omitempty"`    // of a comment: what its writer is shown
}

// A Plan is what the pipeline said about one event, by itself and purely.
type Plan struct {
	Pipeline   string       `json:"pipeline"` // where it came from: ".slipway.yaml at <sha>", "the default pipeline"
	Jobs       []PlannedJob `json:"jobs"`     // every job considered, in the file's order
	Faults     []Fault      `json:"faults,omitempty"`
	Notes      []string     `json:"notes,omitempty"`       // such as: changed files could not be known, so all count as changed
	SkipReason string       `json:"skip_reason,omitempty"` // set when the whole event is held back, such as by [skip ci]
	// Refusal is set when what a person asked for can't be planned: a sentence for them, such as that there is no such job.
	Refusal string `json:"refusal,omitempty"`
	// Schedule is when the pipeline wants to run by the clock; only the default branch's counts.
	Schedule []ScheduleEntry `json:"schedule,omitempty"`
}

// A PlannedJob is a job that was considered, and why it runs or not.
type PlannedJob struct {
	Name    string   `json:"name"`
	Kind    KindName `json:"kind"`
	Planned bool     `json:"planned"`
	Reason  string   `json:"reason"` // why it is planned, or why not
	Needs   []string `json:"needs,omitempty"`
	// Exactly one of Spec and Template is set on a planned job without a Fault: Spec when nothing in it depends on
	// other jobs, Template with its expressions when something does. A template is resolved once, when its needs
	// have ended.
	Spec     json.RawMessage `json:"spec,omitempty"`
	Template json.RawMessage `json:"template,omitempty"`
	If       string          `json:"if,omitempty"` // expression to be evaluated together with Template
	// Line is where the job stands in the pipeline file.
	Line int `json:"line,omitempty"`
	// Fault is set when the job itself is wrong; it fails without running. A good job beside it still runs.
	Fault string `json:"fault,omitempty"`
}

// conclude is the decision with what came out, and why.
func (d Decision) conclude(o Outcome, format string, args ...any) Decision {
	d.Outcome, d.Reason = o, fmt.Sprintf(format, args...)
	return d
}

// Selected reports whether any job is planned.
func (p Plan) Selected() bool {
	for _, j := range p.Jobs {
		if j.Planned {
			return true
		}
	}
	return false
}

// Faulty reports whether the file as a whole can't be used.
func (p Plan) Faulty() bool {
	for _, f := range p.Faults {
		if f.Job == "" {
			return true
		}
	}
	return false
}

// PlanInput is everything planning looks at. Planning is pure: the same input gives the same plan.
type PlanInput struct {
	Event   Event
	Trust   Trust
	Run     RunInfo
	Changes Changes
	// File is the pipeline file's content at the trusted commit; HasFile is false when there is none there.
	File    []byte
	HasFile bool
	Path    string // name of the pipeline file, ".slipway.yaml"
	SHA     string // commit the file was read at
	// HasDockerfile tells whether a Dockerfile lies in the root, asked only when there is no pipeline file.
	HasDockerfile bool
	// Stale is set when the commit is behind its branch: what moves tags or releases is not planned.
	Stale string
	// Workflows are the files that dispatch jobs name, as Pipelines.Workflows asked for them.
	Workflows []WorkflowFile
	// Ask narrows the plan to what a person asked for; triggers and paths are not looked at then.
	Ask   *Ask
	Grant Grant
	// NoGrants says that what is granted is not known, and is not looked at: a rehearsal without the operator's rules.
	NoGrants bool
	// DefaultImage is the operator's defaults.image, expanded for this repository.
	DefaultImage string
}

// Mode is what the operator lets Slipway do for a repository.
type Mode string

// The modes of a repository.
const (
	ModeOff     Mode = "off"     // not in repositories.allow
	ModeObserve Mode = "observe" // decide and explain, start nothing
	ModeRun     Mode = "run"
)

// Start is the record that says since when this data folder may act. Until it exists nothing runs: a server on an
// empty disk, be it new or lost, observes until the operator says from when (invariant 8).
type Start struct {
	Since time.Time `json:"since"` // deliveries received before are only observed
	By    string    `json:"by"`
	At    time.Time `json:"at"`
}

// StartKey is the key of the Start record.
const StartKey = "start"
