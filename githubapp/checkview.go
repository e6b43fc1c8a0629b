package githubapp

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// CheckName is the name of the check that stands for a whole run: the one to require in branch protection. A job's own
// check is called "slipway / JOB".
const CheckName = "slipway"

// A Check is what GitHub is to show under one name for a run's commit.
type Check struct {
	Name        string
	Status      string // queued, in_progress or completed
	Conclusion  string // when completed: success, failure, neutral, cancelled, skipped, timed_out or action_required
	Title       string // one line of plain text
	Summary     string // Markdown
	Annotations []jobs.Annotation
	URL         string // of the page with the details; may be empty
	Started     time.Time
	Completed   time.Time // when completed; zero leaves it to GitHub
	Buttons     []Button  // when completed
	// Round counts the run's earlier checks of this name. GitHub shows buttons on completed checks only: what has to be approved while
	// the job is under way completes its check, and what comes after is shown by a new one.
	Round int

	open  bool // completed only so that GitHub shows its button; the job goes on
	stale bool // made from a result that was replaced since the run was read
}

// GitHub's limits on a check ("Create a check run"). Text is counted in bytes here, which is never less than its characters.
const (
	maxTitle             = 255
	maxSummary           = 65_535
	maxAnnotationText    = 64 << 10
	maxAnnotations       = 500 // ours: GitHub takes any number
	annotationsPerAnswer = 50
)

// ChecksOf says what GitHub is to show for a run as it is now: the check of the whole run first, then one for each job when
// there is more than one planned. results are the stored results of jobs that have ended, by job name; run.URL, if set, is linked.
// It is pure: the same run gives the same checks.
//
// A run that a person asked for has no check of the whole, and always those of its jobs: a command must not turn the check green
// that is required of the commit. A job that was taken over from an earlier attempt has its check from there, so that it gets
// none of this run's; the table of the whole names it.
func ChecksOf(run jobs.Run, results map[string]jobs.Result) []Check {
	return checksWith(run, results, run.Asked == nil)
}

// checksWith is ChecksOf with a word on whether there is a check of the whole.
func checksWith(run jobs.Run, results map[string]jobs.Result, whole bool) []Check {
	list := planned(run)
	started := run.Outcome == jobs.OutcomeRun
	var checks []Check
	if whole {
		single := len(list) == 1 && started
		checks = append(checks, wholeCheck(run, list, single, results).bound())
		started = started && !single
	}
	if !started {
		return checks
	}
	for _, j := range list {
		if !j.Reused {
			checks = append(checks, jobCheck(run, j, results).bound())
		}
	}
	return checks
}

// planned are the jobs of a run that are for its event.
func planned(run jobs.Run) []jobs.Job {
	var list []jobs.Job
	for _, j := range run.Jobs {
		if !j.Unplanned {
			list = append(list, j)
		}
	}
	return list
}

// wholeCheck is the check of a run; single says that its only job has none of its own.
func wholeCheck(run jobs.Run, list []jobs.Job, single bool, results map[string]jobs.Result) Check {
	c := Check{
		Name: CheckName, URL: run.URL, Title: headline(run), Started: run.Created,
		Summary: runSummary(run, results), Annotations: faultNotes(run, "", single),
	}
	if !run.Started.IsZero() {
		c.Started = run.Started
	}
	c.Status, c.Conclusion = runStatus(run)
	for _, j := range list {
		c.stale = c.stale || resultReplaced(j, results)
	}
	if single {
		only := list[0]
		c.Annotations = append(c.Annotations, results[only.Name].Annotations...)
		c.Conclusion, c.Round = refined(c.Conclusion, results[only.Name]), only.Round
		if len(approvals(only)) > 0 {
			return c.awaiting(run, only)
		}
	}
	if c.Status == "completed" {
		c.Completed, c.Buttons = later(run.Finished, c.Started), runButtons(run)
	}
	return c
}

// awaiting completes the check of a job that goes on as soon as somebody approves it.
func (c Check) awaiting(run jobs.Run, j jobs.Job) Check {
	c.Status, c.Conclusion, c.open = "completed", "action_required", true
	c.Annotations = nil // they come with the end
	if stopTitle(run, j) == "" {
		c.Buttons = []Button{approveButton(j.Approvals)}
	}
	return c
}

// refined is a conclusion with what only the result tells.
func refined(conclusion string, result jobs.Result) string {
	switch {
	case conclusion == "failure" && result.Conclusion == jobs.TimedOut:
		return "timed_out"
	case conclusion == "success" && result.Conclusion == jobs.Neutral:
		return "neutral"
	}
	return conclusion
}

