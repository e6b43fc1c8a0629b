package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/await"
	"github.com/slipway-ci/slipway/jobs/build"
	"github.com/slipway-ci/slipway/jobs/dispatch"
	"github.com/slipway-ci/slipway/jobs/rollout"
	"github.com/slipway-ci/slipway/pipeline"
)

// A named probe tells whether something the server works with can be reached.
type probe struct {
	name string
	ask  func(context.Context) error
}

// kinds lists the kinds of jobs that engines carry out, with what they need opened. close lets that go. Those whose work goes on at
// GitHub come beside them: follow.
func kinds(c Config, app *githubapp.App, rollouts jobs.Records[rollout.Record], log *slog.Logger) (slots map[jobs.KindName]jobs.Slot, probes []probe, closeAll func() error, err error) {
	if c.Builds.Outgoing, err = c.Outgoing.apply(); err != nil {
		return nil, nil, nil, err
	}
	builds, err := build.New(c.Builds, log)
	if err != nil {
		return nil, nil, nil, err
	}
	clusters := map[string]rollout.Cluster{}
	for _, name := range c.clusterNames() {
		cluster, err := deploy.OpenCluster(c.Clusters[name].deploy(name), log)
		if err != nil {
			return nil, nil, nil, errors.Join(fmt.Errorf("clusters.%s: %w", name, err), builds.Close())
		}
		clusters[name] = cluster
		probes = append(probes, probe{"cluster " + name, cluster.Ping})
	}
	slots = map[jobs.KindName]jobs.Slot{
		jobs.KindBuild:  {Kind: builds, Count: cmp.Or(c.Builds.Concurrency, build.DefaultConcurrency) * max(len(c.Builds.BuildKit), 1)},
		jobs.KindDeploy: {Kind: rollout.New(rollout.Options{Clusters: clusters, Checks: app, Records: rollouts, Match: pipeline.Match}), Count: c.Work.Rollouts},
	}
	return slots, probes, builds.Close, nil
}

// followers is how many jobs that wait for GitHub are looked at at once: each for as long as a few calls take.
const followers = 4

// follow adds the kinds whose work goes on at GitHub.
func (p parts) follow() {
	s := p.stores
	s.slots[jobs.KindDispatch] = jobs.Slot{Count: followers, Kind: dispatch.New(dispatch.Options{
		Places: p.app, Files: p.app, Starter: p.app, Runs: p.app, Control: p.app, Reviews: p.app, Reports: p.app, Artifacts: p.app,
		Records: s.dispatches, Lanes: s.lanes, Workflows: s.workflows,
		Match: pipeline.Match, Check: pipeline.CheckDispatch, Marker: pipeline.MarkerInput, Page: p.workflowURL,
		Search: s.search, Settle: s.search / 4, Poll: s.poll,
	})}
	s.slots[jobs.KindAwait] = jobs.Slot{Count: followers, Kind: await.New(await.Options{Checks: p.app, Poll: s.poll})}
}

// workflowURL is where people see a run of a workflow.
func (p parts) workflowURL(repo jobs.Repository, run int64) string {
	return fmt.Sprintf("%s/%s/actions/runs/%d", cmp.Or(p.githubURL(), "https://github.com"), repo.FullName(), run)
}
