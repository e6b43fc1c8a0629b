package rollout_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/rollout"
	"github.com/slipway-ci/slipway/pipeline"
)

// cluster answers each rollout and rollback with what it was told to, and remembers.
type cluster struct {
	got     []deploy.Release
	back    []deploy.Rollback
	outcome deploy.Outcome
	err     error
}

func (c *cluster) Rollout(_ context.Context, r deploy.Release, _ io.Writer) (deploy.Outcome, error) {
	c.got = append(c.got, r)
	return c.outcome, c.err
}

func (c *cluster) Rollback(_ context.Context, b deploy.Rollback, _ io.Writer) (deploy.Outcome, error) {
	c.back = append(c.back, b)
	return c.outcome, c.err
}

type source struct{ dir string }

func (s source) Checkout(context.Context, jobs.RunInfo) (*jobs.Checkout, error) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, err
	}
	return &jobs.Checkout{Dir: s.dir, Root: root, Close: func() { root.Close() }}, nil
}

func task(t *testing.T, spec string) jobs.Task {
	return jobs.Task{
		Run: jobs.RunInfo{
			ID: "r-1", Repository: jobs.Repository{ID: 5, Owner: "acme", Name: "Shop", DefaultBranch: "main"},
			Event: jobs.EventPush, SHA: strings.Repeat("a", 40), Ref: "refs/heads/main", Branch: "main", Trust: jobs.Trust{Level: jobs.Trusted},
		},
		Job: "release", Attempt: 1, Claim: "token", Spec: json.RawMessage(spec), Source: source{t.TempDir()}, Log: t.Output(),
		Grant: jobs.Grant{Environments: []jobs.EnvironmentGrant{
			{Name: "staging", Clusters: []string{"one", "two"}, Namespaces: []string{"shop", "tks-*"}, Branches: []string{"main"}},
		}},
		Newest: func(context.Context) (bool, string, error) { return true, "", nil },
	}
}

const spec = `{"environments": ["staging"], "helm": [{"chart": "charts/api", "set": {"replicas": 1000000, "image.digest": "sha256:1", "ratio": 0.5, "name": "x,a=true"}}]}`

func TestRolloutGoesToEveryCluster(t *testing.T) {
	one := &cluster{outcome: deploy.Outcome{Revision: 3, Status: deploy.StatusDeployed, Notes: "hello", Images: []deploy.RunningImage{
		{Image: "r/shop@sha256:1"}, {Image: "r/shop@sha256:1"}, {Image: "r/side:1", Digest: "sha256:2"},
	}}}
	two := &cluster{outcome: deploy.Outcome{Revision: 4, Status: deploy.StatusDeployed, Images: one.outcome.Images}}
	kind := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": one, "two": two}, Allows: pipeline.Allows})
	result, err := kind.Run(t.Context(), task(t, spec))
	if err != nil || result.Conclusion != jobs.Success {
		t.Fatalf("%+v, %v", result, err)
	}
	if len(one.got) != 1 || len(two.got) != 1 {
		t.Fatalf("rolled out %d and %d times, want once each", len(one.got), len(two.got))
	}
	r := one.got[0]
	if r.Namespace != "shop" || r.Name != "api" || r.Owner.RepositoryID != 5 || r.Owner.Run != "r-1" {
		t.Errorf("release %+v", r)
	}
	if r.Set["replicas"] != int64(1000000) || r.Set["ratio"] != 0.5 || r.Set["name"] != "x,a=true" {
		t.Errorf("set lost its types: %#v", r.Set)
	}
	if result.Outputs["revision"] != int64(4) || result.Outputs["images"] != "r/shop@sha256:1,r/side:1@sha256:2" {
		t.Errorf("outputs %v", result.Outputs)
	}
	if !strings.Contains(result.Details, "hello") {
		t.Errorf("details lack the notes: %s", result.Details)
	}
}

