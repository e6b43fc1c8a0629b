package deploy

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Rollback says which release goes back, how far, and for whom. Its fields mean what they mean in a Release.
type Rollback struct {
	Namespace string
	Name      string
	// Revision to go back to, by Helm's history; 0 for the one deployed before the present one.
	// What a rollback left behind is not "before": asked twice, it goes back twice.
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
		return r.back(ctx, back.Revision)
	})
}

// lacksNamespace says that a namespace is known not to be there. Rights in one namespace need not suffice to see it.
func (c *Cluster) lacksNamespace(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timing.readLimit)
	defer cancel()
	_, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil && !apierrors.IsForbidden(err):
		return false, fmt.Errorf("look for namespace %s: %w", name, err)
	}
	return false, nil
}

// back decides from the release's record how to go back, and does it.
func (r *rollout) back(ctx context.Context, revision int) (Outcome, error) {
	history, err := r.records.history(r.release.Name)
	if err != nil {
		return Outcome{}, r.trouble(ctx, err)
	}
	p := decideBack(history, r.release.Owner, r.release.Namespace, r.release.Name, revision)
	if p.failure != nil {
		return unchanged(p.failure)
	}
	if p.overtaken {
		r.log.printf("this job went back before, by revision %d; revision %d is newer and stays", p.adopt.Version, p.latest.Version)
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
		if err := r.makeWay(ctx, p); err != nil {
			return Outcome{}, err
		}
		r.log.printf("rolling release %s in namespace %s on cluster %s back from revision %d to %d",
			r.release.Name, r.release.Namespace, r.cluster.name, p.from, p.goal)
		r.records.stamp = r.release.Owner.stampRollback
		err = r.goBack(waiting, p.target.Version)
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
	if applied == nil { // nothing was recorded, so nothing was applied
		return r.refused(err)
	}
	return r.stuck(ctx, p, applied, err, time.Since(start))
}

// makeWay removes what interrupted work left in the way of a rollback.
func (r *rollout) makeWay(ctx context.Context, p backPlan) error {
	if p.strike != nil {
		r.log.printf("revision %d was interrupted (%s); going back again", p.strike.Version, p.strike.Info.Status)
		if _, err := r.configuration().Releases.Delete(r.release.Name, p.strike.Version); err != nil {
			return r.trouble(ctx, err)
		}
	}
	return r.clear(ctx, plan{latest: p.latest, markFailed: p.markFailed, restore: p.restore})
}

// checkRevisions parses what runs and what is to run, which checks it. Helm does so only once the new revision is recorded.
func (r *rollout) checkRevisions(revisions ...*release.Release) error {
	client := r.kubeClient()
	for _, rel := range revisions {
		if _, err := client.Build(strings.NewReader(rel.Manifest), false); err != nil {
			return fmt.Errorf("revision %d: %w", rel.Version, err)
		}
	}
	return nil
}

// stuck is the outcome of a rollback whose revision does not become ready. Going on from there, back or forward, is for
// people to choose.
func (r *rollout) stuck(ctx context.Context, p backPlan, applied *release.Release, err error, took time.Duration) (Outcome, error) {
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
	// Helm leaves a revision pending whose hooks fail, and is then stuck with it.
	if applied.Info.Status.IsPending() {
		applied.SetStatus(common.StatusFailed, clip(fmt.Sprintf("Rollback %q failed: %s", applied.Name, err), maxCause))
		if err := r.configuration().Releases.Update(applied); err != nil {
			return Outcome{}, r.trouble(ctx, err)
		}
	}
	failure.Sentence += fmt.Sprintf(" The release was left at revision %d, which goes back to revision %d.", applied.Version, p.goal)
	return out, nil
}
