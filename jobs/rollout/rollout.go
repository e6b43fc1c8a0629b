package rollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/jobs"
)

// A Cluster rolls releases out and takes them back; a *deploy.Cluster is one.
type Cluster interface {
	Rollout(ctx context.Context, release deploy.Release, log io.Writer) (deploy.Outcome, error)
	Rollback(ctx context.Context, back deploy.Rollback, log io.Writer) (deploy.Outcome, error)
}

// Options are what the kind works with.
type Options struct {
	Clusters map[string]Cluster // by their name in config.yaml
	// Allows reports whether a list of a grant's patterns allows a name.
	Allows func(patterns []string, name string) bool
	// Checks tells how the checks stand that an environment requires, and Records keep what was rolled out before the job waited for
	// them. They are needed only where an environment requires any.
	Checks  jobs.CommitChecks
	Records jobs.Records[Record]
	Polling jobs.Polling // of such checks
	Now     func() time.Time
}

// New returns the kind.
func New(o Options) jobs.Kind {
	o.Polling = o.Polling.OrDefault()
	if o.Now == nil {
		o.Now = time.Now
	}
	return &kind{o}
}

type kind struct{ Options }

// A step is one release onto one cluster.
type step struct {
	environment string
	cluster     string
	release     deploy.Release
}

// done is a step that was carried out.
type done struct {
	step
	outcome deploy.Outcome
}

// Run rolls out every release of the spec to every cluster of every environment, in the spec's order, and stops at
// the first that fails. A release that an earlier call for the same attempt deployed already is adopted, not deployed
// again; one that another run is rolling out is waited for. A spec that asks for a rollback takes them back instead.
func (k *kind) Run(ctx context.Context, task jobs.Task) (jobs.Result, error) {
	spec, err := decode(task.Spec)
	if err != nil {
		return jobs.Result{}, &jobs.Refusal{Sentence: "the deploy spec of this run can't be read", Cause: err}
	}
	steps, err := k.plan(task, spec)
	if err != nil {
		return jobs.Result{}, err
	}
	if spec.Rollback != nil {
		return k.back(ctx, task, steps, *spec.Rollback)
	}
	return k.forward(ctx, task, steps)
}

// forward rolls the steps out.
func (k *kind) forward(ctx context.Context, task jobs.Task, steps []step) (jobs.Result, error) {
	gates, err := k.gates(ctx, task, steps)
	if err != nil {
		return jobs.Result{}, err
	}
	all := gates.reached()
	var checkout *jobs.Checkout
	for _, s := range steps[len(all):] {
		// What is behind never takes a release back; asked right before each, since builds take their time.
		newest, why, err := task.Newest(ctx)
		if err != nil {
			return jobs.Result{}, err
		}
		if !newest {
			fmt.Fprintf(task.Log, "not rolled out: %s\n", why)
			return stale(all, why), nil
		}
		if result, err := gates.pass(ctx, s.environment, all); err != nil {
			return jobs.Result{}, err
		} else if result != nil {
			return *result, nil
		}
		if checkout == nil {
			if checkout, err = task.Source.Checkout(ctx, task.Run); err != nil {
				return jobs.Result{}, err
			}
			defer checkout.Close()
		}
		s.release.Source = checkout.Root
		fmt.Fprintf(task.Log, "rolling %s/%s out to %s (%s)\n", s.release.Namespace, s.release.Name, s.environment, s.cluster)
		outcome, err := k.Clusters[s.cluster].Rollout(ctx, s.release, task.Log)
		if err != nil {
			return jobs.Result{}, k.trouble(err)
		}
		all = append(all, done{s, outcome})
		if failed(task, outcome) {
			break
		}
	}
	return sum(all), nil
}

// failed reports whether a step failed, and logs why.
func failed(task jobs.Task, outcome deploy.Outcome) bool {
	f := outcome.Failure
	if f == nil {
		return false
	}
	for _, line := range f.LogTail {
		fmt.Fprintf(task.Log, "  | %s\n", line)
	}
	fmt.Fprintln(task.Log, f.Sentence)
	return true
}

// trouble turns a lease that another holds into a wait; everything else is ours as it is.
func (k *kind) trouble(err error) error {
	var held *deploy.LeaseHeldError
	if !errors.As(err, &held) {
		return err
	}
	const least, most = time.Second, 10 * time.Second
	return &jobs.Later{
		After:  min(max(held.Until.Sub(k.Now()), least), most),
		Reason: fmt.Sprintf("the release is being changed by another (%s)", held.Error()),
	}
}

