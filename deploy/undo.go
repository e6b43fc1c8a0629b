package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/resource"
)

// interrupted begins the description of a revision whose rollout did not end.
const interrupted = "Interrupted"

// clear removes what interrupted work left in the way.
func (r *rollout) clear(ctx context.Context, p cleanup) error {
	if p.discard != nil {
		r.log.printf("revision %d was interrupted (%s); rolling back again", p.discard.Version, p.discard.Info.Status)
		if _, err := r.configuration().Releases.Delete(r.release.Name, p.discard.Version); err != nil {
			return r.trouble(ctx, err)
		}
	}
	if p.markFailed {
		r.log.printf("revision %d was interrupted (%s); freeing the release", p.latest.Version, p.latest.Info.Status)
		p.latest.SetStatus(common.StatusFailed, interrupted+": the rollout that recorded this revision did not end it")
		if err := r.configuration().Releases.Update(p.latest); err != nil {
			return r.trouble(ctx, err)
		}
	}
	if p.remove {
		r.log.printf("removing what the unfinished first installation (revision %d) left", p.latest.Version)
		if err := r.uninstall(ctx, p.latest, false, false); err != nil {
			return r.trouble(ctx, err)
		}
	}
	if p.restore > 0 {
		r.log.printf("rolling back to revision %d first", p.restore)
		back := action.NewRollback(r.configuration())
		back.Version, back.Timeout, back.DisableHooks = p.restore, r.release.timeout(), true
		back.WaitStrategy, back.ServerSideApply, back.MaxHistory = kube.HookOnlyStrategy, "true", maxHistory
		if err := back.Run(r.release.Name); err != nil {
			return r.trouble(ctx, err)
		}
		r.records.forgetNewest()
	}
	return nil
}

// undoFailed brings the cluster back to where it was before the failed revision: the one
// before runs again, or nothing when there was none.
func (r *rollout) undoFailed(ctx context.Context, p plan, failed *release.Release, failure *Failure) (Outcome, error) {
	out := Outcome{Revision: failed.Version, Status: StatusFailed, Adopted: p.step == stepAdopt, Failure: failure}
	target := p.rollbackTarget
	// The failed revision's pods go on crashing until they are gone: no reason to give up.
	r.watch.setGiveUp(func() {})
	start := time.Now()
	waiting, stop := r.waiting(ctx)
	defer stop(nil)
	var err error
	switch {
	case p.step == stepInstall || p.step == stepReinstall:
		r.log.printf("removing the failed first installation")
		if err = r.uninstall(waiting, failed, true, p.keepHistory); err == nil {
			out.Status = StatusUninstalled
			failure.Sentence += " It was the first installation, so it was removed again."
			return out, nil
		}
	case p.step == stepAdopt:
		failure.Sentence += " It had been deployed and ready before, so it was left as it is."
		return out, nil
	case target == 0:
		failure.Sentence += " There is no earlier revision to roll back to, so it was left as it is."
		return out, nil
	default:
		r.log.printf("rolling back to revision %d", target)
		if err = r.rollBackTo(waiting, target); err == nil {
			out.Status, out.RolledBack, out.RolledBackTo = StatusRolledBack, true, target
			out.Images = r.images(ctx)
			failure.Sentence += fmt.Sprintf(" Rolled back to revision %d, which is ready.", target)
			r.log.printf("rolled back to revision %d, which is ready", target)
			return out, nil
		}
	}
	if ours := r.judge(ctx, waiting, start, err); ours != nil {
		return Outcome{}, ours
	}
	failure.Sentence += fmt.Sprintf(" Undoing it failed too (%s); look at `helm history %s -n %s`.",
		clip(err.Error(), maxCause), r.release.Name, r.release.Namespace)
	return out, nil
}

// rollBackTo makes an earlier revision run again, with its rollback hooks, and waits until it is ready.
func (r *rollout) rollBackTo(waiting context.Context, revision int) error {
	back := action.NewRollback(r.configuration())
	back.Version, back.Timeout = revision, r.release.timeout()
	back.WaitStrategy, back.WaitForJobs, back.WaitOptions = kube.StatusWatcherStrategy, true, r.waitOptions(waiting)
	back.ServerSideApply, back.MaxHistory = "true", maxHistory
	return back.Run(r.release.Name)
}

// uninstall removes the release and waits until its objects, as rel has them, are gone.
// Its hooks are left out for a release that never ran.
func (r *rollout) uninstall(waiting context.Context, rel *release.Release, hooks, keepHistory bool) error {
	un := action.NewUninstall(r.configuration())
	un.DisableHooks = !hooks
	un.KeepHistory, un.Timeout, un.IgnoreNotFound = keepHistory, r.release.timeout(), true
	un.WaitStrategy, un.WaitOptions = kube.StatusWatcherStrategy, []kube.WaitOption{kube.WithWaitContext(waiting)}
	un.DeletionPropagation = "foreground" // pods are gone before an installation follows
	_, err := un.Run(r.release.Name)
	if err != nil {
		// Helm's own wait can end as soon as one of several objects is gone, and then
		// report the others. What counts is that the release is removed.
		history, unread := r.records.history(r.release.Name)
		if unread != nil || len(history) > 0 && !keepHistory {
			return err
		}
	}
	return r.awaitGone(waiting, rel)
}

// awaitGone waits until no object of a revision is left, but for those to be kept.
func (r *rollout) awaitGone(waiting context.Context, rel *release.Release) error {
	waiting, stop := context.WithTimeout(waiting, r.release.timeout())
	defer stop()
	objects, err := r.kubeClient().Build(strings.NewReader(rel.Manifest), false)
	if err != nil {
		return err
	}
	for _, info := range objects {
		helper := resource.NewHelper(info.Client, info.Mapping)
		err := wait.PollUntilContextCancel(waiting, 200*time.Millisecond, true, func(context.Context) (bool, error) {
			found, err := helper.Get(info.Namespace, info.Name)
			if apierrors.IsNotFound(err) {
				return true, nil
			}
			if err != nil {
				return false, err
			}
			object, err := meta.Accessor(found)
			return err == nil && object.GetAnnotations()[kube.ResourcePolicyAnno] == kube.KeepPolicy, err
		})
		if err != nil {
			return fmt.Errorf("wait until %s is gone: %w", objectName(info.Mapping.GroupVersionKind.Kind, info.Namespace, info.Name), err)
		}
	}
	return nil
}
