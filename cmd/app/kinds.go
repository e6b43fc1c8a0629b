package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/build"
	"github.com/slipway-ci/slipway/jobs/rollout"
	"github.com/slipway-ci/slipway/pipeline"
)

// A named probe tells whether something the server works with can be reached.
type probe struct {
	name string
	ask  func(context.Context) error
}

// kinds is the one list of the kinds of jobs this server carries out, with what they need opened. close lets that go.
func kinds(c Config, log *slog.Logger) (slots map[jobs.KindName]jobs.Slot, probes []probe, closeAll func() error, err error) {
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
		jobs.KindDeploy: {Kind: rollout.New(rollout.Options{Clusters: clusters, Match: pipeline.Match}), Count: c.Work.Rollouts},
	}
	return slots, probes, builds.Close, nil
}
