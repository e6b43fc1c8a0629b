package jobs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// A CommitCheck is a check run or status of a commit, of whatever App or person but ourselves, as GitHub shows it now.
type CommitCheck struct {
	Name       string // of the check run, or the status's context
	Workflow   string // of a workflow's job: the workflow's name
	App        string // slug of the App that made it; "" for a status
	Status     string // queued, in_progress, completed, …
	Conclusion string // when completed: success, failure, neutral, cancelled, skipped, timed_out, action_required, stale, startup_failure, error
	URL        string
}

// ByStatus pins an awaited name to commit statuses, where otherwise an App's slug stands.
const ByStatus = "status"

// An AwaitedCheck is a check or status that something waits for, taken apart. In files, specs and grants it is a text: NAME, or
// NAME@APP with an App's slug or ByStatus.
type AwaitedCheck struct {
	Name string // of a check run, a status's context, or WORKFLOW / JOB
	App  string // slug of the App that has to make it; ByStatus: only a commit status will do; "": see CommitCheck.Answers
}

// ParseAwaited takes the text of an awaited check apart, at its last @. What stands there is a part of the name unless it can be
// a slug (letters, digits and hyphens). A trailing @ names no App: to await a check called deploy@v2 write deploy@v2@.
func ParseAwaited(text string) AwaitedCheck {
	at := strings.LastIndexByte(text, '@')
	if at < 0 || strings.ContainsFunc(text[at+1:], notInSlug) {
		return AwaitedCheck{Name: text}
	}
	return AwaitedCheck{Name: strings.TrimRight(text[:at], " "), App: strings.ToLower(text[at+1:])}
}

func notInSlug(r rune) bool {
	return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// ofWorkflow reports whether the name has the form WORKFLOW / JOB.
func (a AwaitedCheck) ofWorkflow() bool {
	workflow, job, found := strings.Cut(a.Name, " / ")
	return found && workflow != "" && job != ""
}

// String is the check as sentences call it.
func (a AwaitedCheck) String() string {
	switch a.App {
	case "":
		return a.Name
	case ByStatus:
		return a.Name + " (as a status)"
	}
	return a.Name + " (by " + a.App + ")"
}

// Answers reports whether this is what is awaited by a text (see ParseAwaited). An awaited name is a check's own or, for a workflow's
// job, WORKFLOW / JOB. Anybody who may push can set a status of any name: one that is called WORKFLOW / JOB never answers unless it is
// asked for (ByStatus). A text that names an App is answered by check runs of that App alone.
func (c CommitCheck) Answers(awaited string) bool {
	a := ParseAwaited(awaited)
	named := a.Name == c.Name || c.Workflow != "" && a.Name == c.Workflow+" / "+c.Name
	switch {
	case !named:
		return false
	case a.App == "":
		return c.App != "" || !a.ofWorkflow()
	case c.App == "":
		return a.App == ByStatus
	}
	return a.App != ByStatus && strings.EqualFold(a.App, c.App)
}

// passed reports whether GitHub's own required checks would be content with the check.
func (c CommitCheck) passed() bool {
	return c.Status == "completed" && slices.Contains([]string{"success", "neutral", "skipped"}, c.Conclusion)
}

// A Verdict is how the checks that are awaited stand.
type Verdict struct {
	Missing []AwaitedCheck // nothing that answers is there yet
	Pending []CommitCheck  // not completed
	Failed  []CommitCheck
	Passed  []CommitCheck
}

// JudgeChecks holds what was found on a commit against what is awaited. When several answer to one name, such as a workflow's job for a
// push and for a pull request, all of them count: none hides another that failed. found holds each only once, as it is now.
func JudgeChecks(awaited []string, found []CommitCheck) Verdict {
	var v Verdict
	seen := map[int]bool{}
	for _, name := range awaited {
		there := false
		for i, c := range found {
			if !c.Answers(name) {
				continue
			}
			there = true
			if seen[i] {
				continue
			}
			seen[i] = true
			switch {
			case c.Status != "completed":
				v.Pending = append(v.Pending, c)
			case c.passed():
				v.Passed = append(v.Passed, c)
			default:
				v.Failed = append(v.Failed, c)
			}
		}
		if !there {
			v.Missing = append(v.Missing, ParseAwaited(name))
		}
	}
	return v
}

// Open reports whether something is still to come.
func (v Verdict) Open() bool { return len(v.Missing)+len(v.Pending) > 0 }

// Lost reports whether it makes no sense to wait on: an awaited check did not succeed, and none that answers to the same text is under way.
func (v Verdict) Lost(awaited []string) bool {
	return slices.ContainsFunc(awaited, func(name string) bool {
		answers := func(c CommitCheck) bool { return c.Answers(name) }
		return slices.ContainsFunc(v.Failed, answers) && !slices.ContainsFunc(v.Pending, answers)
	})
}

// String says what is missing, or that nothing is, as a clause.
func (v Verdict) String() string {
	var parts []string
	add := func(list []CommitCheck, how string) {
		var names []string
		for _, c := range list {
			names = append(names, c.Name)
		}
		if len(names) > 0 {
			parts = append(parts, strings.Join(names, ", ")+" "+how)
		}
	}
	add(v.Failed, "did not succeed")
	add(v.Pending, "(under way)")
	var missing []string
	for _, a := range v.Missing {
		missing = append(missing, a.String())
	}
	if len(missing) > 0 {
		parts = append(parts, strings.Join(missing, ", ")+" (not reported yet)")
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%s succeeded", plural(len(v.Passed), "check"))
	}
	return strings.Join(parts, "; ")
}

// CommitChecks tells how the checks of a commit stand.
type CommitChecks interface {
	// CommitChecks lists each check and status on a full SHA that answers to an awaited text, as it is now, without our own.
	CommitChecks(ctx context.Context, installation int64, repo Repository, sha string, awaited []string) ([]CommitCheck, error)
}

// LookAtChecks asks to be called about news of the awaited checks on the commit of the task's run, and judges how they stand now.
func LookAtChecks(ctx context.Context, checks CommitChecks, task Task, awaited []string) (Verdict, error) {
	run := task.Run
	names := make([]string, len(awaited)) // as events name them, whoever made the check
	for i, text := range awaited {
		names[i] = ParseAwaited(text).Name
	}
	if err := task.Watch(ctx, CommitTopic(run.Repository.ID, run.SHA), names...); err != nil {
		return Verdict{}, err
	}
	found, err := checks.CommitChecks(ctx, run.Installation, run.Repository, run.SHA, awaited)
	if err != nil {
		return Verdict{}, fmt.Errorf("ask for the checks of %s: %w", Abbreviate(run.SHA), err)
	}
	return JudgeChecks(awaited, found), nil
}

// maxNamedChecks bounds the checks that a sentence names.
const maxNamedChecks = 3

// Sentence says which checks did not succeed and where to look.
func (v Verdict) Sentence() string {
	var parts []string
	for _, c := range v.Failed[:min(len(v.Failed), maxNamedChecks)] {
		part := fmt.Sprintf("%s ended as %s", checkLabel(c), strings.ReplaceAll(cmp.Or(c.Conclusion, "unknown"), "_", " "))
		if c.URL != "" {
			part += " (" + c.URL + ")"
		}
		parts = append(parts, part)
	}
	if more := len(v.Failed) - maxNamedChecks; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more did not succeed", more))
	}
	return strings.Join(parts, ", ")
}

