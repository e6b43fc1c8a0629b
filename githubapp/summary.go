package githubapp

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// runSummary is the Markdown of the whole run's check: what, where, how long, what next.
func runSummary(run jobs.Run, results map[string]jobs.Result) string {
	var b strings.Builder
	if len(run.Jobs) != 1 || run.Outcome != jobs.OutcomeRun {
		writeOrigin(&b, run)
	}
	switch {
	case run.State == jobs.RunHeld:
		writeHeld(&b, run)
	case run.State == jobs.RunNothing:
		fmt.Fprintf(&b, "Nothing was started for %s: %s.\n\n", commit(run), sentence(run.Reason))
		writeTable(&b, run)
	case run.Outcome == jobs.OutcomeFault:
		writeFaults(&b, run)
	case len(run.Jobs) == 1:
		return jobSummary(run, run.Jobs[0], results[run.Jobs[0].Name])
	default:
		writeRun(&b, run, results)
	}
	writeNotes(&b, run)
	writeFooter(&b, run, "")
	return b.String()
}

// writeOrigin says who asked for the run, who approved it, and which attempt it is; nothing for the first that an event started.
func writeOrigin(b *strings.Builder, run jobs.Run) {
	if run.Asked != nil {
		fmt.Fprintf(b, "Asked for by %s: %s\n\n", inline(run.Asked.By.Login), linked(code(run.Asked.Command, false), run.Asked.URL))
	}
	if run.Attempt > 1 {
		reason := strings.TrimPrefix(run.Reason, fmt.Sprintf("attempt %d, ", run.Attempt)) // it may say so itself
		fmt.Fprintf(b, "Attempt %d, %s.\n\n", run.Attempt, sentence(reason))
	}
	if run.Trust.Level == jobs.Approved {
		fmt.Fprintf(b, "Approved: %s. It is built without this repository's secrets and push credentials, and nothing is rolled out.\n\n", sentence(run.Trust.Reason))
	}
	if len(run.Approved) > 0 {
		fmt.Fprintf(b, "Approved for %s.\n\n", inline(strings.Join(run.Approved, ", ")))
	}
}

func writeHeld(b *strings.Builder, run jobs.Run) {
	fmt.Fprintf(b, "Nothing was built, pushed or rolled out for %s.\n\n", commit(run))
	fmt.Fprintf(b, "**Why:** %s. A pipeline can use this repository's registry and clusters, so it runs by itself only for people who may write here.\n\n",
		sentence(run.Reason))
	fmt.Fprintf(b, "**What next:** someone with write permission looks at the changes and then presses **Approve** here, or writes this line as a comment:\n\n%s\n",
		fence([]string{"/ok-to-test " + run.SHA}))
	b.WriteString("Either lets exactly this commit be built, by the base branch's pipeline and without this repository's secrets and push credentials; " +
		"nothing is rolled out. Every further push has to be approved again.\n\n")
	writeTable(b, run)
}

// writeApproval says how to let what waits go on.
func writeApproval(b *strings.Builder, environments []string) {
	if len(environments) == 0 {
		return
	}
	b.WriteString("**What next:** someone who may approve presses **Approve** here, or writes as a comment:\n\n")
	b.WriteString(fence(approveLines(environments)))
	b.WriteString("\nThe approved rest goes on as an attempt of its own, on this very commit.\n\n")
}

func writeFaults(b *strings.Builder, run jobs.Run) {
	fmt.Fprintf(b, "No job was started for %s: %s.\n\n", commit(run), sentence(run.Reason))
	for i, f := range run.Faults {
		if i == maxAnnotations {
			fmt.Fprintf(b, "- and %d more\n", len(run.Faults)-i)
			break
		}
		writeFault(b, f)
	}
	b.WriteString("\n**What next:** mend the file and push again. `slipway validate` finds the same faults before you push.\n\n")
}

// writeFault is one line about a fault, with its place.
func writeFault(b *strings.Builder, f jobs.Fault) {
	path := f.Path
	if path == "" {
		path = jobs.PipelinePath
	}
	switch {
	case f.Line > 0 && f.Column > 0:
		path = fmt.Sprintf("%s:%d:%d", path, f.Line, f.Column)
	case f.Line > 0:
		path = fmt.Sprintf("%s:%d", path, f.Line)
	}
	fmt.Fprintf(b, "- %s %s\n", code(path, false), inline(f.Message))
}

func writeRun(b *strings.Builder, run jobs.Run, results map[string]jobs.Result) {
	switch {
	case run.State == jobs.RunCancelled, run.Stop != nil:
		fmt.Fprintf(b, "The run for %s was stopped: %s.\n\n", commit(run), sentence(stopReason(run)))
	case run.State == jobs.RunActive:
		fmt.Fprintf(b, "The jobs for %s:\n\n", commit(run))
	default:
		fmt.Fprintf(b, "The jobs for %s, %s:\n\n", commit(run), elapsed(run))
	}
	writeTable(b, run)
	writeOutputLinks(b, run, results)
	if single := planned(run); len(single) == 1 && run.Asked == nil && underway(single[0]) { // it has no check of its own
		writeUnderway(b, run, single[0], results[single[0].Name])
	} else if waits, checks := asksFor(run); len(waits) > 0 {
		writeLetGoOn(b, waits, "at "+strings.Join(checks, ", "))
	}
	for _, j := range run.Jobs {
		if j.State != jobs.JobFailed {
			continue
		}
		fmt.Fprintf(b, "### %s failed\n\n", inline(j.Name))
		writeResult(b, j, results[j.Name])
	}
	if run.State == jobs.RunFailed {
		writeMend(b, run)
	}
	if run.State.Over() {
		writeApproval(b, awaited(run.Jobs))
	}
}

