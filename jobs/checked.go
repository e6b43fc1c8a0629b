package jobs

import (
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

// Answers reports whether this is what is awaited under a name: its own, or for a workflow's job WORKFLOW / JOB.
func (c CommitCheck) Answers(awaited string) bool {
	return awaited == c.Name || c.Workflow != "" && awaited == c.Workflow+" / "+c.Name
}

// passed reports whether GitHub's own required checks would be content with the check.
func (c CommitCheck) passed() bool {
	return c.Status == "completed" && slices.Contains([]string{"success", "neutral", "skipped"}, c.Conclusion)
}

// A Verdict is how the checks that are awaited stand.
type Verdict struct {
	Missing []string      // awaited, and nothing of that name is there yet
	Pending []CommitCheck // not completed
	Failed  []CommitCheck
	Passed  []CommitCheck
}

// JudgeChecks holds what was found on a commit against what is awaited. When several answer to one name, such as a workflow's job for a
// push and for a pull request, all of them count. found holds each only once, as it is now.
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
			v.Missing = append(v.Missing, name)
		}
	}
	return v
}

// Open reports whether something is still to come.
func (v Verdict) Open() bool { return len(v.Missing)+len(v.Pending) > 0 }

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
	add(v.Pending, "under way")
	if len(v.Missing) > 0 {
		parts = append(parts, strings.Join(v.Missing, ", ")+" not reported yet")
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%s succeeded", plural(len(v.Passed), "check"))
	}
	return strings.Join(parts, "; ")
}
