package rollout_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/rollout"
	"github.com/slipway-ci/slipway/pipeline"
)

const backSpec = `{"environments": ["staging"], "helm": [{"chart": "", "release": "api", "namespace": "shop"}], "rollback": {"revision": 5}}`

// backTask is the task of a rollback: on a commit that is not the newest, with files that nobody may ask for.
func backTask(t *testing.T, spec string) jobs.Task {
	task := task(t, spec)
	task.Run.Asked = &jobs.Asked{By: jobs.Actor{Login: "alice"}, Command: "/rollback staging"}
	task.Source = nil
	task.Newest = func(context.Context) (bool, string, error) {
		t.Error("a rollback asked whether its commit is the newest")
		return false, "main is at bbbb by now", nil
	}
	return task
}

func TestRollbackGoesToEveryCluster(t *testing.T) {
	image := deploy.RunningImage{Image: "r/shop@sha256:1", Digest: "sha256:1"}
	one := &cluster{outcome: deploy.Outcome{Revision: 8, Status: deploy.StatusDeployed, RolledBack: true, RolledBackFrom: 7, RolledBackTo: 5,
		Images: []deploy.RunningImage{image, image}}}
	two := &cluster{outcome: deploy.Outcome{Revision: 9, Status: deploy.StatusDeployed, RolledBack: true, RolledBackFrom: 8, RolledBackTo: 5,
		Images: []deploy.RunningImage{image, {Image: "r/side:1"}}}}
	kind := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": one, "two": two}, Allows: pipeline.Allows})
	task := backTask(t, backSpec)
	task.Grant.Environments[0].Approvals.Count = 1 // taking back waits for nobody
	result, err := kind.Run(t.Context(), task)
	if err != nil || result.Conclusion != jobs.Success {
		t.Fatalf("%+v, %v", result, err)
	}
	want := "staging (one): shop/api went back from revision 7 to 5 (image sha256:1); " +
		"staging (two): shop/api went back from revision 8 to 5 (images sha256:1 and 1 more)"
	if result.Summary != want {
		t.Errorf("summary %q, want %q", result.Summary, want)
	}
	if len(one.got)+len(two.got) != 0 || len(one.back) != 1 || len(two.back) != 1 {
		t.Fatalf("rolled out %d, back %d and %d times", len(one.got)+len(two.got), len(one.back), len(two.back))
	}
	owner := deploy.Owner{Repository: "acme/Shop", RepositoryID: 5, Run: "r-1", Job: "release", Attempt: 1, SHA: task.Run.SHA}
	if got := one.back[0]; got != (deploy.Rollback{Namespace: "shop", Name: "api", Revision: 5, Owner: owner}) {
		t.Errorf("asked for %+v", got)
	}
	if result.Outputs["revision"] != int64(9) || result.Outputs["rolled_back_to"] != int64(5) || result.Outputs["images"] != "r/shop@sha256:1,r/side:1" {
		t.Errorf("outputs %v", result.Outputs)
	}
	for _, want := range []string{
		"| shop/api | staging | one | 7 | 5 | 8 | deployed |", "The next push to main that is rolled out there goes forward again", "- `r/side:1`",
	} {
		if !strings.Contains(result.Details, want) {
			t.Errorf("details lack %q:\n%s", want, result.Details)
		}
	}
}

func TestRollbackOnOneCluster(t *testing.T) {
	for want, outcome := range map[string]deploy.Outcome{
		"staging: shop/api went back from revision 7 to 5": {
			Revision: 8, Status: deploy.StatusDeployed, RolledBackFrom: 7, RolledBackTo: 5},
		"staging: shop/api went back from revision 7 to 5 (image sha256:1)": {
			Revision: 8, Status: deploy.StatusDeployed, RolledBackFrom: 7, RolledBackTo: 5, Adopted: true, Images: []deploy.RunningImage{{Digest: "sha256:1"}}},
		"staging: shop/api went back from revision 7 to 5, and was rolled out again since": {
			Revision: 8, Status: deploy.StatusDeployed, RolledBackFrom: 7, RolledBackTo: 5, Adopted: true, Overtaken: true},
	} {
		task := backTask(t, backSpec)
		task.Grant.Environments[0].Clusters = []string{"one"}
		kind := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": &cluster{outcome: outcome}}, Allows: pipeline.Allows})
		if result, err := kind.Run(t.Context(), task); err != nil || result.Conclusion != jobs.Success || result.Summary != want {
			t.Errorf("%+v, %v, want %q", result, err, want)
		}
	}
}

func TestRollbackStopsAtTheFirstFailure(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	one := &cluster{outcome: deploy.Outcome{Status: deploy.StatusUnchanged, Failure: &deploy.Failure{
		Reason: deploy.ReasonNoRevision, Sentence: "Release api in namespace shop has no revision 5. Revision 1 can be named instead.",
		Revisions: []deploy.Revision{{Number: 2, Deployed: at, Chart: "api-1.1.0", Status: "deployed"},
			{Number: 1, Deployed: at, Chart: "api-1.0.0", AppVersion: "a|b`", Status: "superseded", CanRunAgain: true}},
	}}}
	two := &cluster{}
	result, err := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": one, "two": two}, Allows: pipeline.Allows}).Run(t.Context(), backTask(t, backSpec))
	if err != nil || result.Conclusion != jobs.Failure || len(two.back) != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	if want := "Release api in namespace shop has no revision 5. Revision 1 can be named instead; nothing was changed."; result.Summary != want {
		t.Errorf("summary %q, want %q", result.Summary, want)
	}
	for _, want := range []string{"| shop/api | staging | one |  |  |  | unchanged |", "| 1 | 2026-11-23 09:30 UTC | `api-1.0.0` | `a¦b'` | superseded | yes |"} {
		if !strings.Contains(result.Details, want) {
			t.Errorf("details lack %q:\n%s", want, result.Details)
		}
	}
	if strings.Contains(result.Details, "goes forward") {
		t.Errorf("warns of what did not happen:\n%s", result.Details)
	}
}

func TestRollbackRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spec   string
		change func(*jobs.Task)
		want   string
	}{
		"an environment that is not granted": {strings.Replace(backSpec, "staging", "production", 1), nil, `may not roll out to the environment "production"`},
		"a namespace that is not granted":    {strings.Replace(backSpec, `"shop"`, `"kube-system"`, 1), nil, `may not use the namespace "kube-system"`},
		"an untrusted run":                   {backSpec, func(t *jobs.Task) { t.Run.Trust.Level = jobs.Untrusted }, "untrusted"},
		"an approved stranger's":             {backSpec, func(t *jobs.Task) { t.Run.Trust.Level = jobs.Approved }, "untrusted"},
		"no release":                         {`{"environments": ["staging"], "helm": [{"chart": "", "namespace": "shop"}], "rollback": {}}`, nil, "names no release"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, backTask(t, c.spec), c.change, c.want) })
	}
}

func TestRollbackWaitsForAHeldLease(t *testing.T) {
	now := time.Now()
	held := &cluster{err: &deploy.LeaseHeldError{Lease: "shop/slipway-api", Holder: "r-0", Until: now.Add(3 * time.Second)}}
	_, err := rollout.New(rollout.Options{Clusters: map[string]rollout.Cluster{"one": held, "two": held}, Allows: pipeline.Allows, Now: func() time.Time { return now }}).Run(t.Context(), backTask(t, backSpec))
	var later *jobs.Later
	if !errors.As(err, &later) || later.After != 3*time.Second {
		t.Errorf("got %v, want to wait 3s", err)
	}
}
