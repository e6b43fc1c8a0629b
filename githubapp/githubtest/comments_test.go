package githubtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// Who may write edits and deletes other people's comments; the event tells the two people apart.
func TestCommentsOfOthers(t *testing.T) {
	w := newWorld(t)
	bob, _, p := w.offer()
	mallory := w.CreateUser("mallory")
	id, err := p.Comment(bob, "/deploy staging")
	check(t, err)
	for name, err := range map[string]error{"edited": p.EditComment(id, mallory, "/deploy production"), "deleted": p.DeleteComment(id, mallory), "deleted nothing": p.DeleteComment(1, w.alice)} {
		if err == nil {
			t.Errorf("a stranger %s", name)
		}
	}
	check(t, p.EditComment(id, w.alice, "/deploy production"))
	check(t, p.DeleteComment(id, w.alice))
	hooks := w.waitHooks()
	wantNames(t, w.names(), "issue_comment.created", "issue_comment.edited", "issue_comment.deleted")
	for i, sender := range []string{"bob", "alice", "alice"} {
		if field[string](t, hooks[i].body, "sender", "login") != sender || field[string](t, hooks[i].body, "comment", "user", "login") != "bob" {
			t.Errorf("event %d says %s", i, hooks[i].body)
		}
	}
	if field[string](t, hooks[1].body, "changes", "body", "from") != "/deploy staging" || len(p.Comments()) != 0 {
		t.Errorf("the edit says %s", hooks[1].body)
	}
}

// An App's own comments come back to it, sent by its bot and marked as its own.
func TestCommentsByBots(t *testing.T) {
	w := newWorld(t)
	_, _, p := w.offer()
	_, err := p.Comment(w.CreateUser("dependabot[bot]"), "/build")
	check(t, err)
	_, _, err = w.client().Issues.CreateComment(t.Context(), "acme", "shop", p.Number, &github.IssueComment{Body: github.String("Building")})
	check(t, err)
	own, err := p.Comment(w.app.Bot, "Built")
	check(t, err)
	hooks := w.waitHooks()
	for i, want := range []struct{ login, app string }{{"dependabot[bot]", ""}, {"slipway[bot]", "slipway"}, {"slipway[bot]", "slipway"}} {
		body := hooks[i].body
		if field[string](t, body, "sender", "login") != want.login || field[string](t, body, "sender", "type") != "Bot" || field[string](t, body, "comment", "performed_via_github_app", "slug") != want.app {
			t.Errorf("comment %d says %s", i, body)
		}
	}
	check(t, p.EditComment(own, w.alice, "Built, honestly"))
	shown := p.Comments()
	if len(shown) != 3 || shown[0].App != nil || shown[2].App != w.app || shown[2].Body != "Built, honestly" {
		t.Errorf("the comments are %+v", shown)
	}
}

func TestCommentTimes(t *testing.T) {
	w := newWorld(t)
	_, _, p := w.offer()
	w.clock.advance(time.Hour)
	now := w.clock.Now().UTC().Truncate(time.Second)
	_, err := p.Comment(w.alice, "now")
	check(t, err)
	_, err = p.CommentAt(w.alice, "then", now.Add(-20*time.Minute))
	check(t, err)
	_, err = w.repo.CommentOnCommitAt(w.first, w.alice, "then", now.Add(-20*time.Minute))
	check(t, err)
	for i, want := range []time.Time{now, now.Add(-20 * time.Minute), now.Add(-20 * time.Minute)} {
		if got := field[string](t, w.waitHooks()[i].body, "comment", "created_at"); got != want.Format(time.RFC3339) {
			t.Errorf("comment %d was written at %s, want %s", i, got, want)
		}
	}
	for _, body := range []string{"", strings.Repeat("ä", 65537)} {
		_, err := p.Comment(w.alice, body)
		_, inIssue := w.repo.CommentOnCommit(w.first, w.alice, body)
		if err == nil || inIssue == nil {
			t.Errorf("commented with %d bytes", len(body))
		}
	}
}