// plan lists the steps of a spec, or refuses what is not granted: once more, where it would happen.
func (k *kind) plan(task jobs.Task, spec jobs.DeploySpec) ([]step, error) {
	run := task.Run
	refuse := func(format string, args ...any) ([]step, error) {
		return nil, &jobs.Refusal{Sentence: fmt.Sprintf(format, args...)}
	}
	switch {
	case run.Trust.Level != jobs.Trusted:
		return refuse("untrusted runs don't roll out")
	case run.Branch == "":
		return refuse("only commits of a branch are rolled out in this version")
	case run.Event == jobs.EventPullRequest && run.Asked == nil:
		return refuse("a pull request is rolled out only when somebody asks for it with /deploy")
	case len(spec.Environments) == 0 || len(spec.Helm) == 0:
		return refuse("the deploy spec names no environment or no release")
	}
	var steps []step
	for _, name := range spec.Environments {
		grant, ok := environment(task.Grant, name)
		if !ok {
			return refuse("%s may not roll out to the environment %q; whoever runs Slipway grants it under environments.%s.repositories", run.Repository.FullName(), name, name)
		}
		// Taking back is about what runs there, not about a commit: it is for whoever the operator lets use /rollback.
		if spec.Rollback == nil && !k.Allows(grant.Branches, run.Branch) {
			return refuse("the environment %s takes rollouts from %s, not from %s", name, strings.Join(grant.Branches, ", "), run.Branch)
		}
		// Taking back waits for no approval: it must be fast when something is broken, and brings nothing that did not
		// run there before. Who may is the operator's word in commands.rollback.
		if spec.Rollback == nil && grant.Approvals.Needed() && !slices.Contains(run.Approved, name) {
			return refuse("the rollout to %s was not approved", name)
		}
		for _, cluster := range grant.Clusters {
			if k.Clusters[cluster] == nil {
				return nil, fmt.Errorf("environment %s names the cluster %s, which is not configured", name, cluster)
			}
			for _, h := range spec.Helm {
				release, err := k.release(task, grant, h)
				if err != nil {
					return nil, err
				}
				steps = append(steps, step{name, cluster, release})
			}
		}
	}
	return steps, nil
}

func (k *kind) release(task jobs.Task, grant jobs.EnvironmentGrant, h jobs.HelmSpec) (deploy.Release, error) {
	run := task.Run
	r := deploy.Release{
		Namespace: h.Namespace, Name: h.Release, Chart: h.Chart, ValuesFiles: h.ValuesFile, Set: h.Set,
		Owner: deploy.Owner{
			Repository: run.Repository.FullName(), RepositoryID: run.Repository.ID, Run: run.ID, Job: task.Job,
			Attempt: task.Attempt, SHA: run.SHA,
		},
	}
	if r.Namespace == "" {
		r.Namespace = strings.ToLower(run.Repository.Name)
	}
	switch {
	case r.Name == "" && h.Chart == "":
		return r, &jobs.Refusal{Sentence: "the deploy spec names no release"}
	case r.Name == "":
		r.Name = path.Base(path.Clean(h.Chart))
	}
	if !k.Allows(grant.Namespaces, r.Namespace) {
		return r, &jobs.Refusal{Sentence: fmt.Sprintf("%s may not use the namespace %q in %s; it may use %s",
			run.Repository.FullName(), r.Namespace, grant.Name, list(grant.Namespaces))}
	}
	if h.Timeout != "" {
		timeout, err := time.ParseDuration(h.Timeout)
		if err != nil || timeout <= 0 || timeout > maxTimeout {
			return r, &jobs.Refusal{Sentence: fmt.Sprintf("the timeout %q of release %s is not a duration of at most %s", h.Timeout, r.Name, jobs.Duration(maxTimeout))}
		}
		r.Timeout = timeout
	}
	return r, nil
}

const maxTimeout = 30 * time.Minute

func environment(grant jobs.Grant, name string) (jobs.EnvironmentGrant, bool) {
	for _, e := range grant.Environments {
		if e.Name == name {
			return e, true
		}
	}
	return jobs.EnvironmentGrant{}, false
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
