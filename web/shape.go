package web

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// RunList is the answer of /api/v1/runs.
type RunList struct {
	Runs []Run `json:"runs"` // newest first, without what only a single run tells
	// Next is the value of "before" for the following page; absent on the last.
	Next uint64 `json:"next,omitempty"`
	// Cut is set when there may be more than could be looked at, as in a long list of active runs.
	Cut bool `json:"cut,omitempty"`
}

// Run is a run as shown, the answer of /api/v1/runs/ID.
type Run struct {
	ID          string        `json:"id"`
	Repository  string        `json:"repository"` // owner/name
	Delivery    string        `json:"delivery,omitempty"`
	Event       string        `json:"event,omitempty"`
	What        string        `json:"what,omitempty"` // "push to main", "pull request #7", "tag v1.2.0"
	Ref         string        `json:"ref,omitempty"`
	SHA         string        `json:"sha,omitempty"`
	Branch      string        `json:"branch,omitempty"`
	Tag         string        `json:"tag,omitempty"`
	PullRequest int           `json:"pull_request,omitempty"`
	Fork        bool          `json:"fork,omitempty"`
	Title       string        `json:"title,omitempty"` // the commit message's first line
	Actor       string        `json:"actor,omitempty"`
	Trust       *jobs.Trust   `json:"trust,omitempty"`
	State       jobs.RunState `json:"state,omitempty"` // empty when the run's record is no longer kept
	Outcome     jobs.Outcome  `json:"outcome,omitempty"`
	Sentence    string        `json:"sentence"` // where it stands, for people
	Reason      string        `json:"reason,omitempty"`
	Pipeline    string        `json:"pipeline,omitempty"`
	Faults      []jobs.Fault  `json:"faults,omitempty"`
	Notes       []string      `json:"notes,omitempty"`
	Created     time.Time     `json:"created"`
	Started     time.Time     `json:"started,omitzero"`
	Finished    time.Time     `json:"finished,omitzero"`
	Seconds     float64       `json:"seconds,omitempty"` // from started to finished, or until now
	Stop        *jobs.Stop    `json:"stop,omitempty"`
	Reported    bool          `json:"reported"` // GitHub shows the run's end
	Unreported  string        `json:"unreported,omitempty"`
	Jobs        []Job         `json:"jobs"`
	// Of a run that repeats an earlier one: which attempt it is, and the ID of the one before.
	Attempt int    `json:"attempt,omitempty"`
	Earlier string `json:"earlier,omitempty"`
	// Asked is set when a person asked for the run by a command.
	Asked *jobs.Asked `json:"asked,omitempty"`

	revision uint64
}

// Job is a job of a run as shown.
type Job struct {
	Name    string        `json:"name"`
	Kind    jobs.KindName `json:"kind"`
	Needs   []string      `json:"needs,omitempty"`
	State   jobs.JobState `json:"state"`
	Attempt int           `json:"attempt"`
	// Underway is set while the job's work goes on elsewhere, as in a workflow run that it follows. Its state is "running" then,
	// Waiting says in a line how it stands, and of a single run Details and Outputs say what is known so far.
	Underway bool `json:"underway,omitempty"`
	// Awaits are the environments that somebody must approve before it goes on: of a held job, and of one under way, on GitHub.
	Awaits []string `json:"awaits,omitempty"`
	// Stopping says why a job that is at work is being stopped.
	Stopping string `json:"stopping,omitempty"`
	// Waiting says why the job is not being worked on, NotBefore when it is tried again at the earliest.
	Waiting   string    `json:"waiting,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Troubles  int       `json:"troubles,omitempty"` // errors of ours in this attempt
	Worker    string    `json:"worker,omitempty"`   // who works on it now; not told on public pages
	Claimed   time.Time `json:"claimed,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`
	Seconds   float64   `json:"seconds,omitempty"`
	Summary   string    `json:"summary,omitempty"`
	Line      int       `json:"line,omitempty"` // in the pipeline file

	// Only in a single run:
	Conclusion  jobs.Conclusion   `json:"conclusion,omitempty"`
	Details     string            `json:"details,omitempty"` // Markdown
	Cause       string            `json:"cause,omitempty"`   // only on the admin socket
	Outputs     map[string]any    `json:"outputs,omitempty"`
	Annotations []jobs.Annotation `json:"annotations,omitempty"`
	Tail        []string          `json:"tail,omitempty"`
	Spec        json.RawMessage   `json:"spec,omitempty"` // what the kind was given, once it is known
	Log         string            `json:"log,omitempty"`  // path of the log in this API
}

