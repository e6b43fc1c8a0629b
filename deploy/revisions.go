package deploy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
)

// maxRevisionsTold is how many revisions a Failure lists.
const maxRevisionsTold = 10

// A Revision is what Helm's record says of one revision of a release.
type Revision struct {
	Number     int
	Deployed   time.Time
	Chart      string // name and version: "shop-1.0.0"
	AppVersion string // empty when the chart says none
	Status     string // in Helm's words: deployed, superseded, failed, …
	// CanRunAgain says that the revision was deployed once and is not what runs now: Rollback accepts it.
	CanRunAgain bool
}

// rollbackPlan is what Rollback does, decided from a release's record alone.
type rollbackPlan struct {
	failure *Failure // why it is refused; nil when it is not
	cleanup

	adopt     *release.Release // this same work has rolled back already, by this revision
	overtaken bool             // with adopt: others have deployed since

	from   int              // newest revision before the rollback
	goal   int              // revision to roll back to, as people know it
	target *release.Release // the goal's record or, once Helm has dropped that, a copy of it
}

// decideRollback reads a release's history, oldest first, and decides how to roll back to a revision, 0 for the one
// before.
//
// Doubts fall to the careful side, as in decide: what another repository owns, what somebody else is changing and what
// others have changed since this work began is left alone.
func decideRollback(history []*release.Release, owner Owner, namespace, name string, revision int) rollbackPlan {
	refuse := func(f *Failure) rollbackPlan { return rollbackPlan{failure: f} }
	if len(history) == 0 {
		return refuse(noRelease(namespace, name))
	}
	latest := history[len(history)-1]
	status, ours := latest.Info.Status, stamped(latest)
	if f := foreign(history, owner, namespace, name); f != nil {
		return refuse(f)
	}
	p := rollbackPlan{cleanup: cleanup{latest: latest}, from: latest.Version}
	if mine := earlierRollback(history, owner); mine != nil {
		return p.resume(history, mine, namespace, name)
	}
	switch {
	case !ours && busy(status):
		return refuse(busyElsewhere(latest, namespace, name))
	case status == common.StatusUninstalled:
		return refuse(fail(ReasonNoRevision, "Release %s in namespace %s was uninstalled: roll it out again instead.", name, namespace))
	case !busy(status) && status != common.StatusDeployed && status != common.StatusFailed && status != common.StatusSuperseded:
		return refuse(oddState(latest, namespace, name))
	}
	p.target = revisionNamed(history, revision)
	switch {
	case revision == 0:
		p.target = before(history)
	case revision == latest.Version && status == common.StatusDeployed:
		return refuse(noRevision(history, fmt.Sprintf("Revision %d of release %s in namespace %s is what runs already", revision, name, namespace)))
	case p.target == nil:
		return refuse(noRevision(history, fmt.Sprintf("Release %s in namespace %s has no revision %d", name, namespace, revision)))
	case !ran(p.target):
		return refuse(noRevision(history, fmt.Sprintf("Revision %d of release %s in namespace %s never ran: it is %s", revision, name, namespace, p.target.Info.Status)))
	}
	if p.target == nil {
		return refuse(noRevision(history, fmt.Sprintf("Release %s in namespace %s has no revision that ran before what it is at now, revision %d", name, namespace, latest.Version)))
	}
	p.goal = p.target.Version
	if busy(status) { // ours: an interrupted rollout of other work
		p.markFailed = true
		if running := rollbackTarget(history); running != p.goal {
			p.restore = running
		}
	}
	return p
}

// resume decides for work that recorded the revision mine in an earlier try.
func (p rollbackPlan) resume(history []*release.Release, mine *release.Release, namespace, name string) rollbackPlan {
	p.from, p.goal = mine.Version-1, goalOf(history, mine)
	switch {
	case ran(mine):
		p.adopt, p.overtaken = mine, mine != p.latest
		return p
	case mine != p.latest:
		p.failure = fail(ReasonOvertaken, "Release %s in namespace %s is at revision %d, which others deployed after this rollback was interrupted. Ask again if it should still be rolled back.",
			name, namespace, p.latest.Version)
		return p
	}
	// The interrupted revision is deleted and recorded again under its number: so Helm compares with the revision that
	// ran before, and removes what only that had. It is kept only when Helm has dropped the goal's record since, so
	// that this is the last copy.
	p.target = revisionNamed(history, mine.Info.RollbackRevision)
	if p.target == nil || !ran(p.target) {
		p.target, p.markFailed = mine, busy(mine.Info.Status)
		return p
	}
	p.discard, p.latest = mine, history[len(history)-2]
	return p
}