// writeOutputLinks says where to find what jobs made, and what they have under way outside.
func writeOutputLinks(b *strings.Builder, run jobs.Run, results map[string]jobs.Result) {
	some := false
	for _, j := range run.Jobs {
		var links []string
		switch {
		case underway(j):
			links = outputLinks(results[j.Name].Outputs)
		case j.State == jobs.JobSucceeded:
			links = outputLinks(j.Outputs)
		}
		if len(links) > 0 {
			fmt.Fprintf(b, "- %s: %s\n", inline(j.Name), strings.Join(links, ", "))
			some = true
		}
	}
	if some {
		b.WriteString("\n")
	}
}

func writeMend(b *strings.Builder, run jobs.Run) {
	again := "push again; every push starts a new run"
	if run.Asked != nil {
		again = "ask again"
	}
	fmt.Fprintf(b, "**What next:** mend what failed and %s. If the cause lay elsewhere, press **Retry failed**.\n\n", again)
}

// jobSummary is the Markdown of one job's check.
func jobSummary(run jobs.Run, j jobs.Job, result jobs.Result) string {
	var b strings.Builder
	writeOrigin(&b, run)
	writeState(&b, run, j, result)
	if run.Asked != nil || run.Outcome == jobs.OutcomeRun && len(run.Jobs) == 1 { // no other check would show them
		writeNotes(&b, run)
	}
	writeFooter(&b, run, j.Name)
	return b.String()
}

// writeState says where a job stands.
func writeState(b *strings.Builder, run jobs.Run, j jobs.Job, result jobs.Result) {
	if underway(j) {
		writeUnderway(b, run, j, result)
		return
	}
	switch j.State {
	case jobs.JobWaiting:
		if len(j.Needs) > 0 {
			fmt.Fprintf(b, "Waits until %s succeeded.\n\n", inline(strings.Join(j.Needs, ", ")))
		}
	case jobs.JobQueued, jobs.JobOffered:
		if j.Waiting == "" {
			b.WriteString("Waits for a free worker.\n\n")
		} else {
			fmt.Fprintf(b, "Waits: %s.\n\n", sentence(j.Waiting))
		}
	case jobs.JobRunning:
		fmt.Fprintf(b, "Running since %s.\n\n", j.Started.UTC().Format("15:04:05 MST"))
	case jobs.JobSkipped:
		fmt.Fprintf(b, "⏭️ Skipped: %s.\n\n", sentence(j.Summary))
	case jobs.JobCancelled:
		fmt.Fprintf(b, "🚫 Cancelled: %s.\n\n", sentence(j.Summary))
		writeDetails(b, result)
	case jobs.JobHeld:
		fmt.Fprintf(b, "✋ %s.\n\n", sentence(heldTitle(j)))
		writeApproval(b, j.Approvals)
	default:
		writeResult(b, j, result)
		if j.State == jobs.JobFailed {
			writeMend(b, run)
		}
	}
}

// writeResult says how a job ended: the sentence, where things are now, the details, the last lines.
func writeResult(b *strings.Builder, j jobs.Job, result jobs.Result) {
	text := j.Summary
	if text == "" {
		text = string(j.State)
	}
	fmt.Fprintf(b, "%s %s", icon(j.State), inline(text))
	if e := jobTime(j); e != "" {
		fmt.Fprintf(b, " (%s)", e)
	}
	b.WriteString("\n\n")
	if j.State == jobs.JobSucceeded {
		writeOutputs(b, j)
	}
	writeDetails(b, result)
	if len(result.Tail) > 0 {
		b.WriteString("The last lines:\n\n")
		b.WriteString(fence(result.Tail))
		b.WriteString("\n")
	}
}

func writeDetails(b *strings.Builder, result jobs.Result) {
	if strings.TrimSpace(result.Details) != "" {
		b.WriteString(defang(result.Details))
		b.WriteString("\n")
	}
}

func writeOutputs(b *strings.Builder, j jobs.Job) {
	if len(j.Outputs) == 0 {
		return
	}
	b.WriteString("| Output | Value |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(j.Outputs)) {
		if cell := valueCell(name, j.Outputs[name]); cell != "" {
			fmt.Fprintf(b, "| %s | %s |\n", inline(name), cell)
		}
	}
	b.WriteString("\n")
}