func TestIssueComments(t *testing.T) {
	w := newWorld(t)
	issue, err := w.repo.OpenIssue(w.alice, "It leaks", "Badly")
	check(t, err)
	_, _, p := w.offer()
	if issue.Number == p.Number {
		t.Fatal("an issue and a pull request share a number")
	}
	_, err = issue.Comment(w.alice, "/build")
	check(t, err)
	hooks := w.waitHooks()
	if field[any](t, hooks[0].body, "issue", "pull_request") != nil || field[float64](t, hooks[0].body, "issue", "number") != float64(issue.Number) ||
		!strings.Contains(field[string](t, hooks[0].body, "comment", "html_url"), "/issues/") {
		t.Errorf("the comment says %s", hooks[0].body)
	}
	_, _, err = w.client().Issues.CreateComment(t.Context(), "acme", "shop", issue.Number, &github.IssueComment{Body: github.String("Not here")})
	check(t, err)
	got, _, err := w.client().Issues.Get(t.Context(), "acme", "shop", issue.Number)
	check(t, err)
	if got.IsPullRequest() || got.GetComments() != 2 || len(issue.Comments()) != 2 {
		t.Errorf("the issue is %v", got)
	}
	_, _, err = w.client().Issues.CreateComment(t.Context(), "acme", "shop", 99, &github.IssueComment{Body: github.String("Nowhere")})
	refused(t, err, http.StatusNotFound, "Not Found")
}

func TestCommitComments(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	id, err := w.repo.CommentOnCommit(w.first, w.alice, "/build")
	check(t, err)
	mine, _, err := client.Repositories.CreateComment(ctx, "acme", "shop", w.first, &github.RepositoryComment{Body: github.String("Building")})
	check(t, err)
	hooks := w.waitHooks()
	wantNames(t, w.names(), "commit_comment.created", "commit_comment.created")
	if field[string](t, hooks[0].body, "comment", "commit_id") != w.first || field[string](t, hooks[0].body, "sender", "login") != "alice" || field[string](t, hooks[1].body, "sender", "login") != "slipway[bot]" {
		t.Errorf("the comments say %s, %s", hooks[0].body, hooks[1].body)
	}
	if _, err := w.repo.CommentOnCommit("0123456789012345678901234567890123456789", w.alice, "where?"); err == nil {
		t.Error("commented on a commit that doesn't exist")
	}
	_, _, err = client.Repositories.CreateComment(ctx, "acme", "shop", "0123456789012345678901234567890123456789", &github.RepositoryComment{Body: github.String("where?")})
	refused(t, err, http.StatusUnprocessableEntity, "No commit found for SHA")
	_, _, err = client.Repositories.CreateComment(ctx, "acme", "shop", w.first, &github.RepositoryComment{Body: github.String(strings.Repeat("x", 65537))})
	refused(t, err, http.StatusUnprocessableEntity, "Body is too long")

	// Writing a comment takes read access to the contents, everything else write access.
	_, _, err = client.Repositories.UpdateComment(ctx, "acme", "shop", mine.GetID(), &github.RepositoryComment{Body: github.String("Built")})
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
	_, _, err = client.Reactions.CreateCommentReaction(ctx, "acme", "shop", id, "eyes")
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
	writer, err := w.CreateApp(githubtest.AppOptions{Slug: "writer", Permissions: map[string]string{"metadata": "read", "contents": "write"}})
	check(t, err)
	client = w.tokenClient(writer.Install("acme").Token())
	_, _, err = client.Repositories.UpdateComment(ctx, "acme", "shop", mine.GetID(), &github.RepositoryComment{Body: github.String("Built")})
	check(t, err)
	for i, want := range []int{http.StatusCreated, http.StatusOK} {
		_, response, err := client.Reactions.CreateCommentReaction(ctx, "acme", "shop", id, "eyes")
		check(t, err)
		if response.StatusCode != want {
			t.Errorf("reaction %d is answered %s", i, response.Status)
		}
	}
	list, _, err := client.Repositories.ListCommitComments(ctx, "acme", "shop", w.first, nil)
	check(t, err)
	shown := w.repo.CommitComments(w.first)
	if len(list) != 2 || list[1].GetBody() != "Built" || len(shown) != 2 || shown[0].Reactions["eyes"][0] != "writer[bot]" {
		t.Errorf("the comments are %v, %+v", list, shown)
	}
}
