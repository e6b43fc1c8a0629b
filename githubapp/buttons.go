package githubapp

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/jobs"
)

// GitHub's limits on buttons ("Create a check run"), in characters. A check has at most three, which GitHub shows only once it is
// completed.
const (
	maxButtonLabel       = 20
	maxButtonDescription = 40
)

// A Button lets whoever looks at a check ask for something. Who may is asked when it is pressed, not here.
type Button struct {
	Label       string `json:"label"`
	Description string `json:"description"`
	Identifier  string `json:"identifier"` // one of the Button constants of package jobs
}

// runButtons are those of a whole run's check, when it is over.
func runButtons(run jobs.Run) []Button {
	if run.State == jobs.RunHeld {
		return []Button{{"Approve", "Let exactly this commit be built", jobs.ButtonApprove}}
	}
	var list []Button
	if waits := awaited(run.Jobs); len(waits) > 0 {
		list = append(list, approveButton(waits))
	}
	if run.State == jobs.RunFailed && run.Outcome == jobs.OutcomeRun {
		list = append(list, Button{"Retry failed", "Do again what failed", jobs.ButtonRetry})
	}
	if run.State == jobs.RunSucceeded && run.OnDefaultBranch() && slices.ContainsFunc(run.Jobs, rolledOut) {
		list = append(list, Button{"Roll back", "Go back to the revision before", jobs.ButtonRollback})
	}
	return list
}

// jobButtons are those of a job's own check. What is pressed while other jobs of the run are at work is done when they are over.
func jobButtons(j jobs.Job) []Button {
	switch {
	case j.State == jobs.JobHeld && len(j.Approvals) > 0:
		return []Button{approveButton(j.Approvals)}
	case j.State == jobs.JobFailed:
		return []Button{{"Retry failed", "Do again what failed in this run", jobs.ButtonRetry}}
	}
	return nil
}

func approveButton(environments []string) Button {
	return Button{"Approve", "Let it go on to " + strings.Join(environments, ", "), jobs.ButtonApprove}
}

// awaited are the environments whose approval the jobs wait for.
func awaited(list []jobs.Job) []string {
	var names []string
	for _, j := range list {
		if j.State == jobs.JobHeld {
			names = append(names, j.Approvals...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// rolledOut reports whether a job of this run itself put something into an environment that can be taken back.
func rolledOut(j jobs.Job) bool {
	to := deployTargetOf(j)
	return j.State == jobs.JobSucceeded && !j.Reused && len(to.environments) > 0 && to.task == taskDeploy
}

// bound cuts a button to GitHub's limits.
func (b Button) bound() Button {
	b.Label = cutRunes(plain(b.Label), maxButtonLabel)
	b.Description = cutRunes(plain(b.Description), maxButtonDescription)
	return b
}

// cutRunes cuts to at most n characters, ending in "…" when something was cut.
func cutRunes(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
