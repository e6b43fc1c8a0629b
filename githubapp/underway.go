package githubapp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// What GitHub shows of a job whose work goes on outside: a workflow run that is followed, checks of others that are waited for.
// News make a worker take such a job up for a moment, so its state says nothing; it is in progress all the time.

// underway reports whether a job's work goes on outside.
func underway(j jobs.Job) bool { return j.Parked && !j.State.Over() }

// atWork reports whether a job is in progress: here, outside, or being stopped there.
func atWork(run jobs.Run, j jobs.Job) bool {
	return j.Seen() == jobs.JobRunning || stopTitle(run, j) != ""
}

// stopTitle is the title of a job that is being stopped; "" when it is not. One that has nothing at work just ends.
func stopTitle(run jobs.Run, j jobs.Job) string {
	switch {
	case j.State.Over(), j.State != jobs.JobRunning && !j.Outside:
		return ""
	case run.Stop != nil:
		return "Stopping" + because(run)
	case j.Stop != nil:
		return "Stopping: " + firstLine(j.Stop.Reason)
	}
	return ""
}

// approvals are the environments that somebody must approve on GitHub before a job under way goes on.
func approvals(j jobs.Job) []string {
	if !underway(j) {
		return nil
	}
	return j.Approvals
}

// asksFor returns the environments that await approval, of all jobs not being stopped, and the names of the checks that carry the
// button.
func asksFor(run jobs.Run) (environments, checks []string) {
	for _, j := range run.Jobs {
		if len(approvals(j)) > 0 && stopTitle(run, j) == "" {
			environments = append(environments, j.Approvals...)
			checks = append(checks, code(jobCheckName(run, j), false))
		}
	}
	slices.Sort(environments)
	return slices.Compact(environments), checks
}

// jobCheckName is the name of the check that shows a job.
func jobCheckName(run jobs.Run, j jobs.Job) string {
	if run.Asked == nil && len(planned(run)) == 1 {
		return CheckName
	}
	return CheckName + " / " + j.Name
}

// underwayTitle is how a job under way stands, in a line.
func underwayTitle(j jobs.Job) string {
	switch text := firstLine(j.Waiting); {
	case text != "":
		return capital(text)
	case len(j.Approvals) > 0:
		return "Waits for approval of " + strings.Join(j.Approvals, ", ")
	}
	return "Running"
}

// capital begins a clause about waiting as a title does. What else may begin one, such as a file's name, stays as it is.
func capital(clause string) string {
	if strings.HasPrefix(clause, "waits") {
		return "W" + clause[1:]
	}
	return clause
}

// resultReplaced reports that the stored progress of a job under way was replaced after the run was read; it is shown anew soon.
func resultReplaced(j jobs.Job, results map[string]jobs.Result) bool {
	_, there := results[j.Name]
	return underway(j) && j.ResultKey != "" && !there
}

// writeUnderway says how a job under way stands.
func writeUnderway(b *strings.Builder, run jobs.Run, j jobs.Job, result jobs.Result) {
	stops := stopTitle(run, j)
	switch {
	case stops != "":
		fmt.Fprintf(b, "🚫 %s.\n\n", sentence(stops))
	case len(j.Approvals) > 0:
		fmt.Fprintf(b, "✋ %s.\n\n", sentence(underwayTitle(j)))
		writeLetGoOn(b, j.Approvals, "here")
	default:
		fmt.Fprintf(b, "🔄 %s. Under way since %s.\n\n", sentence(underwayTitle(j)), j.Started.UTC().Format("15:04:05 MST"))
	}
	writeDetails(b, result)
}

// writeLetGoOn says how to let a job under way go on; at is where the button is.
func writeLetGoOn(b *strings.Builder, environments []string, at string) {
	fmt.Fprintf(b, "**What next:** someone who may approve presses **Approve** %s, or writes as a comment:\n\n%s\n"+
		"It goes on then, and a new check of the same name shows how. Whoever GitHub asks may also approve at the workflow run itself.\n\n",
		at, fence(approveLines(environments)))
}

func approveLines(environments []string) []string {
	var lines []string
	for _, name := range environments {
		lines = append(lines, "/approve "+plain(name))
	}
	return lines
}

// valueText is an output as text. Numbers come back from the records as floats; one that is an ID has more digits than
// their usual form shows.
func valueText(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// valueCell is an output in a table: a link when its name says that it is an address, and it is one.
func valueCell(name string, v any) string {
	value := jobs.Cut(valueText(v), 500)
	if strings.HasSuffix(name, "_url") && isWeb(value) && addressForm.MatchString(value) {
		return linked(inline(value), value)
	}
	return code(value, true)
}