// DeliveryList is the answer of /api/v1/deliveries.
type DeliveryList struct {
	Deliveries []Delivery `json:"deliveries"` // newest first, without plans
	// Next is the value of "before" for the following page, to be taken as it is; absent on the last.
	Next string `json:"next,omitempty"`
}

// Delivery is one webhook delivery and what was decided about it, the answer of /api/v1/deliveries/GUID.
type Delivery struct {
	GUID       string       `json:"guid"`
	Event      string       `json:"event,omitempty"` // X-GitHub-Event; empty when the delivery itself is no longer kept
	Received   time.Time    `json:"received,omitzero"`
	Decided    time.Time    `json:"decided,omitzero"`
	Outcome    jobs.Outcome `json:"outcome,omitempty"` // empty until it is decided
	Reason     string       `json:"reason"`
	Repository string       `json:"repository,omitempty"`
	What       string       `json:"what,omitempty"`
	SHA        string       `json:"sha,omitempty"`
	Title      string       `json:"title,omitempty"`
	Actor      string       `json:"actor,omitempty"`
	Run        string       `json:"run,omitempty"` // ID of the run that shows it

	// Only in a single delivery:
	Trust      *jobs.Trust  `json:"trust,omitempty"`
	Pipeline   string       `json:"pipeline,omitempty"`
	Jobs       []Considered `json:"jobs,omitempty"`
	Faults     []jobs.Fault `json:"faults,omitempty"`
	Notes      []string     `json:"notes,omitempty"`
	SkipReason string       `json:"skip_reason,omitempty"`
	Command    string       `json:"command,omitempty"` // what a person asked for, as written
	Answer     string       `json:"answer,omitempty"`  // what they were told, in Markdown
	Parts      []string     `json:"parts,omitempty"`   // of a comment: the keys of the decisions about its commands
}

// Considered is a job that planning looked at, and why it was planned or not.
type Considered struct {
	Name    string        `json:"name"`
	Kind    jobs.KindName `json:"kind"`
	Planned bool          `json:"planned"`
	Reason  string        `json:"reason"`
	Needs   []string      `json:"needs,omitempty"`
	If      string        `json:"if,omitempty"`
	Line    int           `json:"line,omitempty"`
	Fault   string        `json:"fault,omitempty"`
}

// shapeRun turns a record into what is shown of it in a list.
func (s *Server) shapeRun(r jobs.Run, revision uint64) Run {
	now := s.o.Now()
	v := Run{
		ID: r.ID, Repository: r.Repository.FullName(), Delivery: r.Delivery, Event: string(r.Event), What: what(r.RunInfo),
		Ref: r.Ref, SHA: r.SHA, Branch: r.Branch, Tag: r.Tag, PullRequest: r.PullRequest, Fork: r.Fork,
		Title: firstLine(r.CommitMessage), Actor: r.Actor.Login, State: r.State, Outcome: r.Outcome, Reason: r.Reason,
		Created: r.Created, Started: r.Started, Finished: r.Finished, Seconds: seconds(r.Started, r.Finished, now),
		Stop: r.Stop, Reported: r.Reported, Unreported: r.Unreported, Jobs: make([]Job, len(r.Jobs)), revision: revision,
		Attempt: r.Attempt, Asked: r.Asked,
	}
	if r.Root != "" {
		v.Earlier = jobs.AttemptID(r.Root, r.Attempt-1)
	}
	for i, j := range r.Jobs {
		v.Jobs[i] = Job{
			Name: j.Name, Kind: j.Kind, Needs: j.Needs, State: j.Seen(), Attempt: max(j.Attempt, 1), Waiting: j.Waiting,
			NotBefore: j.NotBefore, Troubles: j.Troubles, Started: j.Started, Finished: j.Finished,
			Seconds: seconds(j.Started, j.Finished, now), Summary: j.Summary, Line: j.Line,
			Underway: underway(j), Awaits: j.Approvals, Stopping: stopping(r, j),
		}
		if v.Jobs[i].Underway { // whether a worker looks at news for a moment is not worth telling
			v.Jobs[i].NotBefore = time.Time{}
		} else if j.Claim != nil {
			v.Jobs[i].Claimed = j.Claim.Time
			if !s.o.Public {
				v.Jobs[i].Worker = j.Claim.Worker
			}
		}
	}
	v.Sentence = sentence(v)
	return v
}

