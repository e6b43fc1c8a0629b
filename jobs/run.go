package jobs

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A Run is the jobs that one decision started on one commit: a graph with states, attempts and results. It is the
// one record that all of scheduler, workers and reporter go by. Heartbeats, logs and long results lie elsewhere.
type Run struct {
	RunInfo
	Delivery string    `json:"delivery"`
	Outcome  Outcome   `json:"outcome"` // of the decision: run, held, fault, nothing
	Reason   string    `json:"reason"`  // the decision's sentence
	Faults   []Fault   `json:"faults,omitempty"`
	Notes    []string  `json:"notes,omitempty"`
	Pipeline string    `json:"pipeline,omitempty"`
	State    RunState  `json:"state"`
	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	// Stop asks for the run to end: superseded by a newer push, cancelled by a person. Set once, never cleared.
	Stop *Stop `json:"stop,omitempty"`
	Jobs []Job `json:"jobs,omitempty"`
	// Reported means that GitHub shows the run's end, or that Unreported says why it can't.
	Reported   bool   `json:"reported,omitempty"`
	Unreported string `json:"unreported,omitempty"`
}

// Stop is a request to end a run.
type Stop struct {
	Reason string    `json:"reason"` // sentence for people: "superseded by a newer push, 3f2c…"
	Time   time.Time `json:"time"`
	// Superseded means that nobody asked for it: a newer commit took its place.
	Superseded bool `json:"superseded,omitempty"`
}

// RunState is where a run stands, derived from its jobs.
type RunState string

// The states of a run. Active ends in one of the others.
const (
	RunActive    RunState = "active"
	RunSucceeded RunState = "succeeded"
	RunFailed    RunState = "failed"
	RunCancelled RunState = "cancelled"
	RunHeld      RunState = "held"
	RunNothing   RunState = "nothing"
	// RunWaits means that all is done but what somebody must approve first; the approved rest is a run of its own.
	RunWaits RunState = "waits"
)

// Over reports whether the state is final.
func (s RunState) Over() bool { return s != RunActive }

