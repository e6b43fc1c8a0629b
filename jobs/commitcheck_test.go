package jobs_test

import (
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

func TestSpeaks(t *testing.T) {
	run := func(id string, event jobs.EventKind, level jobs.TrustLevel, state jobs.RunState) jobs.Run {
		return jobs.Run{RunInfo: jobs.RunInfo{ID: id, Event: event, Trust: jobs.Trust{Level: level}}, State: state}
	}
	pull := func(id string, level jobs.TrustLevel, state jobs.RunState) jobs.Run {
		return run(id, jobs.EventPullRequest, level, state)
	}
	push := run("push", jobs.EventPush, jobs.Trusted, jobs.RunSucceeded)
	onMain := run("main", jobs.EventPush, jobs.Trusted, jobs.RunSucceeded)
	onMain.Branch, onMain.Repository.DefaultBranch = "main", "main"
	for name, c := range map[string]struct {
		run    jobs.Run
		others []jobs.Run
		speaks bool
		worst  string
	}{
		"alone":                           {push, nil, true, "push"},
		"alone and active":                {pull("a", jobs.Trusted, jobs.RunActive), nil, true, ""},
		"a push beside a pull request":    {push, []jobs.Run{pull("a", jobs.Trusted, jobs.RunFailed)}, false, "a"},
		"a pull request beside a push":    {pull("a", jobs.Trusted, jobs.RunSucceeded), []jobs.Run{run("push", jobs.EventPush, jobs.Trusted, jobs.RunFailed)}, true, "a"},
		"a stranger's copy of main":       {pull("e", jobs.Untrusted, jobs.RunHeld), []jobs.Run{onMain}, false, "main"},
		"a stranger's beside a branch":    {pull("e", jobs.Untrusted, jobs.RunHeld), []jobs.Run{push}, true, "e"},
		"a merge queue's head":            {run("m", jobs.EventMergeGroup, jobs.Trusted, jobs.RunFailed), []jobs.Run{push}, true, "m"},
		"a stranger's twin":               {pull("e", jobs.Untrusted, jobs.RunNothing), []jobs.Run{pull("a", jobs.Trusted, jobs.RunFailed)}, false, "a"},
		"beside a stranger's twin":        {pull("a", jobs.Trusted, jobs.RunSucceeded), []jobs.Run{pull("e", jobs.Untrusted, jobs.RunHeld)}, true, "a"},
		"two of a stranger's":             {pull("e2", jobs.Untrusted, jobs.RunNothing), []jobs.Run{pull("e1", jobs.Untrusted, jobs.RunHeld)}, true, "e1"},
		"approved here, held there":       {pull("e1", jobs.Approved, jobs.RunSucceeded), []jobs.Run{pull("e2", jobs.Untrusted, jobs.RunHeld)}, true, "e2"},
		"as bad as another":               {pull("a", jobs.Trusted, jobs.RunFailed), []jobs.Run{pull("b", jobs.Trusted, jobs.RunFailed)}, true, "a"},
		"cancelled is worse than waits":   {pull("a", jobs.Trusted, jobs.RunWaits), []jobs.Run{pull("b", jobs.Trusted, jobs.RunCancelled)}, true, "b"},
		"what is under way is not judged": {pull("a", jobs.Trusted, jobs.RunSucceeded), []jobs.Run{pull("b", jobs.Trusted, jobs.RunActive)}, true, "a"},
	} {
		speaks, worst := jobs.Speaks(c.run, c.others)
		got := ""
		if worst != nil {
			got = worst.ID
		}
		if speaks != c.speaks || got != c.worst {
			t.Errorf("%s: speaks %t, worst %q; want %t, %q", name, speaks, got, c.speaks, c.worst)
		}
	}
}