// checkLabel is a check as people await it.
func checkLabel(c CommitCheck) string {
	name := c.Name
	if c.Workflow != "" {
		name = c.Workflow + " / " + c.Name
	}
	return Cut(name, 100)
}

// maxCheckRows bounds a table of checks.
const maxCheckRows = 40

// Table shows how checks stand as Markdown: what did not succeed and what is still to come first.
func (v Verdict) Table() string {
	var rows []string
	row := func(icon, name, url, stands string) {
		name = EscapeMarkdown(name)
		if (strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://")) && !strings.ContainsAny(url, " ()<>|\n") {
			name = "[" + name + "](" + url + ")"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", icon, name, EscapeMarkdown(stands)))
	}
	for _, c := range v.Failed {
		row("❌", checkLabel(c), c.URL, strings.ReplaceAll(c.Conclusion, "_", " "))
	}
	for _, c := range v.Pending {
		row("⏳", checkLabel(c), c.URL, strings.ReplaceAll(c.Status, "_", " "))
	}
	for _, a := range v.Missing {
		row("⏳", Cut(a.String(), 100), "", "not reported yet")
	}
	for _, c := range v.Passed {
		row("✅", checkLabel(c), c.URL, strings.ReplaceAll(c.Conclusion, "_", " "))
	}
	var b strings.Builder
	b.WriteString("| | check | |\n|---|---|---|\n")
	for _, r := range rows[:min(len(rows), maxCheckRows)] {
		b.WriteString(r)
	}
	if more := len(rows) - maxCheckRows; more > 0 {
		fmt.Fprintf(&b, "\n%d more are left out.\n", more)
	}
	return b.String()
}
