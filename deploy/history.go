package deploy

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
)

// step is what to do with a release, decided from its record alone.
type step int

const (
	stepRefuse    step = iota
	stepInstall        // there is none
	stepReinstall      // install over a first revision that never came to run
	stepUpgrade
	stepAdopt // the newest revision is this very work, done
)

// plan is a step and what has to be cleared away before it.
type plan struct {
	step    step
	failure *Failure // with stepRefuse
	cleanup

	keepHistory    bool // somebody keeps the history of this release: leave it when removing
	rollbackTarget int  // revision that a failed upgrade is rolled back to; 0 for none
}

// cleanup is what interrupted work left in the way of a rollout or rollback.
type cleanup struct {
	latest     *release.Release // newest revision; nil when there is none
	discard    *release.Release // revision that an interrupted try of this same work recorded: delete it, then roll back again
	markFailed bool             // latest was interrupted: record it as failed, so that Helm goes on
	remove     bool             // uninstall what an interrupted or failed first installation left
	restore    int              // roll back to this revision first, without waiting, to undo what latest applied
}

// decide reads a release's history, oldest first.
//
// Doubts fall to the careful side: a release of another repository, a change in progress
// that is not ours and a status that we don't know are refused. A release without an
// owner label (installed by hand) is taken over; whoever grants the namespace granted it.
func decide(history []*release.Release, owner Owner, namespace, name string) plan {
	if len(history) == 0 {
		return plan{step: stepInstall}
	}
	latest := history[len(history)-1]
	p := plan{cleanup: cleanup{latest: latest}, rollbackTarget: rollbackTarget(history)}
	if f := foreign(history, owner, namespace, name); f != nil {
		p.step, p.failure = stepRefuse, f
		return p
	}
	status := latest.Info.Status
	ours, same := stamped(latest), owner.sameWork(latest)
	ran := p.rollbackTarget > 0
	switch {
	case !ours && busy(status):
		p.step, p.failure = stepRefuse, busyElsewhere(latest, namespace, name)

	case status == common.StatusDeployed:
		p.step = stepUpgrade
		if same && latest.Info.RollbackRevision == 0 && latest.Labels[labelAttempt] == strconv.Itoa(owner.Attempt) {
			p.step = stepAdopt
		}

	case status == common.StatusUninstalled:
		p.step, p.keepHistory, p.rollbackTarget = stepReinstall, true, 0

	case status == common.StatusUninstalling: // ours: a failed first installation, being removed
		p.step, p.remove, p.rollbackTarget = stepInstall, true, 0

	case status == common.StatusPendingInstall,
		status == common.StatusFailed && !ran && ours:
		// Nothing of this release ever ran. The same work goes on over what is there;
		// another run's chart may name other objects, so what is there goes first.
		p.step, p.markFailed, p.rollbackTarget = stepReinstall, status.IsPending(), 0
		if !same {
			p.step, p.markFailed, p.remove = stepInstall, false, true
		}

	case status.IsPending():
		p.step, p.markFailed = stepUpgrade, true
		if ran && (!same || status == common.StatusPendingRollback) {
			p.restore = p.rollbackTarget
		}

	case status == common.StatusFailed, status == common.StatusSuperseded:
		p.step = stepUpgrade

	default:
		p.step, p.failure = stepRefuse, oddState(latest, namespace, name)
	}
	return p
}

// busy says that somebody is at work on a release in this state, or was when it was left.
func busy(status common.Status) bool {
	return status.IsPending() || status == common.StatusUninstalling
}

func busyElsewhere(latest *release.Release, namespace, name string) *Failure {
	return fail(ReasonReleasePending, "Release %s in namespace %s is %s since %s, started with Helm by someone else. Wait for it to end; if nobody is at it any more, free it with `helm rollback %s -n %s` (or `helm uninstall`, if it was the first installation) and run this job again.",
		name, namespace, latest.Info.Status, latest.Info.LastDeployed.UTC().Format(time.RFC3339), name, namespace)
}

func oddState(latest *release.Release, namespace, name string) *Failure {
	return fail(ReasonReleasePending, "Release %s in namespace %s is in the state %q, which no rollout starts from. Look at `helm history %s -n %s`.",
		name, namespace, latest.Info.Status, name, namespace)
}

// rollbackTarget is the newest revision that ran, 0 for none: a deployed one, else (after a
// crash between Helm's two records of an upgrade) the newest superseded one.
func rollbackTarget(history []*release.Release) int {
	for _, status := range []common.Status{common.StatusDeployed, common.StatusSuperseded} {
		for _, rel := range slices.Backward(history) {
			if rel.Info.Status == status {
				return rel.Version
			}
		}
	}
	return 0
}

// foreign refuses a release that carries the label of another repository.
func foreign(history []*release.Release, owner Owner, namespace, name string) *Failure {
	mine := strconv.FormatInt(owner.RepositoryID, 10)
	for _, rel := range slices.Backward(history) {
		id := rel.Labels[labelRepositoryID]
		if id == "" {
			continue
		}
		if id == mine {
			return nil
		}
		who := fmt.Sprintf("repository %s (ID %s)", rel.Labels[labelRepository], id)
		return fail(ReasonForeignRelease, "Release %s in namespace %s belongs to %s. Choose another release name or namespace; to hand it over, an operator uninstalls it first.", name, namespace, who)
	}
	return nil
}