func runStatus(run jobs.Run) (status, conclusion string) {
	switch run.State {
	case jobs.RunSucceeded:
		return "completed", "success"
	case jobs.RunFailed:
		return "completed", "failure"
	case jobs.RunCancelled:
		return "completed", "cancelled"
	case jobs.RunHeld:
		return "completed", "action_required"
	case jobs.RunWaits:
		return "completed", heldConclusion(run)
	case jobs.RunNothing:
		return "completed", "neutral"
	}
	if run.Started.IsZero() {
		return "queued", ""
	}
	return "in_progress", ""
}

// heldConclusion is how what waits for an approval ends. In a pull request it holds back the merge; elsewhere it is neither good
// nor bad that nobody approved yet. What was approved is shown by checks of its own.
func heldConclusion(run jobs.Run) string {
	if run.PullRequest > 0 {
		return "action_required"
	}
	return "neutral"
}

func jobCheck(run jobs.Run, j jobs.Job, results map[string]jobs.Result) Check {
	result := results[j.Name]
	c := Check{
		Name: CheckName + " / " + j.Name, Title: jobTitle(run, j), URL: jobURL(run, j.Name), Started: j.Started, Round: j.Round,
		Summary:     jobSummary(run, j, result),
		Annotations: append(faultNotes(run, j.Name, false), result.Annotations...),
		stale:       resultReplaced(j, results),
	}
	if c.Started.IsZero() {
		c.Started = run.Created
		if j.State.Over() { // it never ran
			c.Started = j.Finished
		}
	}
	if len(approvals(j)) > 0 {
		return c.awaiting(run, j)
	}
	switch {
	case j.State.Over():
		c.Status, c.Conclusion = "completed", refined(jobConclusion(run, j), result)
		c.Completed, c.Buttons = later(j.Finished, c.Started), jobButtons(j)
	case atWork(run, j):
		c.Status = "in_progress"
	default:
		c.Status = "queued"
	}
	return c
}

// jobConclusion is how a job that is over ended, as far as its state tells.
func jobConclusion(run jobs.Run, j jobs.Job) string {
	switch j.State {
	case jobs.JobFailed:
		return "failure"
	case jobs.JobCancelled:
		return "cancelled"
	case jobs.JobSkipped:
		return "skipped"
	case jobs.JobHeld:
		return heldConclusion(run)
	}
	return "success"
}