// underway reports whether a job's work goes on elsewhere, so that it needs no worker until there is news.
func underway(j jobs.Job) bool { return j.Parked && !j.State.Over() }

// stopping is why a job is being stopped that has something at work; "" when it is not.
func stopping(r jobs.Run, j jobs.Job) string {
	switch {
	case j.State.Over(), j.State != jobs.JobRunning && !j.Outside:
	case r.Stop != nil:
		return r.Stop.Reason
	case j.Stop != nil:
		return j.Stop.Reason
	}
	return ""
}

// Look is what the pages show the job's state as: one of stateOf's names.
func (j Job) Look() string {
	if j.Underway && len(j.Awaits) > 0 && j.Stopping == "" {
		return string(jobs.RunWaits)
	}
	return string(j.State)
}

// shapeWholeRun adds what is shown of a single run. results are by job name.
func (s *Server) shapeWholeRun(r jobs.Run, revision uint64, results map[string]jobs.Result, operator bool) Run {
	v := s.shapeRun(r, revision)
	v.Pipeline, v.Faults, v.Notes = r.Pipeline, r.Faults, r.Notes
	if r.Trust.Level != "" {
		v.Trust = &r.Trust
	}
	for i := range v.Jobs {
		j, from := &v.Jobs[i], r.Jobs[i]
		j.Spec, j.Outputs = from.Spec, from.Outputs
		if operator && from.Claim != nil && !j.Underway {
			j.Worker = from.Claim.Worker
		}
		if !from.Started.IsZero() {
			j.Log = "/api/v1" + logPath(r.ID, j.Name, 0)
		}
		res, ok := results[j.Name]
		if !ok {
			continue
		}
		j.Details, j.Annotations, j.Tail = res.Details, res.Annotations, res.Tail
		if !j.Underway {
			j.Conclusion = res.Conclusion
		}
		if res.Summary != "" && !j.Underway {
			j.Summary = res.Summary
		}
		if res.Outputs != nil {
			j.Outputs = res.Outputs
		}
		if operator {
			j.Cause = res.Cause
		}
	}
	return v
}

// DescribeDelivery is a delivery with a whole decision about it, stored or only rehearsed.
func DescribeDelivery(d jobs.Delivery, decision jobs.Decision) Delivery {
	return shapeDelivery(d.GUID, &d, &decision, true)
}

// shapeDelivery joins what was received and what was decided; either may be missing.
func shapeDelivery(guid string, d *jobs.Delivery, dec *jobs.Decision, whole bool) Delivery {
	v := Delivery{GUID: guid, Reason: "Not decided yet."}
	if d != nil {
		v.Event, v.Received = d.Event, d.Received
	}
	if dec == nil {
		return v
	}
	v.Decided, v.Outcome, v.Reason = dec.Time, dec.Outcome, dec.Reason
	if dec.Run.Repository.Name != "" {
		v.Repository, v.What = dec.Run.Repository.FullName(), what(dec.Run)
	}
	v.SHA, v.Title, v.Actor = dec.Run.SHA, firstLine(dec.Run.CommitMessage), dec.Run.Actor.Login
	if dec.Outcome == jobs.OutcomeRun || dec.Shown {
		v.Run = dec.Run.ID
	}
	if v.Event == "" {
		v.Event = string(dec.Run.Event)
	}
	if !whole {
		return v
	}
	if dec.Run.Trust.Level != "" {
		v.Trust = &dec.Run.Trust
	}
	v.Pipeline, v.Faults, v.Notes, v.SkipReason = dec.Plan.Pipeline, dec.Plan.Faults, dec.Plan.Notes, dec.Plan.SkipReason
	v.Command, v.Answer, v.Parts = dec.Command, dec.Answer, dec.Parts
	for _, j := range dec.Plan.Jobs {
		v.Jobs = append(v.Jobs, Considered{
			Name: j.Name, Kind: j.Kind, Planned: j.Planned, Reason: j.Reason, Needs: j.Needs, If: j.If, Line: j.Line, Fault: j.Fault,
		})
	}
	return v
}

