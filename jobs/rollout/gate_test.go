package rollout_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/rollout"
	"github.com/slipway-ci/slipway/pipeline"
	"github.com/slipway-ci/slipway/queue"
)

// commit tells how the checks of the commit stand.
type commit struct {
	asked  int
	checks []jobs.CommitCheck
}

func (c *commit) CommitChecks(context.Context, int64, jobs.Repository, string, []string) ([]jobs.CommitCheck, error) {
	c.asked++
	return c.checks, nil
}

// gated is a job that rolls out to staging, which requires nothing, and then to production, which requires CI / test.
type gated struct {
	*testing.T
	staging, production cluster
	commit              commit
	newest              string // "" while the commit is
	now                 time.Time
	records             jobs.Set[rollout.Record]
	task                jobs.Task
	resumed             int // how often it said that it works here
}

func newGated(t *testing.T) *gated {
	g := &gated{T: t, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), records: queue.Set[rollout.Record](queue.Memory(), queue.Rollouts)}
	g.staging.outcome = deploy.Outcome{Revision: 3, Status: deploy.StatusDeployed, Images: []deploy.RunningImage{{Image: "r/shop@sha256:1"}}}
	g.production.outcome = deploy.Outcome{Revision: 7, Status: deploy.StatusDeployed}
	g.task = task(t, `{"environments": ["staging", "production"], "helm": [{"chart": "charts/api"}]}`)
	g.task.Began = g.now
	g.task.Grant.Environments = []jobs.EnvironmentGrant{
		{Name: "staging", Clusters: []string{"one"}, Namespaces: []string{"shop"}, Branches: []string{"main"}},
		{Name: "production", Clusters: []string{"two"}, Namespaces: []string{"shop"}, Branches: []string{"main"}, RequiredChecks: []string{"CI / test"}},
	}
	g.task.Newest = func(context.Context) (bool, string, error) { return g.newest == "", g.newest, nil }
	g.task.Resume = func(context.Context) error { g.resumed++; return nil }
	g.task.Watch = func(_ context.Context, topic string, names ...string) error {
		if topic != jobs.CommitTopic(5, g.task.Run.SHA) || !slices.Equal(names, []string{"CI / test"}) {
			t.Errorf("watches %s for %q", topic, names)
		}
		return nil
	}
	return g
}

func (g *gated) test(status, conclusion string) {
	g.commit.checks = []jobs.CommitCheck{{Name: "test", Workflow: "CI", App: "github-actions", Status: status, Conclusion: conclusion, URL: "https://github.example/test"}}
}

// run calls the kind as any worker might, with nothing in its memory.
func (g *gated) run() (jobs.Result, error) {
	kind := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": &g.staging, "two": &g.production}, Allows: pipeline.Allows,
		Checks: &g.commit, Records: g.records, Now: func() time.Time { return g.now }})
	return kind.Run(g.Context(), g.task)
}

// waits calls it and fails unless it waits to get into production.
func (g *gated) waits(reason string) *jobs.Later {
	g.Helper()
	result, err := g.run()
	var later *jobs.Later
	if !errors.As(err, &later) || later.Progress == nil || later.Reason != reason {
		g.Fatalf("%+v, %v, want to wait: %q", result, err, reason)
	}
	return later
}

// ends calls it and fails unless it ends so, after so many rollouts in all.
func (g *gated) ends(want jobs.Conclusion, summary string, staging, production int) jobs.Result {
	g.Helper()
	result, err := g.run()
	if err != nil || result.Conclusion != want || !strings.Contains(result.Summary, summary) {
		g.Fatalf("%+v, %v, want %s: %q", result, err, want, summary)
	}
	if len(g.staging.got) != staging || len(g.production.got) != production {
		g.Errorf("rolled out %d and %d times, want %d and %d", len(g.staging.got), len(g.production.got), staging, production)
	}
	return result
}

