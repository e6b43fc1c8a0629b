package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/await"
	"github.com/slipway-ci/slipway/jobs/build"
	"github.com/slipway-ci/slipway/jobs/dispatch"
	"github.com/slipway-ci/slipway/jobs/rollout"
	"github.com/slipway-ci/slipway/pipeline"
)

// A probe tells whether something the server works with can be reached.
type probe struct {
	name string
	ask  func(context.Context) error
}

// kinds lists the kinds of jobs that engines carry out, with what they need opened; closeAll closes that. addGitHubKinds
// adds those whose work goes on at GitHub.
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
		jobs.KindDeploy: {Kind: rollout.New(rollout.Options{Clusters: clusters, Checks: app, Records: rollouts, Allows: pipeline.Allows, Polling: polling(c.GitHub)}), Count: c.Work.Rollouts},
	}
	return slots, probes, builds.Close, nil
}

// polling is how often GitHub is asked about workflow runs and checks that no delivery tells of. What deliveries tell of them is not
// fetched from GitHub's log, one call each: a server without webhooks asks sooner instead.
func polling(c githubapp.Config) jobs.Polling {
	if c.Polls() {
		return jobs.Polling{First: 20 * time.Second, Most: 2 * time.Minute}
	}
	return jobs.Polling{}
}

// followers is how many jobs that wait for GitHub are looked at at once: each for as long as a few calls take.
const followers = 4

// addGitHubKinds adds the kinds whose work goes on at GitHub.
func (p parts) addGitHubKinds() {
	s := p.stores
	polling := cmp.Or(s.timing.polling, polling(p.c.GitHub))
	s.slots[jobs.KindDispatch] = jobs.Slot{Count: followers, Kind: dispatch.New(dispatch.Options{
		Repositories: p.app, Files: p.app, Starter: p.app, Runs: p.app, Control: p.app, Reviews: p.app, Reports: p.app, Artifacts: p.app,
		Records: s.dispatches, Lanes: s.lanes, Workflows: s.workflows,
		Allows: pipeline.Allows, Check: pipeline.CheckDispatch, Marker: pipeline.MarkerInput, Page: p.workflowURL,
		Search: s.timing.search, Settle: s.timing.search / 4, Polling: polling,
	})}
	s.slots[jobs.KindAwait] = jobs.Slot{Count: followers, Kind: await.New(await.Options{Checks: p.app, Polling: polling})}
}

// workflowURL is where people see a run of a workflow.
func (p parts) workflowURL(repo jobs.Repository, run int64) string {
	return fmt.Sprintf("%s/%s/actions/runs/%d", p.c.GitHub.WebURL(), repo.FullName(), run)
}