// writeTable lists the jobs.
func writeTable(b *strings.Builder, run jobs.Run) {
	if len(run.Jobs) == 0 {
		return
	}
	b.WriteString("| | Job | Time | Result |\n|---|---|---|---|\n")
	for _, j := range run.Jobs {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", tableIcon(j), inline(j.Name), jobTime(j), inline(state(run, j)))
	}
	b.WriteString("\n")
}

func state(run jobs.Run, j jobs.Job) string {
	if j.Reused {
		return fmt.Sprintf("taken over from attempt %d: %s", run.Attempt-1, firstLine(j.Summary))
	}
	if stopTitle(run, j) != "" {
		return "stopping"
	}
	if underway(j) {
		return underwayTitle(j)
	}
	if text := firstLine(j.Summary); text != "" {
		return text
	}
	switch j.State {
	case jobs.JobWaiting:
		return "waits for " + strings.Join(j.Needs, ", ")
	case jobs.JobQueued, jobs.JobOffered:
		if j.Waiting != "" {
			return "waits: " + firstLine(j.Waiting)
		}
		return "queued"
	}
	return string(j.State)
}

// tableIcon stands for a job among others.
func tableIcon(j jobs.Job) string {
	switch {
	case len(approvals(j)) > 0:
		return icon(jobs.JobHeld)
	case underway(j):
		return icon(jobs.JobRunning)
	}
	return icon(j.State)
}

func icon(s jobs.JobState) string {
	switch s {
	case jobs.JobSucceeded:
		return "✅"
	case jobs.JobFailed:
		return "❌"
	case jobs.JobCancelled:
		return "🚫"
	case jobs.JobSkipped:
		return "⏭️"
	case jobs.JobRunning:
		return "🔄"
	case jobs.JobHeld:
		return "✋"
	}
	return "⏳"
}

func jobTime(j jobs.Job) string {
	if j.Started.IsZero() || j.Finished.Before(j.Started) {
		return ""
	}
	return took(j.Finished.Sub(j.Started))
}

// outputLinks names what a job left behind or has under way, from the outputs that its kind is known for.
func outputLinks(outputs map[string]any) []string {
	text := func(name string) string {
		if value, ok := outputs[name]; ok {
			return jobs.Cut(valueText(value), 300)
		}
		return ""
	}
	var links []string
	if image := text("image"); image != "" {
		if digest := text("digest"); digest != "" && !strings.Contains(image, "@") {
			image += "@" + digest
		}
		links = append(links, code(image, false))
	}
	for _, name := range []string{"release", "namespace", "revision"} {
		if value := text(name); value != "" {
			links = append(links, name+" "+code(value, false))
		}
	}
	if address := text("run_url"); isWeb(address) {
		links = append(links, linked(strings.TrimSpace("workflow run "+inline(text("run_id"))), address))
	}
	return links
}

func writeNotes(b *strings.Builder, run jobs.Run) {
	for i, note := range run.Notes {
		if i == 20 {
			fmt.Fprintf(b, "> and %d more notes\n", len(run.Notes)-i)
			break
		}
		fmt.Fprintf(b, "> %s\n", inline(note))
	}
	if len(run.Notes) > 0 {
		b.WriteString("\n")
	}
}

// writeFooter links the page and says what the run went by.
func writeFooter(b *strings.Builder, run jobs.Run, job string) {
	parts := []string{"run " + code(run.ID, false)}
	if run.Attempt > 1 {
		parts[0] += fmt.Sprintf(", attempt %d", run.Attempt)
	}
	switch {
	case run.URL == "":
	case job == "":
		parts = append([]string{fmt.Sprintf("[Job graph and logs](%s)", run.URL)}, parts...)
	default:
		parts = append([]string{fmt.Sprintf("[Log](%s)", jobURL(run, job))}, parts...)
	}
	if run.Pipeline != "" {
		parts = append(parts, "pipeline: "+inline(run.Pipeline))
	}
	fmt.Fprintf(b, "%s\n", strings.Join(parts, " · "))
}

func commit(run jobs.Run) string {
	text := code(jobs.Abbreviate(run.SHA), false)
	switch {
	case run.PullRequest > 0:
		text += fmt.Sprintf(" of pull request %d", run.PullRequest)
	case run.Event == jobs.EventMergeGroup:
		text += " of the merge queue for " + code(run.BaseBranch, false)
	case run.Tag != "":
		text += " at tag " + code(run.Tag, false)
	case run.Branch != "":
		text += " on " + code(run.Branch, false)
	}
	return text
}

func elapsed(run jobs.Run) string {
	if run.Started.IsZero() || run.Finished.Before(run.Started) {
		return "ended at once"
	}
	return took(run.Finished.Sub(run.Started)) + " in all"
}

func stopReason(run jobs.Run) string {
	if run.Stop != nil && run.Stop.Reason != "" {
		return run.Stop.Reason
	}
	return "a job was cancelled"
}

// sentence is text for the end of a sentence of ours, without the full stop it may bring along.
func sentence(s string) string {
	s = inline(strings.TrimRight(strings.TrimSpace(s), "."))
	if s == "" {
		return "no reason was given"
	}
	return s
}
