package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// transitions are the only changes a job's state may make; ARCHITECTURE.md draws them.
var transitions = map[JobState][]JobState{
	JobWaiting: {JobQueued, JobSkipped, JobFailed, JobCancelled, JobHeld},
	JobQueued:  {JobOffered, JobCancelled},
	JobOffered: {JobRunning, JobCancelled},
	JobRunning: {JobQueued, JobSucceeded, JobFailed, JobSkipped, JobCancelled},
}

// ErrNotYours is returned when a job is no longer held by the claim that wants to change it.
var ErrNotYours = errors.New("the job is not held by this claim")

func (j *Job) move(to JobState) error {
	if !slices.Contains(transitions[j.State], to) {
		return fmt.Errorf("job %s can't go from %s to %s", j.Name, j.State, to)
	}
	j.State = to
	return nil
}

// end moves a job to a final state.
func (j *Job) end(to JobState, summary string, now time.Time) error {
	if err := j.move(to); err != nil {
		return err
	}
	j.Summary, j.Finished = Cut(summary, MaxSummary), now
	j.Claim, j.Waiting, j.NotBefore = nil, "", time.Time{}
	if to != JobHeld && len(j.Approvals) > 0 {
		j.Approvals, j.Round = nil, j.Round+1
	}
	return nil
}

// NewRun makes the run of a decision: with jobs when the decision starts some, else one that is over and only has
// something to show.
func NewRun(d Decision) Run {
	r := Run{
		RunInfo: d.Run, Delivery: d.Delivery, Outcome: d.Outcome, Reason: d.Reason,
		Faults: d.Plan.Faults, Notes: d.Plan.Notes, Pipeline: d.Plan.Pipeline, Created: d.Time,
	}
	switch d.Outcome {
	case OutcomeRun:
		r.State = RunActive
	case OutcomeHeld:
		r.State, r.Finished = RunHeld, d.Time
	case OutcomeFault:
		r.State, r.Finished = RunFailed, d.Time
	default:
		r.State, r.Finished = RunNothing, d.Time
	}
	for _, p := range d.Plan.Jobs {
		j := Job{Name: p.Name, Kind: p.Kind, Needs: p.Needs, Spec: p.Spec, Template: p.Template, If: p.If, Line: p.Line, Attempt: 1}
		switch {
		case !p.Planned:
			j.Unplanned, j.State, j.Summary, j.Finished = true, JobSkipped, Cut(p.Reason, MaxSummary), d.Time
		case p.Fault != "":
			j.State, j.Summary, j.Finished = JobFailed, Cut(p.Fault, MaxSummary), d.Time
		case d.Outcome != OutcomeRun:
			j.State, j.Summary, j.Finished = JobSkipped, Cut(d.Reason, MaxSummary), d.Time
		default:
			j.State = JobWaiting
		}
		r.Jobs = append(r.Jobs, j)
	}
	return r
}

// A Resolution is what became of a job whose needs have ended: its expressions evaluated, and held against who must
// approve it. Exactly one field is set.
type Resolution struct {
	Hold  string          // somebody must approve it first: who, and what for; Approvals are the environments
	Spec  json.RawMessage // of the kind's spec
	Skip  string          // the job's `if` said no: the reason
	Fault string          // the expressions or what they gave are wrong: a sentence

	Approvals []string
}

// Resolve evaluates the template and condition, if any, of a job whose needs have ended. It is pure.
type Resolve func(run Run, job Job) Resolution

// Advance moves a run as far as it goes by itself: jobs whose needs have ended become queued or end, a stopped run's
// idle jobs are cancelled, and when all jobs are over, so is the run. It reports whether anything changed.
func (r *Run) Advance(now time.Time, resolve Resolve) (changed bool, err error) {
	if r.State.Over() {
		return false, nil
	}
	for moved := true; moved; { // a job that ends may free the next
		moved = false
		for i := range r.Jobs {
			m, err := r.advance(&r.Jobs[i], now, resolve)
			if err != nil {
				return changed, err
			}
			moved = moved || m
		}
		changed = changed || moved
	}
	if state := r.derive(); state != r.State {
		r.State, r.Finished, changed = state, now, true
	}
	return changed, nil
}

