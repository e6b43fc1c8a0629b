package githubtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-github/v50/github"
)

// deploy makes a deployment of ref with what change leaves of the usual request.
func (w *world) deploy(ref string, change func(*github.DeploymentRequest)) (*github.Deployment, error) {
	w.t.Helper()
	request := &github.DeploymentRequest{Ref: github.String(ref), Environment: github.String("staging"), AutoMerge: github.Bool(false), RequiredContexts: &[]string{}}
	if change != nil {
		change(request)
	}
	d, _, err := w.client().Repositories.CreateDeployment(w.t.Context(), "acme", "shop", request)
	return d, err
}

func (w *world) deployStatus(d *github.Deployment, request github.DeploymentStatusRequest) {
	w.t.Helper()
	_, _, err := w.client().Repositories.CreateDeploymentStatus(w.t.Context(), "acme", "shop", d.GetID(), &request)
	check(w.t, err)
}

// Left alone, GitHub merges the default branch into the one to be deployed, or refuses when it can't.
func TestDeploymentAutoMerge(t *testing.T) {
	w := newWorld(t)
	topic, err := w.repo.Commit("topic", "Topic", map[string]string{"topic": "1", "clash": "mine"}, w.alice)
	check(t, err)
	ahead, err := w.repo.Commit("main", "Ahead", map[string]string{"ahead": "1"}, w.alice)
	check(t, err)
	w.names()
	merging := func(r *github.DeploymentRequest) { r.AutoMerge = nil }
	if _, err := w.deploy("topic", merging); err == nil || !strings.Contains(err.Error(), "GitHub side") {
		t.Errorf("deploying a branch that is behind gives %v", err)
	}
	wantNames(t, w.names(), "push", "check_suite.requested")
	merged, _, err := w.client().Repositories.GetCommit(t.Context(), "acme", "shop", "topic", nil)
	check(t, err)
	if len(merged.Parents) != 2 || merged.Parents[0].GetSHA() != topic || merged.Parents[1].GetSHA() != ahead || len(w.repo.Deployments()) != 0 {
		t.Errorf("topic is at %v; deployments: %v", merged, w.repo.Deployments())
	}
	_, err = w.deploy("topic", merging)
	check(t, err)
	_, err = w.repo.Commit("main", "Clash", map[string]string{"clash": "theirs"}, w.alice)
	check(t, err)
	_, err = w.deploy("topic", merging)
	refused(t, err, http.StatusConflict, "Conflict merging main into topic")
}

func TestRequiredContexts(t *testing.T) {
	w := newWorld(t)
	w.repo.SetStatus(w.first, "CI", "pending", "", w.alice)
	w.repo.SetStatus(w.first, "lint", "success", "", w.alice)
	all := func(r *github.DeploymentRequest) { r.RequiredContexts = nil }
	_, err := w.deploy("main", all)
	refused(t, err, http.StatusConflict, "Commit status checks failed")
	_, err = w.deploy("main", func(r *github.DeploymentRequest) { r.RequiredContexts = &[]string{"lint"} })
	check(t, err)
	_, err = w.deploy("main", func(r *github.DeploymentRequest) { r.RequiredContexts = &[]string{"nobody"} })
	refused(t, err, http.StatusConflict, "Commit status checks failed")
	w.repo.SetStatus(w.first, "CI", "success", "", w.alice)
	_, err = w.deploy("main", all)
	check(t, err)
}

func TestDeploymentStatuses(t *testing.T) {
	w := newWorld(t)
	success := github.DeploymentStatusRequest{State: github.String("success"), Description: github.String(strings.Repeat("ä", 140)), LogURL: github.String("https://slipway.example.com/runs/1"),
		EnvironmentURL: github.String("https://staging.example.com")}
	first, err := w.deploy("main", nil)
	check(t, err)
	w.deployStatus(first, success)
	hooks := w.waitHooks()
	wantNames(t, w.names(), "deployment.created", "deployment_status.created")
	for name, want := range map[string]string{"state": "success", "log_url": "https://slipway.example.com/runs/1", "target_url": "https://slipway.example.com/runs/1", "environment_url": "https://staging.example.com"} {
		if got := field[string](t, hooks[1].body, "deployment_status", name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if field[string](t, hooks[1].body, "sender", "login") != "slipway[bot]" {
		t.Errorf("the status says %s", hooks[1].body)
	}
	// What replaces an earlier deployment makes it inactive, without an event; not so transient or production ones.
	kept := map[string]func(*github.DeploymentRequest){
		"production": func(r *github.DeploymentRequest) { r.ProductionEnvironment = github.Bool(true) },
		"transient":  func(r *github.DeploymentRequest) { r.TransientEnvironment = github.Bool(true) },
		"elsewhere":  func(r *github.DeploymentRequest) { r.Environment = github.String("review") },
	}
	for _, change := range kept {
		d, err := w.deploy("main", change)
		check(t, err)
		quiet := success
		quiet.AutoInactive = github.Bool(false)
		w.deployStatus(d, quiet)
	}
	w.names()
	last, err := w.deploy("main", nil)
	check(t, err)
	w.deployStatus(last, success)
	wantNames(t, w.names(), "deployment.created", "deployment_status.created")
	for _, d := range w.repo.Deployments() {
		want := "success"
		if d.ID == first.GetID() {
			want = "inactive"
		}
		if got := d.Statuses[len(d.Statuses)-1].State; got != want {
			t.Errorf("the deployment %+v is %s, want %s", d, got, want)
		}
	}
	w.deployStatus(last, github.DeploymentStatusRequest{State: github.String("inactive")})
	wantNames(t, w.names())
	w.deployStatus(last, github.DeploymentStatusRequest{State: github.String("in_progress"), Environment: github.String("production")})
	got, _, err := w.client().Repositories.GetDeployment(t.Context(), "acme", "shop", last.GetID())
	check(t, err)
	if got.GetEnvironment() != "production" {
		t.Errorf("after its status the deployment is %v", got)
	}
}
