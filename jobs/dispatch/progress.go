package dispatch

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// maxProgress bounds what is shown of a workflow run, in bytes; what a job's end adds to it comes on top.
const (
	maxProgress = 5 << 10
	maxName     = 80 // bytes of a job's or step's name
)

// name is what the workflow is called.
func (s *session) name(run jobs.WorkflowRun) string {
	name := cmp.Or(run.Name, s.rec.Workflow)
	if name == run.Path { // GitHub calls one without a name by its path
		name = path.Base(name)
	}
	return jobs.Cut(name, maxName)
}

// reason says how the workflow run stands, in one clause.
func (s *session) reason(run jobs.WorkflowRun) string {
	text := s.name(run) + ": " + s.stands(run)
	if s.rec.Answer != "" {
		text += "; " + s.rec.Answer
	}
	return text
}

func (s *session) stands(run jobs.WorkflowRun) string {
	if len(s.rec.Waits) > 0 {
		var names []string
		for _, w := range s.rec.Waits {
			names = append(names, w.Name)
		}
		return "waits for approval of " + strings.Join(names, ", ") + " on GitHub"
	}
	done, running := 0, []string(nil)
	for _, j := range run.Jobs {
		switch j.Status {
		case "completed":
			done++
		case "in_progress":
			running = append(running, jobs.Cut(j.Name, maxName))
		}
	}
	if len(run.Jobs) == 0 || done == 0 && len(running) == 0 {
		return strings.ReplaceAll(cmp.Or(run.Status, "queued"), "_", " ")
	}
	text := fmt.Sprintf("%d of %s done", done, plural(len(run.Jobs), "job"))
	if len(running) > 0 {
		const most = 3
		text += ", running: " + strings.Join(running[:min(len(running), most)], ", ")
		if more := len(running) - most; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	}
	return text
}

// tell brings the log up to date: each change of a job is one line, and each step that ended. It returns the lines, to be written once
// it is stored that they were.
func (s *session) tell(run jobs.WorkflowRun) (lines []string) {
	told := map[int64]Told{}
	for _, j := range run.Jobs {
		before, now := s.rec.Told[j.ID], Told{Stands: strings.ReplaceAll(cmp.Or(j.Conclusion, j.Status), "_", " ")}
		for _, step := range j.Steps {
			if step.Status != "completed" {
				continue
			}
			if now.Steps++; now.Steps > before.Steps {
				lines = append(lines, fmt.Sprintf("%s: step %d %s: %s%s", line(j.Name), step.Number, line(step.Name), cmp.Or(step.Conclusion, "completed"), took(step.Started, step.Completed)))
			}
		}
		if now.Stands != before.Stands {
			text := fmt.Sprintf("%s: %s", line(j.Name), now.Stands)
			if j.Status == "completed" {
				text += took(j.Started, j.Completed)
			}
			lines = append(lines, text)
		}
		now.Steps = max(now.Steps, before.Steps)
		told[j.ID] = now
	}
	s.rec.Told = told
	return lines
}