func (r *Run) advance(j *Job, now time.Time, resolve Resolve) (bool, error) {
	if j.State.Over() || j.State == JobRunning {
		return false, nil
	}
	if stop := r.stopOf(j); stop != nil && !j.Outside {
		return true, j.end(JobCancelled, stop.Reason, now)
	} else if stop != nil && !j.NotBefore.IsZero() && !j.Stopping { // a worker tells what is outside
		j.NotBefore = time.Time{}
		return true, nil
	}
	if j.State != JobWaiting {
		return false, nil
	}
	for _, name := range j.Needs {
		need := r.Job(name)
		switch {
		case need == nil:
			return true, j.end(JobFailed, fmt.Sprintf("it needs %s, which is not in this run", name), now)
		case !need.State.Over():
			return false, nil
		case need.State == JobHeld:
			return true, j.end(JobHeld, fmt.Sprintf("it needs %s, which waits for approval", name), now)
		case need.State != JobSucceeded:
			return true, j.end(JobSkipped, fmt.Sprintf("it needs %s, which was %s", name, past(need.State)), now)
		}
	}
	answer := resolve(*r, *j)
	switch {
	case answer.Fault != "":
		return true, j.end(JobFailed, answer.Fault, now)
	case answer.Skip != "":
		return true, j.end(JobSkipped, answer.Skip, now)
	case answer.Hold != "":
		j.Approvals = answer.Approvals
		return true, j.end(JobHeld, answer.Hold, now)
	}
	if j.Template != nil || j.If != "" { // evaluated once: from here on there is only the spec
		if n := len(answer.Spec) + r.settingsBeside(j); n > MaxSettings {
			return true, j.end(JobFailed, fmt.Sprintf("the settings of this run's jobs are too large once evaluated (%d KB; at most %d KB)",
				(n+1023)>>10, MaxSettings>>10), now)
		}
		j.Spec, j.Template, j.If = answer.Spec, nil, ""
	}
	return true, j.move(JobQueued)
}

// MaxSettings is the most bytes of settings of all jobs of a run, as planned and as evaluated: with the largest outputs and summaries
// of the most jobs its record can still be stored.
const MaxSettings = 192 << 10

// settingsBeside is how many bytes of settings the run's other jobs have, evaluated or not.
func (r *Run) settingsBeside(job *Job) (n int) {
	for i := range r.Jobs {
		if j := &r.Jobs[i]; j != job {
			n += len(j.Spec) + len(j.Template) + len(j.If)
		}
	}
	return n
}

// stopOf is what asks for a job to end, or nil.
func (r *Run) stopOf(j *Job) *Stop {
	if r.Stop != nil {
		return r.Stop
	}
	return j.Stop
}

func past(s JobState) string {
	if s == JobFailed {
		return "not successful"
	}
	return string(s)
}

func (r *Run) derive() RunState {
	state := RunSucceeded
	for _, j := range r.Jobs {
		switch {
		case !j.State.Over():
			return RunActive
		case j.State == JobFailed:
			state = RunFailed
		case j.State == JobCancelled && state != RunFailed:
			state = RunCancelled
		case j.State == JobHeld && state == RunSucceeded:
			state = RunWaits
		}
	}
	if state == RunSucceeded && r.Stop != nil && !slices.ContainsFunc(r.Jobs, func(j Job) bool { return j.State == JobSucceeded }) {
		state = RunCancelled
	}
	return state
}

// RequestStop asks for the run to end. The first reason stays. It reports whether that changed anything.
func (r *Run) RequestStop(stop Stop) bool {
	if r.State.Over() || r.Stop != nil {
		return false
	}
	r.Stop = &stop
	return true
}

// wakeEvery is the least time between two checks of a job that news causes: webhooks come in bursts.
const wakeEvery = time.Second