// jobURL is the run's page at the job.
func jobURL(run jobs.Run, job string) string {
	if run.URL == "" {
		return ""
	}
	return run.URL + "#job-" + url.PathEscape(job)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// headline is the title of the whole run's check.
func headline(run jobs.Run) string {
	switch {
	case run.State == jobs.RunHeld && run.Fork:
		return "Held: pull request from a fork"
	case run.State == jobs.RunHeld:
		return "Held: " + run.Reason
	case run.State == jobs.RunNothing:
		return "Nothing to do"
	case run.Outcome == jobs.OutcomeFault:
		return run.Reason
	case len(run.Jobs) == 1:
		return jobTitle(run, run.Jobs[0])
	}
	by := map[jobs.JobState][]string{}
	for _, j := range run.Jobs {
		state := j.State
		if atWork(run, j) {
			state = jobs.JobRunning
		}
		by[state] = append(by[state], j.Name)
	}
	planned := len(run.Jobs) - len(by[jobs.JobSkipped])
	switch run.State {
	case jobs.RunSucceeded:
		text := plural(planned, "job") + " succeeded"
		if n := len(by[jobs.JobSkipped]); n > 0 {
			text += fmt.Sprintf(", %d skipped", n)
		}
		return text + inTime(run.Started, run.Finished)
	case jobs.RunWaits:
		return waitsTitle(run)
	case jobs.RunFailed:
		failed := by[jobs.JobFailed]
		if len(failed) == 1 {
			return failed[0] + ": " + firstLine(run.Job(failed[0]).Summary)
		}
		return fmt.Sprintf("%d of %s failed: %s", len(failed), plural(planned, "job"), strings.Join(failed, ", "))
	case jobs.RunCancelled:
		return "Cancelled" + because(run)
	}
	over := len(by[jobs.JobSucceeded]) + len(by[jobs.JobFailed]) + len(by[jobs.JobCancelled])
	text := fmt.Sprintf("%d of %s done", over, plural(planned, "job"))
	waits, _ := asksFor(run)
	switch running := by[jobs.JobRunning]; {
	case run.Stop != nil:
		return "Stopping" + because(run)
	case len(waits) > 0:
		return text + ", waits for approval of " + strings.Join(waits, ", ")
	case len(running) > 0:
		return text + ", running: " + strings.Join(running, ", ")
	case len(by[jobs.JobQueued])+len(by[jobs.JobOffered]) > 0:
		return text + ", queued: " + strings.Join(append(by[jobs.JobQueued], by[jobs.JobOffered]...), ", ")
	}
	return text
}

func jobTitle(run jobs.Run, j jobs.Job) string {
	if title := stopTitle(run, j); title != "" {
		return title
	}
	if underway(j) {
		return underwayTitle(j)
	}
	switch j.State {
	case jobs.JobWaiting:
		if len(j.Needs) > 0 {
			return "Waits for " + strings.Join(j.Needs, ", ")
		}
		return "Queued"
	case jobs.JobQueued, jobs.JobOffered:
		if j.Waiting != "" {
			return "Queued: " + firstLine(j.Waiting)
		}
		return "Queued"
	case jobs.JobRunning:
		return "Running"
	case jobs.JobSkipped:
		return "Skipped: " + firstLine(j.Summary)
	case jobs.JobHeld:
		return heldTitle(j)
	case jobs.JobCancelled:
		if j.Summary == "" {
			return "Cancelled" + because(run)
		}
		return "Cancelled: " + firstLine(j.Summary)
	}
	if j.Summary == "" {
		return strings.ToUpper(string(j.State[:1])) + string(j.State[1:])
	}
	return firstLine(j.Summary)
}

// waitsTitle is the title of a run in which only approvals are missing.
func waitsTitle(run jobs.Run) string {
	var held []jobs.Job
	for _, j := range run.Jobs {
		if j.State == jobs.JobHeld && len(j.Approvals) > 0 {
			held = append(held, j)
		}
	}
	if len(held) == 1 {
		return heldTitle(held[0])
	}
	return "Waits for approval of " + strings.Join(awaited(run.Jobs), ", ")
}

// heldTitle is the title of a job that waits for an approval, or for one that does.
func heldTitle(j jobs.Job) string {
	text := firstLine(j.Summary)
	switch {
	case text == "":
		return "Waits for approval of " + strings.Join(j.Approvals, ", ")
	case strings.HasPrefix(text, "waits"):
		return capital(text)
	}
	return "Waits: " + text
}

func because(run jobs.Run) string {
	if run.Stop == nil || run.Stop.Reason == "" {
		return ""
	}
	return ": " + firstLine(run.Stop.Reason)
}

func inTime(from, to time.Time) string {
	if from.IsZero() || to.Before(from) {
		return ""
	}
	return " in " + took(to.Sub(from))
}

// faultNotes turns faults in the pipeline file into annotations: those of one job, or with job empty those of the file
// as a whole, or with all set every one.
func faultNotes(run jobs.Run, job string, all bool) []jobs.Annotation {
	var notes []jobs.Annotation
	for _, f := range run.Faults {
		// When the run has no check of that job, its faults go to the whole run's.
		orphan := job == "" && (run.Outcome != jobs.OutcomeRun || run.Job(f.Job) == nil)
		if f.Job != job && !all && !orphan {
			continue
		}
		note := jobs.Annotation{Path: f.Path, Line: f.Line, Level: "failure", Title: "Fault in the pipeline file", Message: f.Message}
		if note.Path == "" {
			note.Path = jobs.PipelinePath
		}
		if f.Job != "" {
			note.Title = "Fault in job " + f.Job
		}
		notes = append(notes, note)
	}
	return notes
}

// bound cuts a check to GitHub's limits.
func (c Check) bound() Check {
	if c.Status != "completed" {
		c.Annotations = nil // GitHub appends those of every request, so they are said once, at the end
	}
	for i, b := range c.Buttons {
		c.Buttons[i] = b.bound()
	}
	c.Title = jobs.Cut(plain(c.Title), maxTitle)
	if c.Title == "" {
		c.Title = "Slipway"
	}
	more := "_The rest is cut: GitHub shows no more than 65,535 characters._"
	if c.URL != "" {
		more = fmt.Sprintf("_The rest is cut: GitHub shows no more than 65,535 characters. [The run's page](%s) has it all._", c.URL)
	}
	if n := len(c.Annotations); n > maxAnnotations {
		c.Annotations = c.Annotations[:maxAnnotations]
		c.Summary = fmt.Sprintf("_%d annotations, of which GitHub is given the first %d._\n\n", n, maxAnnotations) + c.Summary
	}
	c.Summary = cutMarkdown(c.Summary, maxSummary, more)
	kept := make([]jobs.Annotation, 0, len(c.Annotations))
	for _, a := range c.Annotations {
		kept = append(kept, boundAnnotation(a))
	}
	c.Annotations = kept
	return c
}

func boundAnnotation(a jobs.Annotation) jobs.Annotation {
	a.Path = strings.TrimPrefix(plain(a.Path), "/")
	if a.Path == "" {
		a.Path = jobs.PipelinePath
	}
	a.Line = max(a.Line, 1)
	a.EndLine = max(a.EndLine, a.Line)
	switch a.Level {
	case "failure", "warning", "notice":
	default:
		a.Level = "failure"
	}
	a.Title = jobs.Cut(plain(a.Title), maxTitle)
	a.Message = jobs.Cut(strings.ToValidUTF8(a.Message, "�"), maxAnnotationText)
	if strings.TrimSpace(a.Message) == "" {
		a.Message = "see the summary"
	}
	return a
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}