func TestRolloutStopsAtTheFirstFailure(t *testing.T) {
	one := &cluster{outcome: deploy.Outcome{Revision: 2, Status: deploy.StatusRolledBack, RolledBackTo: 1,
		Failure: &deploy.Failure{Object: "Deployment shop/api", Sentence: "Deployment shop/api does not start. Rolled back to revision 1, which is ready.", LogTail: []string{"panic: no"}}}}
	two := &cluster{}
	result, err := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": one, "two": two}, Allows: pipeline.Allows}).Run(t.Context(), task(t, spec))
	if err != nil || result.Conclusion != jobs.Failure {
		t.Fatalf("%+v, %v", result, err)
	}
	if len(two.got) != 0 {
		t.Error("went on to the next cluster after a failure")
	}
	if want := "Deployment shop/api does not start. Rolled back to revision 1, which is ready."; result.Summary != want {
		t.Errorf("summary %q, want %q", result.Summary, want)
	}
	if len(result.Tail) != 1 {
		t.Errorf("tail %q", result.Tail)
	}
}

func TestRolloutRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spec   string
		change func(*jobs.Task)
		want   string
	}{
		"an environment that is not granted": {`{"environments": ["production"], "helm": [{"chart": "c"}]}`, nil, `may not roll out to the environment "production"`},
		"a namespace that is not granted":    {`{"environments": ["staging"], "helm": [{"chart": "c", "namespace": "kube-system"}]}`, nil, `may not use the namespace "kube-system"`},
		"another branch":                     {spec, func(t *jobs.Task) { t.Run.Branch = "feat" }, "takes rollouts from main, not from feat"},
		"a pull request":                     {spec, func(t *jobs.Task) { t.Run.Event = jobs.EventPullRequest }, "only when somebody asks"},
		"a tag":                              {spec, func(t *jobs.Task) { t.Run.Branch, t.Run.Tag = "", "v1" }, "only commits of a branch"},
		"what nobody approved": {spec, func(t *jobs.Task) {
			t.Grant.Environments[0].Approvals.Count = 1
		}, "was not approved"},
		"an untrusted run":        {spec, func(t *jobs.Task) { t.Run.Trust.Level = jobs.Untrusted }, "untrusted"},
		"no grant at all":         {spec, func(t *jobs.Task) { t.Grant = jobs.Grant{} }, "may not roll out"},
		"a timeout out of bounds": {`{"environments": ["staging"], "helm": [{"chart": "c", "namespace": "shop", "timeout": "2h"}]}`, nil, "of at most 30m"},
		"an unknown field":        {`{"environments": ["staging"], "hlem": []}`, nil, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, task(t, c.spec), c.change, c.want) })
	}
}

// refused fails the test unless a task is refused with a sentence, and no cluster is asked for anything.
func refused(t *testing.T, task jobs.Task, change func(*jobs.Task), want string) {
	t.Helper()
	if change != nil {
		change(&task)
	}
	untouched := &cluster{}
	_, err := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": untouched, "two": untouched}, Allows: pipeline.Allows}).Run(t.Context(), task)
	var refusal *jobs.Refusal
	if !errors.As(err, &refusal) || !strings.Contains(refusal.Sentence, want) {
		t.Errorf("got %v, want a refusal with %q", err, want)
	}
	if len(untouched.back)+len(untouched.got) != 0 {
		t.Error("a cluster was asked all the same")
	}
}

func TestRolloutLeavesNewerAlone(t *testing.T) {
	untouched := &cluster{}
	task := task(t, spec)
	task.Newest = func(context.Context) (bool, string, error) { return false, "main is at bbbb by now", nil }
	result, err := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": untouched, "two": untouched}, Allows: pipeline.Allows}).Run(t.Context(), task)
	if err != nil || result.Conclusion != jobs.Skipped || len(untouched.got) != 0 {
		t.Errorf("%+v, %v, %d rollouts", result, err, len(untouched.got))
	}
}

func TestRolloutWaitsForAHeldLease(t *testing.T) {
	now := time.Now()
	held := &cluster{err: &deploy.LeaseHeldError{Lease: "shop/slipway-api", Holder: "r-0", Until: now.Add(3 * time.Second)}}
	_, err := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": held, "two": held}, Allows: pipeline.Allows, Now: func() time.Time { return now }}).Run(t.Context(), task(t, spec))
	var later *jobs.Later
	if !errors.As(err, &later) || later.After != 3*time.Second {
		t.Errorf("got %v, want to wait 3s", err)
	}
	broken := &cluster{err: io.ErrUnexpectedEOF}
	if _, err = rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": broken, "two": broken}, Allows: pipeline.Allows}).Run(t.Context(), task(t, spec)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want the cluster's own error", err)
	}
}