// Wake lets a job that waits for news be taken up soon. It reports whether that changed anything.
func (r *Run) Wake(job string, now time.Time) bool {
	j := r.Job(job)
	switch {
	case j == nil:
		return false
	case j.State == JobQueued && j.Troubles == 0 && j.NotBefore.After(later(now, j.Looked.Add(wakeEvery))):
		j.NotBefore = j.Looked.Add(wakeEvery)
		return true
	case j.State == JobRunning && !j.Woken:
		j.Woken = true
		return true
	}
	return false
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Order gives a job under way an order, once for its cause. It reports whether that changed anything.
func (r *Run) Order(job string, order Order) bool {
	j := r.Job(job)
	if j == nil || j.State.Over() || slices.ContainsFunc(j.Orders, func(o Order) bool { return o.Cause == order.Cause }) {
		return false
	}
	j.Orders = append(j.Orders, order)
	if n := len(j.Orders) - maxOrders; n > 0 {
		j.Orders = j.Orders[n:]
	}
	if j.State == JobQueued {
		j.NotBefore = time.Time{}
	}
	j.Woken = j.State == JobRunning
	return true
}

// RequestJobStop asks for one job to end. It reports whether that changed anything.
func (r *Run) RequestJobStop(job, reason string, now time.Time) bool {
	j := r.Job(job)
	if j == nil || j.State.Over() || r.stopOf(j) != nil {
		return false
	}
	j.Stop = &Stop{Reason: reason, Time: now}
	return true
}

// Offer marks a queued job as one that any worker may claim.
func (r *Run) Offer(job string) error {
	j := r.Job(job)
	if j == nil {
		return fmt.Errorf("offer %s: %w", job, ErrNotFound)
	}
	return j.move(JobOffered)
}

// Claim gives an offered job to the claim's holder.
func (r *Run) Claim(job string, claim Claim) error {
	j := r.Job(job)
	if j == nil {
		return fmt.Errorf("claim %s: %w", job, ErrNotFound)
	}
	if r.stopOf(j) != nil && !j.Outside {
		return ErrCancelled
	}
	if err := j.move(JobRunning); err != nil {
		return err
	}
	j.Claim, j.NotBefore, j.Woken, j.Stopping = &claim, time.Time{}, false, r.stopOf(j) != nil
	if !j.Parked { // a parked job keeps its progress text while it is checked
		j.Waiting = ""
	}
	j.Claims++
	if j.Started.IsZero() {
		j.Started = claim.Time
	}
	if r.Started.IsZero() {
		r.Started = claim.Time
	}
	return nil
}

// claimedBy returns the job if the claim still holds it.
func (r *Run) claimedBy(job, token string) (*Job, error) {
	j := r.Job(job)
	if j == nil || j.State != JobRunning || j.Claim == nil || j.Claim.Token != token {
		return nil, ErrNotYours
	}
	return j, nil
}

// claimedOrDone is claimedBy, or ErrUnchanged when the job already has the claim's own record under key: the store did what was asked of
// it, and only its answer was lost.
func (r *Run) claimedOrDone(job, token, key string) (*Job, error) {
	j, err := r.claimedBy(job, token)
	if known := r.Job(job); err != nil && known != nil && key != "" && known.ResultKey == key {
		return known, ErrUnchanged
	}
	return j, err
}

// HandBack returns a claimed job to the queue, not to be offered before notBefore. trouble counts towards maxTroubles.
func (r *Run) HandBack(job, token, why string, notBefore time.Time, trouble bool) error {
	j, err := r.claimedBy(job, token)
	if err != nil {
		return err
	}
	if err := j.move(JobQueued); err != nil {
		return err
	}
	j.Claim, j.NotBefore = nil, notBefore
	if j.Woken && !trouble { // news may be what it waits for
		j.NotBefore = time.Time{}
	}
	j.Woken = false
	if !j.Parked || trouble {
		j.Waiting = Cut(why, MaxSummary)
	}
	if trouble {
		j.Troubles++
	}
	return nil
}

// Park returns a claimed job to the queue while its work goes on elsewhere: no worker is needed for wait.After, or until it is woken.
// key is the record of its progress. Once more with the same key is ErrUnchanged.
func (r *Run) Park(job, token string, wait Later, key string, now time.Time) error {
	j, err := r.claimedOrDone(job, token, key)
	if err != nil {
		return err
	}
	if err := j.move(JobQueued); err != nil {
		return err
	}
	j.Claim, j.Waiting, j.ResultKey, j.Parked, j.Troubles = nil, Cut(wait.Reason, MaxSummary), key, true, 0
	j.Looked, j.NotBefore = now, now.Add(max(wait.After, wakeEvery))
	if j.Woken {
		j.NotBefore, j.Woken = now.Add(wakeEvery), false
	}
	if len(j.Approvals) > 0 && !slices.Equal(j.Approvals, wait.Approvals) {
		j.Round++
	}
	j.Approvals = wait.Approvals
	return nil
}

// Resume clears Parked: the claim's holder works on the job itself from now on. The stored progress stays.
func (r *Run) Resume(job, token string) error {
	j, err := r.claimedBy(job, token)
	if err != nil {
		return err
	}
	if !j.Parked {
		return ErrUnchanged
	}
	j.Parked, j.Waiting = false, ""
	return nil
}

// Finish ends a claimed job with its result, stored under key. Once more with the same key is ErrUnchanged.
func (r *Run) Finish(job, token string, result Result, key string, now time.Time) error {
	j, err := r.claimedOrDone(job, token, key)
	if err != nil {
		return err
	}
	state := map[Conclusion]JobState{
		Success: JobSucceeded, Neutral: JobSucceeded, Failure: JobFailed, TimedOut: JobFailed, Cancelled: JobCancelled, Skipped: JobSkipped,
	}[result.Conclusion]
	if state == "" {
		return fmt.Errorf("job %s ended with the unknown conclusion %q", job, result.Conclusion)
	}
	if err := j.end(state, result.Summary, now); err != nil {
		return err
	}
	j.Outputs, j.ResultKey = result.Outputs, key
	return nil
}
