package githubtest_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func TestCommentsAndReactions(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	_, err := w.repo.Commit("fix", "Fix", map[string]string{"f": "f"}, w.alice)
	check(t, err)
	p, err := w.repo.OpenPull(githubtest.PullOptions{Head: "fix", User: w.alice})
	check(t, err)
	theirs, err := p.Comment(w.alice, "/build")
	check(t, err)
	w.names()
	mine, _, err := client.Issues.CreateComment(ctx, "acme", "shop", p.Number, &github.IssueComment{Body: github.String("Building")})
	check(t, err)
	if mine.GetUser().GetLogin() != "slipway[bot]" || mine.GetUser().GetType() != "Bot" {
		t.Errorf("the comment is by %v", mine.GetUser())
	}
	_, _, err = client.Issues.EditComment(ctx, "acme", "shop", mine.GetID(), &github.IssueComment{Body: github.String("Built")})
	check(t, err)
	list, _, err := client.Issues.ListComments(ctx, "acme", "shop", p.Number, nil)
	check(t, err)
	if len(list) != 2 || list[1].GetBody() != "Built" {
		t.Errorf("the comments are %v", list)
	}
	got, _, err := client.Issues.GetComment(ctx, "acme", "shop", theirs)
	check(t, err)
	if got.GetBody() != "/build" || got.GetUser().GetID() != w.alice.ID {
		t.Errorf("the comment is %v", got)
	}
	for i, want := range []int{http.StatusCreated, http.StatusOK} {
		_, response, err := client.Reactions.CreateIssueCommentReaction(ctx, "acme", "shop", theirs, "eyes")
		check(t, err)
		if response.StatusCode != want {
			t.Errorf("reaction %d is answered %s", i, response.Status)
		}
	}
	reactions, _, err := client.Reactions.ListIssueCommentReactions(ctx, "acme", "shop", theirs, nil)
	check(t, err)
	if len(reactions) != 1 || len(p.Comments()[0].Reactions["eyes"]) != 1 {
		t.Errorf("the reactions are %v", reactions)
	}
	_, err = client.Reactions.DeleteIssueCommentReaction(ctx, "acme", "shop", theirs, reactions[0].GetID())
	check(t, err)
	_, _, err = client.Issues.CreateComment(ctx, "acme", "shop", p.Number, &github.IssueComment{Body: github.String(strings.Repeat("ä", 65536))})
	check(t, err)
	_, _, err = client.Issues.CreateComment(ctx, "acme", "shop", p.Number, &github.IssueComment{Body: github.String(strings.Repeat("ä", 65537))})
	refused(t, err, http.StatusUnprocessableEntity, "Body is too long (maximum is 65536 characters)")
	_, err = client.Issues.DeleteComment(ctx, "acme", "shop", mine.GetID())
	check(t, err)
	issue, _, err := client.Issues.Get(ctx, "acme", "shop", p.Number)
	check(t, err)
	if !issue.IsPullRequest() || issue.GetComments() != 2 {
		t.Errorf("the issue is %v", issue)
	}
	wantNames(t, w.names(), "issue_comment.created", "issue_comment.edited", "issue_comment.created", "issue_comment.deleted")
}

