package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	release "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Rollout brings a release to the given chart and values and waits until it is ready.
// Progress, hooks' logs and warnings are written to log, line by line.
//
// An error is our trouble and worth another try: the API server can't be reached or
// doesn't accept us, the lease is held (*LeaseHeldError) or was lost (ErrLeaseLost), ctx
// ended. What was begun is left as it is then; the next Rollout of the release sets it
// right. A Failure in the Outcome is theirs and final: what was asked for can't work.
func (c *Cluster) Rollout(ctx context.Context, rel Release, log io.Writer) (Outcome, error) {
	start := time.Now()
	out, err := c.rollout(ctx, rel, &lineLog{w: log})
	out.Took = time.Since(start)
	if err != nil {
		return out, fmt.Errorf("roll out %s/%s on cluster %s: %w", rel.Namespace, rel.Name, c.name, err)
	}
	return out, nil
}

// How many renders that were given up may still run before nothing more is rendered: each may
// keep a processor busy for ever.
const (
	maxAbandoned    = 3 // of a repository
	maxAbandonedAll = 12
)

// countAbandoned notes that a render of a repository's chart was given up, or has ended after all.
func (c *Cluster) countAbandoned(repository int64, change int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abandoned == nil {
		c.abandoned = map[int64]int{}
	}
	if c.abandoned[repository] += change; c.abandoned[repository] == 0 {
		delete(c.abandoned, repository)
	}
}

// rendering is how many renders that were given up still run, of a repository and in all.
func (c *Cluster) rendering(repository int64) (own, all int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.abandoned {
		all += n
	}
	return c.abandoned[repository], all
}

// rollout is one run of Rollout or Rollback, holding the lease.
type rollout struct {
	cluster *Cluster
	release Release
	log     *lineLog
	helmLog slog.Handler

	input     input // used up by apply
	crdsFirst bool  // apply has Helm install custom resource definitions before it renders the chart

	lease   *lease
	confine *confinement
	getter  *getter
	records *records
	watch   *watcher
}

func (c *Cluster) rollout(ctx context.Context, rel Release, log *lineLog) (Outcome, error) {
	if f := rel.validate(); f != nil {
		return unchanged(f)
	}
	in, f := rel.load()
	if f != nil {
		return unchanged(f)
	}
	return c.holding(ctx, rel, log, func(ctx context.Context, r *rollout) (Outcome, error) {
		if in.chart == nil { // used up by an earlier try
			if in, f = rel.load(); f != nil {
				return unchanged(f)
			}
		}
		r.input, in = in, input{}
		return r.run(ctx)
	})
}

// holding does something to a release under its lease. Its context ends when the lease is lost.
func (c *Cluster) holding(ctx context.Context, rel Release, log *lineLog, do func(context.Context, *rollout) (Outcome, error)) (Outcome, error) {
	leased, l, err := c.acquireLease(ctx, rel.Namespace, rel.Name, rel.Owner)
	if err != nil {
		return Outcome{}, err
	}
	defer l.release(ctx)
	for again := false; ; again = true {
		r, err := c.begin(rel, l, log)
		if err != nil {
			return Outcome{}, err
		}
		r.watch.start(leased)
		out, err := do(leased, r)
		r.watch.close()
		// A kind that isn't known may have been installed since we last asked.
		var unknown *unknownKindError
		if !errors.As(err, &unknown) {
			return out, err
		}
		if again {
			return unknown.outcome, nil
		}
		c.forget()
	}
}

// unchanged is the outcome of what is refused before anything was applied.
func unchanged(f *Failure) (Outcome, error) {
	return Outcome{Status: StatusUnchanged, Failure: f}, nil
}

// unapplied is the outcome of a chart of which no revision was recorded.
func (r *rollout) unapplied(f *Failure) Outcome {
	if !r.crdsFirst {
		return Outcome{Status: StatusUnchanged, Failure: f}
	}
	f.Sentence += " The chart's custom resource definitions may have been installed, since Helm does that first; nothing else was applied."
	return Outcome{Status: StatusFailed, Failure: f}
}

// input is what Helm renders. Helm changes it, so every use needs one of its own.
type input struct {
	chart  *chart.Chart
	values map[string]any
}