// earlierRollback is the newest revision that this attempt of this work recorded by a Rollback; nil when there is none.
func earlierRollback(history []*release.Release, owner Owner) *release.Release {
	for _, rel := range slices.Backward(history) {
		if rel.Info.RollbackRevision > 0 && owner.requestedRollback(rel) {
			return rel
		}
	}
	return nil
}

// goalOf is the revision that rel rolls back to; when that is itself a rollback that did not end, what that one rolls
// back to.
func goalOf(history []*release.Release, rel *release.Release) int {
	to := rel.Info.RollbackRevision
	if found := revisionNamed(history, to); found != nil && found.Info.RollbackRevision > 0 && !ran(found) {
		return found.Info.RollbackRevision
	}
	return to
}

// before is the revision that ran before the present one; nil when there is none. A revision recorded by a rollback
// counts as the one it rolled back to, so the next rollback goes further back, not to what was just undone. When the
// newest revision never ran, it is the last that did; after a failed rollback, that rollback's target.
func before(history []*release.Release) *release.Release {
	latest := history[len(history)-1]
	present := latest.Version
	if !ran(latest) {
		if again := revisionNamed(history, latest.Info.RollbackRevision); again != nil && ran(again) {
			return again
		}
	} else {
		for rel := latest; rel != nil && rel.Info.RollbackRevision > 0 && rel.Info.RollbackRevision < present; rel = revisionNamed(history, present) {
			present = rel.Info.RollbackRevision
		}
	}
	for _, rel := range slices.Backward(history) {
		if rel.Version < present && ran(rel) {
			return rel
		}
	}
	return nil
}

// ran says that a revision was deployed once. Helm also calls superseded what had failed, once something else was put
// in its place; its description still tells.
func ran(rel *release.Release) bool {
	switch rel.Info.Status {
	case common.StatusDeployed:
		return true
	case common.StatusSuperseded:
		for _, action := range []string{"Release", "Upgrade", "Rollback"} {
			if strings.HasPrefix(rel.Info.Description, action+" "+strconv.Quote(rel.Name)+" failed: ") {
				return false
			}
		}
		return !strings.HasPrefix(rel.Info.Description, interrupted)
	}
	return false
}

func revisionNamed(history []*release.Release, number int) *release.Release {
	for _, rel := range history {
		if rel.Version == number {
			return rel
		}
	}
	return nil
}

func noRelease(namespace, name string) *Failure {
	return fail(ReasonNoRevision, "There is no release %s in namespace %s: it was never rolled out there, or was uninstalled.", name, namespace)
}

// noRevision says why there is no revision to roll back to, and which ones there are.
func noRevision(history []*release.Release, why string) *Failure {
	f := &Failure{Reason: ReasonNoRevision}
	var numbers []string
	for _, rel := range slices.Backward(history) {
		if len(f.Revisions) == maxRevisionsTold {
			break
		}
		r := Revision{
			Number: rel.Version, Deployed: rel.Info.LastDeployed, Status: rel.Info.Status.String(),
			CanRunAgain: ran(rel) && (rel.Info.Status != common.StatusDeployed || rel != history[len(history)-1]),
		}
		if rel.Chart != nil && rel.Chart.Metadata != nil {
			r.Chart = clip(rel.Chart.Metadata.Name+"-"+rel.Chart.Metadata.Version, 100)
			r.AppVersion = clip(rel.Chart.Metadata.AppVersion, 100)
		}
		f.Revisions = append(f.Revisions, r)
		if r.CanRunAgain {
			numbers = append(numbers, strconv.Itoa(r.Number))
		}
	}
	f.Sentence = why + "."
	switch len(numbers) {
	case 0:
		f.Sentence += " There is no other that ran."
	case 1:
		f.Sentence += fmt.Sprintf(" Revision %s can be named instead.", numbers[0])
	default:
		f.Sentence += fmt.Sprintf(" Revisions %s and %s can be named instead.", strings.Join(numbers[:len(numbers)-1], ", "), numbers[len(numbers)-1])
	}
	return f
}