func TestDeployments(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	none := []string{}
	request := func(change func(*github.DeploymentRequest)) *github.DeploymentRequest {
		r := &github.DeploymentRequest{Ref: github.String(w.first), Environment: github.String("staging"), AutoMerge: github.Bool(false), RequiredContexts: &none}
		change(r)
		return r
	}
	deploy := func() *github.Deployment {
		t.Helper()
		d, _, err := client.Repositories.CreateDeployment(ctx, "acme", "shop", request(func(*github.DeploymentRequest) {}))
		check(t, err)
		for _, state := range []string{"in_progress", "success"} {
			_, _, err = client.Repositories.CreateDeploymentStatus(ctx, "acme", "shop", d.GetID(), &github.DeploymentStatusRequest{State: github.String(state), LogURL: github.String("https://example.com/log")})
			check(t, err)
		}
		return d
	}
	first, second := deploy(), deploy()
	statuses, _, err := client.Repositories.ListDeploymentStatuses(ctx, "acme", "shop", first.GetID(), nil)
	check(t, err)
	if len(statuses) != 3 || statuses[0].GetState() != "inactive" {
		t.Errorf("the older deployment has %v", statuses)
	}
	list, _, err := client.Repositories.ListDeployments(ctx, "acme", "shop", &github.DeploymentsListOptions{Environment: "staging"})
	check(t, err)
	if len(list) != 2 || list[0].GetID() != second.GetID() {
		t.Errorf("the deployments are %v", list)
	}
	got, _, err := client.Repositories.GetDeployment(ctx, "acme", "shop", first.GetID())
	check(t, err)
	if got.GetSHA() != w.first || w.repo.Deployments()[1].Statuses[1].State != "success" {
		t.Errorf("the deployment is %v", got)
	}
	_, err = client.Repositories.DeleteDeployment(ctx, "acme", "shop", second.GetID())
	refused(t, err, http.StatusUnprocessableEntity, "cannot delete an active deployment")
	_, err = client.Repositories.DeleteDeployment(ctx, "acme", "shop", first.GetID())
	check(t, err)
	_, _, err = client.Repositories.CreateDeploymentStatus(ctx, "acme", "shop", second.GetID(), &github.DeploymentStatusRequest{State: github.String("failure"), Description: github.String(strings.Repeat("x", 141))})
	refused(t, err, http.StatusUnprocessableEntity, "too long")
	wantNames(t, w.names(), "deployment.created", "deployment_status.created", "deployment_status.created", "deployment.created", "deployment_status.created", "deployment_status.created")

	// The defaults bite: every status must be green, and the branch is brought up to date first.
	_, _, err = client.Checks.CreateCheckRun(ctx, "acme", "shop", github.CreateCheckRunOptions{Name: "slipway", HeadSHA: w.first, Status: github.String("in_progress")})
	check(t, err)
	_, _, err = client.Repositories.CreateDeployment(ctx, "acme", "shop", request(func(r *github.DeploymentRequest) { r.RequiredContexts = nil }))
	refused(t, err, http.StatusConflict, "Commit status checks failed")
	_, err = w.repo.Commit("topic", "Topic", map[string]string{"t": "t"}, w.alice)
	check(t, err)
	_, err = w.repo.Commit("main", "Ahead", map[string]string{"a": "a"}, w.alice)
	check(t, err)
	_, _, err = client.Repositories.CreateDeployment(ctx, "acme", "shop", request(func(r *github.DeploymentRequest) { r.Ref, r.AutoMerge = github.String("topic"), nil }))
	if !errors.As(err, new(*github.AcceptedError)) {
		t.Errorf("deploying a branch that is behind gives %v", err)
	}
	_, _, err = client.Repositories.CreateDeployment(ctx, "acme", "shop", request(func(r *github.DeploymentRequest) { r.Ref = github.String("nothing") }))
	refused(t, err, http.StatusUnprocessableEntity, "No ref found for: nothing")
}

func TestCommitStatuses(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	w.repo.SetStatus(w.first, "CI / test", "pending", "running", w.alice)
	w.repo.SetStatus(w.first, "CI / test", "success", "passed", w.alice)
	_, _, err := client.Repositories.CreateStatus(ctx, "acme", "shop", w.first, &github.RepoStatus{State: github.String("failure"), Context: github.String("lint")})
	check(t, err)
	all, _, err := client.Repositories.ListStatuses(ctx, "acme", "shop", "main", nil)
	check(t, err)
	combined, _, err := client.Repositories.GetCombinedStatus(ctx, "acme", "shop", "main", nil)
	check(t, err)
	if len(all) != 3 || combined.GetState() != "failure" || len(combined.Statuses) != 2 {
		t.Errorf("statuses are %v, combined %v", all, combined)
	}
	wantNames(t, w.names(), "status", "status", "status")
}