// load reads chart and values.
func (r Release) load() (input, *Failure) {
	c, f := loadChart(r.Source, r.Chart)
	if f != nil {
		return input{}, f
	}
	if crds := c.CRDObjects(); len(crds) > 0 && !r.AllowClusterScoped {
		err := &scopeError{"the custom resource definitions in " + clip(crds[0].Filename, 200),
			"belong to the whole cluster: let an operator install them"}
		return input{}, err.failure()
	}
	values, f := loadValues(r.Source, r.ValuesFiles, r.Set, c.Values)
	if f != nil {
		return input{}, f
	}
	return input{c, values}, nil
}

// begin sets up the connection of one rollout: fenced by the lease, confined to the namespace.
func (c *Cluster) begin(rel Release, l *lease, log *lineLog) (*rollout, error) {
	offers, err := c.offered()
	if err != nil {
		return nil, err
	}
	r := &rollout{
		cluster: c, release: rel, log: log, lease: l,
		helmLog: demoted{c.log.With("component", "helm", "release", rel.Namespace+"/"+rel.Name).Handler()},
		confine: &confinement{namespace: rel.Namespace},
	}
	if rel.AllowClusterScoped {
		r.confine.namespace = ""
	}
	config := rest.CopyConfig(c.config)
	config.Wrap(offers.documents.wrap)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return fenced(next, l.fence, r.confine, c.timing.readLimit)
	})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("set up a client: %w", err)
	}
	r.getter = &getter{config: config, offers: offers, namespace: rel.Namespace}
	r.watch = newWatcher(client, rel.Namespace, log, c.timing)
	r.records = newRecords(client, rel.Namespace, rel.Owner, r.helmLog)
	r.records.check = r.checkHooks
	r.records.after = r.watch.follow
	return r, nil
}

// run decides from the release's record what to do and does it.
func (r *rollout) run(ctx context.Context) (Outcome, error) {
	history, err := r.records.history(r.release.Name)
	if err != nil {
		return Outcome{}, r.trouble(ctx, err)
	}
	p := decide(history, r.release.Owner, r.release.Namespace, r.release.Name)
	if p.step == stepRefuse {
		return unchanged(p.failure)
	}
	switch own, all := r.cluster.rendering(r.release.Owner.RepositoryID); {
	case p.step == stepAdopt:
	case own >= maxAbandoned:
		return unchanged(fail(ReasonRenderFailed, "%d charts of this repository that were not rendered in time are still being rendered: "+
			"mend the loops in their templates, and ask whoever runs Slipway to restart it.", own))
	case all >= maxAbandonedAll:
		return Outcome{}, fmt.Errorf("%d charts that were not rendered in time are still being rendered, which keeps processors busy: "+
			"restart Slipway, and see whose charts it were", all)
	}
	r.watch.awaitLists(ctx)
	if err := r.clear(ctx, p.cleanup); err != nil {
		return Outcome{}, err
	}
	start := time.Now()
	waiting, giveUp := r.waiting(ctx)
	defer giveUp(nil)
	r.watch.setGiveUp(func() { giveUp(errInVain) })
	var applied *release.Release
	if p.step == stepAdopt {
		applied = p.latest
		err = r.adopt(waiting, applied)
	} else {
		var failure *Failure
		applied, failure, err = r.apply(ctx, waiting, p)
		if failure != nil {
			return r.unapplied(failure), nil
		}
	}
	if err == nil {
		err = r.records.trouble()
	}
	if err == nil {
		return r.deployed(ctx, applied, p.step == stepAdopt), nil
	}
	if ours := r.judge(ctx, waiting, start, err); ours != nil {
		return Outcome{}, ours
	}
	if applied == nil {
		return r.refused(err)
	}
	failure := r.diagnose(ctx, applied, err, time.Since(start))
	r.log.printf("revision %d failed: %s", applied.Version, failure.Sentence)
	return r.undoFailed(ctx, p, applied, failure)
}

// waiting is the context of hooks and readiness: bounded by the release's timeout, and
// ended early by giving up.
func (r *rollout) waiting(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	timed, stop := context.WithTimeoutCause(ctx, r.release.timeout(), errTimeout)
	waiting, giveUp := context.WithCancelCause(timed)
	return waiting, func(cause error) {
		giveUp(cause)
		stop()
	}
}

