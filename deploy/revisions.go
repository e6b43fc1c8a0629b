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
	// CanRunAgain says that the revision was deployed once, so it can be gone back to.
	CanRunAgain bool
}

// backPlan is how to go back, decided from a release's record alone.
type backPlan struct {
	failure *Failure // why not
	latest  *release.Release

	adopt     *release.Release // this very work has gone back already
	overtaken bool             // with adopt: and others have deployed since

	from   int              // newest revision before the rollback
	goal   int              // revision to go back to, as people know it
	target *release.Release // its record, or a copy

	strike     *release.Release // this very work's own attempt that was interrupted: forget it, then go back again
	markFailed bool             // latest was interrupted: record it as failed, so that Helm goes on
	restore    int              // put this revision back first, to clear what an interrupted one left
}

// decideBack reads a release's history, oldest first, and decides how to go back to a revision, 0 for the one before.
//
// Doubts fall to the careful side, as in decide: what another repository owns, what somebody else is changing and what
// was changed by others since this very work began is left alone.
func decideBack(history []*release.Release, owner Owner, namespace, name string, revision int) backPlan {
	refuse := func(f *Failure) backPlan { return backPlan{failure: f} }
	if len(history) == 0 {
		return refuse(noRelease(namespace, name))
	}
	latest := history[len(history)-1]
	status, ours := latest.Info.Status, stamped(latest)
	if f := foreign(history, owner, namespace, name); f != nil {
		return refuse(f)
	}
	p := backPlan{latest: latest, from: latest.Version}
	if mine := askedBefore(history, owner); mine != nil {
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
		if running := backTo(history); running != p.goal {
			p.restore = running
		}
	}
	return p
}

// resume decides for work that was here before, and recorded the revision mine.
func (p backPlan) resume(history []*release.Release, mine *release.Release, namespace, name string) backPlan {
	p.from, p.goal = mine.Version-1, goalOf(history, mine)
	switch {
	case ran(mine):
		p.adopt, p.overtaken = mine, mine != p.latest
		return p
	case mine != p.latest:
		p.failure = fail(ReasonOvertaken, "Release %s in namespace %s is at revision %d, which others deployed after this rollback was interrupted. Ask again if it is still to go back.",
			name, namespace, p.latest.Version)
		return p
	}
	// What was interrupted is forgotten and done again under its number: so Helm compares with what ran before, and
	// removes what only that had. Only when its record is all that is left of the revision to go back to, it stays.
	p.target = revisionNamed(history, mine.Info.RollbackRevision)
	if p.target == nil || !ran(p.target) {
		p.target, p.markFailed = mine, busy(mine.Info.Status)
		return p
	}
	p.strike, p.latest = mine, history[len(history)-2]
	return p
}

// askedBefore is the newest revision that this attempt of this work recorded, going back; nil when there is none.
func askedBefore(history []*release.Release, owner Owner) *release.Release {
	for _, rel := range slices.Backward(history) {
		if rel.Info.RollbackRevision > 0 && owner.askedBack(rel) {
			return rel
		}
	}
	return nil
}

// goalOf is the revision that one goes back to, seen through an interrupted try of the same.
func goalOf(history []*release.Release, rel *release.Release) int {
	to := rel.Info.RollbackRevision
	if found := revisionNamed(history, to); found != nil && found.Info.RollbackRevision > 0 && !ran(found) {
		return found.Info.RollbackRevision
	}
	return to
}

// before is the revision that ran before the present one; nil when there is none. What a revision goes back to stands
// for it, so going back again does not return to what was just taken back. When the newest one did not come to run,
// it is what ran last; a failed rollback is tried again.
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

// noRevision says why there is nothing to go back to, and what there is.
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