func TestRequiredChecksHoldAnEnvironmentBack(t *testing.T) {
	g := newGated(t)
	later := g.waits("production waits for CI / test (not reported yet)")
	if len(g.staging.got) != 1 || len(g.production.got) != 0 {
		t.Fatalf("rolled out %d and %d times before the checks, want 1 and 0", len(g.staging.got), len(g.production.got))
	}
	if !strings.Contains(later.Progress.Details, "| shop/api | staging |") || later.Progress.Outputs["environments"] != "staging" {
		t.Errorf("what was rolled out is not shown: %v\n%s", later.Progress.Outputs, later.Progress.Details)
	}
	g.test("in_progress", "")
	g.now = g.now.Add(12 * time.Minute)
	if later = g.waits("production waits for test (under way)"); later.After != 12*time.Minute {
		t.Errorf("looks again after %s, want 12m", later.After)
	}
	// Somebody rolls staging back meanwhile: that is not undone.
	g.test("completed", "success")
	result := g.ends(jobs.Success, "revision 3 to staging, shop/api revision 7 to production", 1, 1)
	if !strings.Contains(result.Details, "r/shop@sha256:1") {
		t.Errorf("details lost what staging ran:\n%s", result.Details)
	}
	if g.resumed != 1 {
		t.Errorf("said %d times that it works here again, want once", g.resumed)
	}
}

func TestRequiredChecksThatFail(t *testing.T) {
	g := newGated(t)
	_ = g.waits("production waits for CI / test (not reported yet)")
	g.test("completed", "failure")
	result := g.ends(jobs.Failure, "not rolled out to production, which requires these checks: CI / test ended as failure (https://github.example/test)", 1, 0)
	if result.Outputs["environments"] != "staging" || !strings.Contains(result.Details, "| staging |") {
		t.Errorf("what was rolled out before is lost: %v\n%s", result.Outputs, result.Details)
	}
}

func TestRequiredChecksOfANewerCommit(t *testing.T) {
	g := newGated(t)
	_ = g.waits("production waits for CI / test (not reported yet)")
	g.newest = "main is at bbbb by now"
	result := g.ends(jobs.Skipped, "not rolled out: main is at bbbb by now", 1, 0)
	if !strings.Contains(result.Details, "| staging |") {
		t.Errorf("what was rolled out before is lost:\n%s", result.Details)
	}
}

func TestRequiredChecksThatNeverCome(t *testing.T) {
	g := newGated(t)
	g.now = g.now.Add(24*time.Hour - time.Minute)
	if later := g.waits("production waits for CI / test (not reported yet)"); later.After != time.Minute {
		t.Errorf("looks again after %s, want at the day's end", later.After)
	}
	g.now = g.now.Add(time.Minute)
	g.ends(jobs.TimedOut, "CI / test (not reported yet)", 1, 0)
}

func TestRequiredChecksGateTheFirstEnvironment(t *testing.T) {
	g := newGated(t)
	g.task.Grant.Environments[0].RequiredChecks = []string{"CI / test"}
	_ = g.waits("staging waits for CI / test (not reported yet)")
	if len(g.staging.got) != 0 {
		t.Fatal("rolled out to staging before its checks")
	}
	g.test("completed", "success")
	g.ends(jobs.Success, "rolled out", 1, 1)
}

func TestRequiredChecksAreNotForRollbacks(t *testing.T) {
	g := newGated(t)
	g.task.Spec = json.RawMessage(`{"environments": ["production"], "helm": [{"chart": "", "release": "api", "namespace": "shop"}], "rollback": {}}`)
	if _, err := g.run(); err != nil {
		t.Fatal(err)
	}
	if g.commit.asked != 0 || len(g.production.back) != 1 {
		t.Errorf("asked for checks %d times, took back %d times", g.commit.asked, len(g.production.back))
	}
}

func TestRequiredChecksNeedSomebodyToAsk(t *testing.T) {
	g := newGated(t)
	kind := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": &g.staging, "two": &g.production}, Allows: pipeline.Allows})
	if result, err := kind.Run(t.Context(), g.task); err == nil || len(g.staging.got) != 0 {
		t.Errorf("%+v, %v, %d rollouts; want none where checks can't be asked for", result, err, len(g.staging.got))
	}
}
