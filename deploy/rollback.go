package deploy

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
)

// Rollback says which release to roll back, how far, and for whom. Its fields mean what they mean in a Release.
type Rollback struct {
	Namespace string
	Name      string
	// Revision to roll back to, by its number in Helm's history; 0 for the one that ran before the present one. A
	// revision recorded by a rollback counts as the one it rolled back to: two rollbacks in a row go back two revisions.
	Revision int
	// Owner's SHA is not used: a revision keeps the commit it was rolled out from.
	Owner              Owner
	Timeout            time.Duration
	AllowClusterScoped bool
}

// Rollback makes an earlier revision of a release run again, with the chart's rollback hooks, and waits until it is
// ready. It is Helm's rollback: a new revision, applied from Helm's record, that `helm history` shows as such.
//
// Errors and Failures are told apart as by Rollout, and a call for the same work finds what an earlier one did: a
// rollback that was carried out is adopted, one that was interrupted is carried out again under the same number. When
// the revision does not become ready, the Failure says why, and the release stays with it.
func (c *Cluster) Rollback(ctx context.Context, back Rollback, log io.Writer) (Outcome, error) {
	start := time.Now()
	out, err := c.rollback(ctx, back, &lineLog{w: log})
	out.Took = time.Since(start)
	if err != nil {
		return out, fmt.Errorf("roll back %s/%s on cluster %s: %w", back.Namespace, back.Name, c.name, err)
	}
	return out, nil
}

func (c *Cluster) rollback(ctx context.Context, back Rollback, log *lineLog) (Outcome, error) {
	rel := Release{
		Namespace: back.Namespace, Name: back.Name, Owner: back.Owner, Timeout: back.Timeout, AllowClusterScoped: back.AllowClusterScoped,
	}
	if f := rel.validate(); f != nil {
		return unchanged(f)
	}
	// The lease would make the namespace that it lies in.
	absent, err := c.lacksNamespace(ctx, back.Namespace)
	if err != nil {
		return Outcome{}, err
	}
	if absent {
		return unchanged(noRelease(back.Namespace, back.Name))
	}
	return c.holding(ctx, rel, log, func(ctx context.Context, r *rollout) (Outcome, error) {
		return r.runRollback(ctx, back.Revision)
	})
}

// runRollback decides from the release's record how to roll back, and does it.
func (r *rollout) runRollback(ctx context.Context, revision int) (Outcome, error) {
	history, err := r.records.history(r.release.Name)
	if err != nil {
		return Outcome{}, r.trouble(ctx, err)
	}
	p := decideRollback(history, r.release.Owner, r.release.Namespace, r.release.Name, revision)
	if p.failure != nil {
		return unchanged(p.failure)
	}
	if p.overtaken {
		r.log.printf("this job rolled back already, as revision %d; the newer revision %d stays", p.adopt.Version, p.latest.Version)
		return Outcome{
			Revision: p.adopt.Version, Status: StatusDeployed, Adopted: true, Overtaken: true,
			RolledBack: true, RolledBackFrom: p.from, RolledBackTo: p.goal,
		}, nil
	}
	r.watch.awaitLists(ctx)
	start := time.Now()
	waiting, giveUp := r.waiting(ctx)
	defer giveUp(nil)
	r.watch.setGiveUp(func() { giveUp(errInVain) })
	applied := p.adopt
	if applied != nil {
		err = r.adopt(waiting, applied)
	} else if err = r.checkRevisions(p.latest, p.target); err == nil {
		if err := r.clear(ctx, p.cleanup); err != nil {
			return Outcome{}, err
		}
		r.log.printf("rolling release %s in namespace %s on cluster %s back from revision %d to %d",
			r.release.Name, r.release.Namespace, r.cluster.name, p.from, p.goal)
		r.records.stamp = r.release.Owner.stampRollback
		err = r.rollBackTo(waiting, p.target.Version)
		applied = r.records.newest()
	}
	if err == nil {
		err = r.records.trouble()
	}
	if err == nil {
		out := r.deployed(ctx, applied, p.adopt != nil)
		out.RolledBack, out.RolledBackFrom, out.RolledBackTo = true, p.from, p.goal
		return out, nil
	}
	if ours := r.judge(ctx, waiting, start, err); ours != nil {
		return Outcome{}, ours
	}
	if applied == nil {
		return r.refused(err)
	}
	return r.rollbackFailed(ctx, p, applied, err, time.Since(start))
}

// checkRevisions parses revisions' objects: guardedClient checks what it parses. Helm itself parses them only once the
// new revision is recorded.
func (r *rollout) checkRevisions(revisions ...*release.Release) error {
	client := r.kubeClient()
	for _, rel := range revisions {
		if _, err := client.Build(strings.NewReader(rel.Manifest), false); err != nil {
			return fmt.Errorf("revision %d: %w", rel.Version, err)
		}
	}
	return nil
}

// rollbackFailed is the outcome of a rollback whose revision did not become ready. Where to go from there is for people
// to choose.
func (r *rollout) rollbackFailed(ctx context.Context, p rollbackPlan, applied *release.Release, err error, took time.Duration) (Outcome, error) {
	failure := r.diagnose(ctx, applied, err, took)
	r.log.printf("revision %d failed: %s", applied.Version, failure.Sentence)
	out := Outcome{
		Revision: applied.Version, Status: StatusFailed, Adopted: p.adopt != nil, Failure: failure,
		RolledBackFrom: p.from, RolledBackTo: p.goal,
	}
	if p.adopt != nil {
		failure.Sentence += " It had been deployed and ready before, so it was left as it is."
		return out, nil
	}
	// Helm leaves a revision pending when its hooks fail, and refuses to go on from it.
	if applied.Info.Status.IsPending() {
		applied.SetStatus(common.StatusFailed, clip(fmt.Sprintf("Rollback %q failed: %s", applied.Name, err), maxCause))
		if err := r.configuration().Releases.Update(applied); err != nil {
			return Outcome{}, r.trouble(ctx, err)
		}
	}
	failure.Sentence += fmt.Sprintf(" The release was left at revision %d, which goes back to revision %d.", applied.Version, p.goal)
	return out, nil
}
