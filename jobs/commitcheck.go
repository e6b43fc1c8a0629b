package jobs

import "slices"

// Speaks decides which runs on a commit determine its required check: trusted pull requests and merge queues first, then the
// default branch, then untrusted pull requests, then other pushes. So neither a branch push nor a fork's pull request with the
// same commit can turn a trusted one green. worst is the worst finished run among those that speak, or nil.
func Speaks(run Run, others []Run) (speaks bool, worst *Run) {
	top := voice(run)
	for _, o := range others {
		top = max(top, voice(o))
	}
	add := func(r Run) {
		if voice(r) == top && r.State.Over() && (worst == nil || severity(r) > severity(*worst)) {
			worst = &r
		}
	}
	add(run) // first: of those that are as bad it speaks for itself
	for _, o := range others {
		add(o)
	}
	return voice(run) == top, worst
}

// voice ranks runs for Speaks; higher wins. The default branch outranks untrusted pull requests.
func voice(r Run) int {
	pull := r.Event == EventPullRequest || r.Event == EventMergeGroup
	switch {
	case pull && r.Trust.Level == Trusted:
		return 3
	case r.OnDefaultBranch():
		return 2
	case pull:
		return 1
	}
	return 0
}

func severity(r Run) int {
	return slices.Index([]RunState{RunNothing, RunSucceeded, RunWaits, RunHeld, RunCancelled, RunFailed}, r.State)
}