// A Job is one node of a run.
type Job struct {
	Name     string          `json:"name"`
	Kind     KindName        `json:"kind"`
	Needs    []string        `json:"needs,omitempty"`
	Spec     json.RawMessage `json:"spec,omitempty"`
	Template json.RawMessage `json:"template,omitempty"`
	If       string          `json:"if,omitempty"`
	Line     int             `json:"line,omitempty"`
	// Unplanned marks a job that was considered and is not for this event: it is skipped from the start.
	Unplanned bool `json:"unplanned,omitempty"`
	// Reused marks a job that is not done again by a run that repeats an earlier one: it is over from the start. ReusedFrom is the
	// run in which it was done, where its log is.
	Reused     bool   `json:"reused,omitempty"`
	ReusedFrom string `json:"reused_from,omitempty"`
	// Earlier is the run of the last attempt before this one in which a worker claimed the job, if any did.
	Earlier string `json:"earlier,omitempty"`
	// Approvals are the environments whose approval a held job waits for, or one under way on GitHub.
	Approvals []string `json:"approvals,omitempty"`
	// Round counts the approval waits on GitHub that are over; what follows each is shown as a new check run.
	Round int `json:"round,omitempty"`
	// Outside: a Stopper has claimed the job, so work may exist elsewhere that must be stopped before the job ends. Parked: that
	// work goes on and the job holds no worker until news, an order or NotBefore. Woken: news came while a worker held the job.
	Outside bool    `json:"outside,omitempty"`
	Parked  bool    `json:"parked,omitempty"`
	Woken   bool    `json:"woken,omitempty"`
	Orders  []Order `json:"orders,omitempty"`
	// Looked is when a worker last checked the work elsewhere. Stopping: the last claim was made in order to stop it.
	Looked   time.Time `json:"looked,omitzero"`
	Stopping bool      `json:"stopping,omitempty"`
	// Stop asks for this job alone to end.
	Stop *Stop `json:"stop,omitempty"`

	State   JobState `json:"state"`
	Attempt int      `json:"attempt"` // 1 for the first
	// Claims counts how often workers took the job in this attempt; Claim is the one that has it now.
	Claims int    `json:"claims,omitempty"`
	Claim  *Claim `json:"claim,omitempty"`
	// Troubles counts errors of ours in this attempt; NotBefore is when it may be tried again, Waiting says why.
	Troubles  int       `json:"troubles,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Waiting   string    `json:"waiting,omitempty"`

	Started  time.Time `json:"started,omitzero"` // first claim of this attempt
	Finished time.Time `json:"finished,omitzero"`
	// The final result in short. ResultKey names the full record; while the job is parked, its latest progress.
	Summary   string         `json:"summary,omitempty"`
	Outputs   map[string]any `json:"outputs,omitempty"`
	ResultKey string         `json:"result_key,omitempty"`
}

// A Claim says who works on a job now. Token is unique to it and fences everything the holder does.
type Claim struct {
	Token  string    `json:"token"`
	Worker string    `json:"worker"`
	Time   time.Time `json:"time"`
}

// JobState is where a job stands.
type JobState string

// The states of a job. See state.go for the transitions.
const (
	JobWaiting   JobState = "waiting"   // for its needs
	JobQueued    JobState = "queued"    // ready; waits for its repository's share, or for NotBefore
	JobOffered   JobState = "offered"   // a hint is out; any worker may claim it
	JobRunning   JobState = "running"   // claimed
	JobSucceeded JobState = "succeeded" //
	JobFailed    JobState = "failed"    //
	JobCancelled JobState = "cancelled" //
	JobSkipped   JobState = "skipped"   // its needs or its `if` said no
	JobHeld      JobState = "held"      // somebody must approve it; it goes on in a run of its own
)

// Over reports whether the state is final.
func (s JobState) Over() bool {
	return s == JobSucceeded || s == JobFailed || s == JobCancelled || s == JobSkipped || s == JobHeld
}

// Seen is the state that people are shown: what goes on outside is running, whether a worker looks at it just now or not.
func (j Job) Seen() JobState {
	if j.Parked && !j.State.Over() {
		return JobRunning
	}
	return j.State
}

// Job returns the run's job of that name, or nil.
func (r *Run) Job(name string) *Job {
	for i := range r.Jobs {
		if r.Jobs[i].Name == name {
			return &r.Jobs[i]
		}
	}
	return nil
}

// RunID derives a run's ID from its delivery: the same cause gives the same run, whoever creates it (invariant 2).
func RunID(guid string) string {
	sum := sha256.Sum256([]byte("run " + guid))
	return "r-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))[:12]
}

// ResultKey is the key of the result record of one claim of one attempt of a job.
func ResultKey(run, job string, attempt, claim int) string {
	return fmt.Sprintf("%s.%s.%d.%d", run, job, attempt, claim)
}

// ClaimKey is the key of the lease that the holder of a claim keeps.
func ClaimKey(token string) string { return "claim." + token }

// A RunEntry is a run's line in the list of all runs, written once when the run is created.
type RunEntry struct {
	Seq        uint64    `json:"seq"` // place in the list; grows
	ID         string    `json:"id"`
	Repository int64     `json:"repository"`
	Name       string    `json:"name"` // owner/name
	Created    time.Time `json:"created"`
}

// Kinds of ReportRecords beside "", a check.
const (
	ReportDeployment = "deployment" // a GitHub Deployment: one environment of one job
	ReportComment    = "comment"    // the comment of ours on a pull request that is kept up to date
)

// A ReportRecord is what was said to GitHub about one check, deployment or pull request. It is written before GitHub is asked
// to create anything, so that a create whose answer was lost is found again by ExternalID, never doubled.
type ReportRecord struct {
	Run        string    `json:"run"` // of a comment: the last that changed it
	Kind       string    `json:"kind,omitempty"`
	Check      string    `json:"check"`       // the check's name; of a deployment JOB/ENVIRONMENT, of a comment the pull request
	ExternalID string    `json:"external_id"` // ours, given to GitHub
	GitHubID   int64     `json:"github_id,omitempty"`
	Hash       string    `json:"hash,omitempty"` // of what GitHub shows now
	Completed  bool      `json:"completed,omitempty"`
	Said       time.Time `json:"said,omitzero"`  // when GitHub was last written to
	Asked      time.Time `json:"asked,omitzero"` // when something was last sent that has no known answer
	// Notes are what a comment is made of.
	Notes []ReportNote `json:"notes,omitempty"`
}

// A ReportNote is one thing that a comment says, until a later note of the same key replaces it.
type ReportNote struct {
	Key  string    `json:"key"`
	Text string    `json:"text,omitempty"` // Markdown, at most 4 KB
	SHA  string    `json:"sha"`            // of the commit it is about
	Time time.Time `json:"time"`           // since when it is so
}