// details shows a workflow run as Markdown of at most room bytes: its jobs, and their steps as far as they fit, those that failed
// and those that run first. What does not fit is counted.
func (s *session) details(run jobs.WorkflowRun, room int) string {
	var b strings.Builder
	at := s.rec.Repository.FullName()
	fmt.Fprintf(&b, "%s in %s on `%s`", link(fmt.Sprintf("%s, run %d", s.name(run), s.rec.ID), cmp.Or(run.URL, s.rec.URL)), text(at), code(s.rec.branch()))
	if s.rec.Attempt > 1 {
		fmt.Fprintf(&b, ", attempt %d", s.rec.Attempt)
	}
	if run.Title != "" && run.Title != s.name(run) && run.Title != run.Name {
		fmt.Fprintf(&b, ": %s", text(jobs.Cut(run.Title, 200)))
	}
	b.WriteString("\n")
	for _, note := range []string{s.rec.Note, s.rec.NoRetry} {
		if note != "" {
			fmt.Fprintf(&b, "\n%s\n", text(jobs.Cut(note, 300)))
		}
	}
	if s.rec.Answer != "" {
		fmt.Fprintf(&b, "\n%s\n", text(jobs.Cut(strings.ToUpper(s.rec.Answer[:1])+s.rec.Answer[1:], 500)))
	}
	if len(run.Jobs) == 0 {
		return b.String()
	}
	b.WriteString("\n| | job | time |\n|---|---|---|\n")
	rows, size := make([]string, len(run.Jobs)), 0
	for i, j := range run.Jobs {
		rows[i] = fmt.Sprintf("| %s | %s | %s |\n", icon(j.Status, j.Conclusion), link(jobs.Cut(j.Name, maxName), j.URL), span(j.Started, j.Completed))
		size += len(rows[i])
	}
	order := make([]int, len(run.Jobs))
	for i := range order {
		order[i] = i
	}
	urgent := slices.Clone(order)
	slices.SortStableFunc(urgent, func(a, b int) int { return urgency(run.Jobs[a]) - urgency(run.Jobs[b]) })
	if b.Len()+size > room*2/3 {
		order = urgent
	}
	shown := 0
	for _, i := range order {
		if b.Len()+len(rows[i]) > room*2/3 {
			break
		}
		b.WriteString(rows[i])
		shown++
	}
	if left := len(rows) - shown; left > 0 {
		fmt.Fprintf(&b, "\n%s left out.\n", plural(left, "more job"))
	}
	left := 0
	for _, i := range urgent {
		part := steps(run.Jobs[i])
		if part == "" {
			continue
		}
		if b.Len()+len(part) > room-60 {
			left++
			continue
		}
		b.WriteString(part)
	}
	if left > 0 {
		fmt.Fprintf(&b, "\nThe steps of %s left out.\n", plural(left, "job"))
	}
	return b.String()
}

// steps lists the steps of a job that has any to show.
func steps(j jobs.WorkflowJob) string {
	if len(j.Steps) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n**%s**\n\n", text(jobs.Cut(j.Name, maxName)))
	for _, step := range j.Steps {
		fmt.Fprintf(&b, "- %s %s%s\n", icon(step.Status, step.Conclusion), text(jobs.Cut(step.Name, maxName)), took(step.Started, step.Completed))
	}
	return b.String()
}

// urgency orders jobs by how much they matter when not all can be shown.
func urgency(j jobs.WorkflowJob) int {
	switch {
	case bad(j.Conclusion):
		return 0
	case j.Status == "in_progress":
		return 1
	case j.Status == "waiting":
		return 2
	case j.Status != "completed":
		return 3
	}
	return 4
}

// bad reports whether something ended in a way that spoils the whole.
func bad(conclusion string) bool {
	return slices.Contains([]string{"failure", "timed_out", "cancelled", "startup_failure", "action_required", "stale"}, conclusion)
}

func icon(status, conclusion string) string {
	switch cmp.Or(conclusion, status) {
	case "success":
		return "✅"
	case "failure", "timed_out", "startup_failure", "action_required", "stale":
		return "❌"
	case "cancelled":
		return "🚫"
	case "skipped":
		return "⏭️"
	case "neutral":
		return "⚪"
	case "in_progress":
		return "🟡"
	case "waiting":
		return "✋"
	}
	return "⏳"
}

// span is how long something took, or "".
func span(from, to time.Time) string {
	if from.IsZero() || to.Before(from) {
		return ""
	}
	d := to.Sub(from).Round(time.Second)
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return jobs.Duration(d)
}

// took is a span in brackets, with a space before them.
func took(from, to time.Time) string {
	if t := span(from, to); t != "" {
		return " (" + t + ")"
	}
	return ""
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// line is a foreign text within one line.
func line(s string) string { return jobs.Cut(oneLine(s), 2*maxName) }

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// text is a foreign text within Markdown that stays as it is and calls nobody.
func text(s string) string { return jobs.EscapeMarkdown(oneLine(s)) }

// code is a foreign text between backticks.
func code(s string) string { return strings.NewReplacer("`", "'", "|", "¦").Replace(line(s)) }

// link is a foreign text that leads somewhere, when the place is on the web.
func link(name, url string) string {
	if !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") || strings.ContainsAny(url, " ()<>\"\n|") {
		return text(name)
	}
	return "[" + text(name) + "](" + url + ")"
}