// what says in a few words which event a run is for.
func what(r jobs.RunInfo) string {
	switch {
	case r.PullRequest > 0 && r.Fork:
		return fmt.Sprintf("pull request #%d from a fork", r.PullRequest)
	case r.PullRequest > 0:
		return fmt.Sprintf("pull request #%d", r.PullRequest)
	case r.Asked != nil && r.Asked.Command != "":
		return jobs.Cut(r.Asked.Command, 100)
	case r.Event == jobs.EventSchedule:
		return "schedule on " + r.Branch
	case r.Tag != "":
		return "tag " + r.Tag
	case r.Branch != "":
		return "push to " + r.Branch
	}
	return strings.ReplaceAll(string(r.Event), "_", " ")
}

// sentence says where a run stands and, when it is over, why.
func sentence(r Run) string {
	var failed, running, ahead, asking []Job
	succeeded := 0
	for _, j := range r.Jobs {
		if j.Look() == string(jobs.RunWaits) {
			asking = append(asking, j)
		}
		switch j.State {
		case jobs.JobFailed:
			failed = append(failed, j)
		case jobs.JobRunning:
			running = append(running, j)
		case jobs.JobWaiting, jobs.JobQueued, jobs.JobOffered:
			ahead = append(ahead, j)
		case jobs.JobSucceeded:
			succeeded++
		}
	}
	switch r.State {
	case jobs.RunActive:
		switch {
		case r.Stop != nil:
			return "Stopping: " + r.Stop.Reason
		case len(asking) > 0:
			return fmt.Sprintf("%s: waiting for approval of %s.", names(asking), awaited(asking))
		case len(running) > 0 && len(ahead) > 0:
			return fmt.Sprintf("Running %s; %s to follow.", names(running), count(len(ahead), "job"))
		case len(running) > 0:
			return fmt.Sprintf("Running %s.", names(running))
		case len(ahead) > 0 && ahead[0].Waiting != "":
			return fmt.Sprintf("%s waits: %s", ahead[0].Name, ahead[0].Waiting)
		default:
			return "Waiting for a worker."
		}
	case jobs.RunSucceeded:
		if succeeded == 1 {
			return "The job succeeded in " + span(r.Started, r.Finished) + "."
		}
		if succeeded == 0 {
			return "Nothing was left to be done: all jobs were skipped."
		}
		return fmt.Sprintf("All %d jobs succeeded in %s.", succeeded, span(r.Started, r.Finished))
	case jobs.RunFailed:
		if len(failed) > 0 && len(r.Faults) == 0 {
			return names(failed) + " failed: " + failed[0].Summary
		}
		return r.Reason
	case jobs.RunCancelled:
		if r.Stop != nil {
			return "Cancelled: " + r.Stop.Reason
		}
		return "Cancelled."
	}
	return r.Reason
}

// awaited lists the environments that somebody must approve before the jobs go on.
func awaited(list []Job) string {
	var out []string
	for _, j := range list {
		for _, name := range j.Awaits {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return strings.Join(out, ", ")
}

// names lists up to three jobs.
func names(list []Job) string {
	var out []string
	for i, j := range list {
		if i == 3 {
			return strings.Join(out, ", ") + " and " + strconv.Itoa(len(list)-3) + " more"
		}
		out = append(out, j.Name)
	}
	if n := len(out); n > 1 {
		return strings.Join(out[:n-1], ", ") + " and " + out[n-1]
	}
	return strings.Join(out, "")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func seconds(from, to, now time.Time) float64 {
	if from.IsZero() {
		return 0
	}
	if to.IsZero() {
		to = now
	}
	return max(to.Sub(from).Round(100*time.Millisecond).Seconds(), 0)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return jobs.Cut(strings.TrimSpace(line), 200)
}

// logPath is the path of a job's log on the pages; the API has it under /api/v1. Attempt 0 is the newest.
func logPath(run, job string, attempt int) string {
	p := "/runs/" + url.PathEscape(run) + "/jobs/" + url.PathEscape(job) + "/log"
	if attempt > 0 {
		p += "?attempt=" + strconv.Itoa(attempt)
	}
	return p
}