func (r *rollout) waitOptions(waiting context.Context) []kube.WaitOption {
	return []kube.WaitOption{
		kube.WithWaitContext(waiting),
		kube.WithKStatusReaders(newProgress(r.getter.offers.mapper, r.log)),
	}
}

// apply installs or upgrades. The release it returns is nil when nothing was recorded.
//
// Helm is given a context that does not end: it would return at once and go on changing
// the release behind our back. Only its waits end with ours; then it records the failure
// and returns.
func (r *rollout) apply(ctx, waiting context.Context, p plan) (*release.Release, *Failure, error) {
	o := r.release.Owner
	description := clip(fmt.Sprintf("Slipway: %s at %.12s, run %s, job %s", o.Repository, o.SHA, o.Run, o.Job), 200)
	cfg, whole := r.configuration(), context.WithoutCancel(ctx)
	r.crdsFirst = p.step != stepUpgrade && r.release.AllowClusterScoped && len(r.input.chart.CRDObjects()) > 0
	run := func() error {
		in := action.NewInstall(cfg)
		in.ReleaseName, in.Namespace, in.Timeout, in.Description = r.release.Name, r.release.Namespace, r.release.timeout(), description
		in.WaitStrategy, in.WaitForJobs, in.WaitOptions = kube.StatusWatcherStrategy, true, r.waitOptions(waiting)
		in.ServerSideApply = true
		in.Replace = p.step == stepReinstall
		in.SkipCRDs = !r.release.AllowClusterScoped
		in.Labels = o.labels()
		_, err := in.RunWithContext(whole, r.input.chart, r.input.values)
		return err
	}
	doing := "installing"
	if p.step == stepUpgrade {
		doing = "upgrading"
		run = func() error {
			up := action.NewUpgrade(cfg)
			up.Namespace, up.Timeout, up.Description = r.release.Namespace, r.release.timeout(), description
			up.WaitStrategy, up.WaitForJobs, up.WaitOptions = kube.StatusWatcherStrategy, true, r.waitOptions(waiting)
			up.ServerSideApply, up.MaxHistory = "true", maxHistory
			up.ResetValues = true // without it, an upgrade without values would take the last ones
			up.Labels = o.labels()
			_, err := up.RunWithContext(whole, r.release.Name, r.input.chart, r.input.values)
			return err
		}
	}
	r.log.printf("%s release %s in namespace %s on cluster %s", doing, r.release.Name, r.release.Namespace, r.cluster.name)
	done := make(chan error, 1)
	go func() { done <- run() }()
	render := time.NewTimer(r.cluster.timing.render)
	defer render.Stop()
	select {
	case err := <-done:
		return r.records.newest(), nil, err
	case <-render.C:
	}
	// A template can't be stopped. When nothing is recorded yet, nothing will be: its
	// goroutine ends whenever the template does, and is counted until then.
	if r.records.abandon() {
		r.cluster.countAbandoned(r.release.Owner.RepositoryID, 1)
		go func() {
			<-done //nolint:errcheck // nobody wants it any more
			r.cluster.countAbandoned(r.release.Owner.RepositoryID, -1)
		}()
		return nil, fail(ReasonRenderFailed, "The chart was not rendered within %s: look for loops in its templates.", r.cluster.timing.render), nil
	}
	err := <-done
	return r.records.newest(), nil, err
}

// adopt waits for a revision that an earlier call for the same work deployed.
func (r *rollout) adopt(waiting context.Context, rel *release.Release) error {
	r.log.printf("revision %d was already deployed by this job; waiting for it to be ready", rel.Version)
	r.watch.follow(rel)
	client := r.kubeClient()
	objects, err := client.Build(strings.NewReader(rel.Manifest), false)
	if err != nil || len(objects) == 0 {
		return err
	}
	waiter, err := client.GetWaiterWithOptions(kube.StatusWatcherStrategy, r.waitOptions(waiting)...)
	if err != nil {
		return err
	}
	return waiter.WaitWithJobs(objects, r.release.timeout())
}

// deployed is the outcome of a release that is ready.
func (r *rollout) deployed(ctx context.Context, rel *release.Release, adopted bool) Outcome {
	r.log.printf("revision %d is deployed and ready", rel.Version)
	return Outcome{
		Revision: rel.Version, Status: StatusDeployed, Adopted: adopted,
		Notes: clipText(rel.Info.Notes, maxNotes), Images: r.images(ctx),
	}
}
