package githubapp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	// maxComment is GitHub's limit on a comment's text in characters, counted in bytes here, which is never less.
	maxComment = 65_536
	// maxCommentPages bounds the search for a comment of ours, at 100 comments a page.
	maxCommentPages = 20
)

// A thread is where comments are written: on a pull request, or with number 0 on a commit.
type thread struct {
	installation int64
	repo         jobs.Repository
	number       int
	sha          string
}

func (t thread) path() string {
	if t.number == 0 {
		return fmt.Sprintf("repos/%s/%s/commits/%s/comments", t.repo.Owner, t.repo.Name, t.sha)
	}
	return fmt.Sprintf("repos/%s/%s/issues/%d/comments", t.repo.Owner, t.repo.Name, t.number)
}

// operation is GitHub's name of what is done to comments, which differs for commits.
func (t thread) operation(ctx context.Context, verb string) context.Context {
	switch {
	case t.number != 0:
		return operation(ctx, map[string]string{"create": "issues/create-comment", "update": "issues/update-comment", "list": "issues/list-comments"}[verb])
	case verb == "list":
		return operation(ctx, "repos/list-comments-for-commit")
	}
	return operation(ctx, "repos/"+verb+"-commit-comment")
}

// A comment as GitHub shows it. go-github's type lacks the App.
type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	User struct {
		Login string `json:"login"`
		Type  string `json:"type"`
	} `json:"user"`
	Via *struct {
		ID int64 `json:"id"`
	} `json:"performed_via_github_app"`
}

// marker is the last line of a comment of ours, by which it is found again. GitHub does not show it.
func marker(what, key string) string { return fmt.Sprintf("<!-- slipway:%s %s -->", what, key) }

// signed is the body of a comment: the text, made safe and cut to GitHub's limit, and the marker. What the text holds can't
// pass for a marker, since that counts only at the very end.
func signed(text, marker string) string {
	const cut = "_The rest is cut: GitHub shows no more than 65,536 characters._"
	return strings.TrimRight(cutMarkdown(defang(text), maxComment-len(marker)-2, cut), "\n") + "\n\n" + marker
}

// isSigned reports whether a body ends in the marker.
func isSigned(body, marker string) bool {
	return strings.HasSuffix(strings.TrimRight(body, " \t\r\n"), marker)
}

// sendComment creates a comment, or changes the one with an ID other than 0, and returns its ID.
func (a *App) sendComment(ctx context.Context, t thread, id int64, body string) (int64, error) {
	attempt := "comment on " + t.repo.FullName()
	c, err := a.client(t.installation, t.repo)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", attempt, err)
	}
	verb, method, path := "create", http.MethodPost, t.path()
	if id != 0 { // only comments on pull requests are changed
		verb, method, path = "update", http.MethodPatch, fmt.Sprintf("repos/%s/%s/issues/comments/%d", t.repo.Owner, t.repo.Name, id)
	}
	req, err := c.NewRequest(method, path, map[string]string{"body": body})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", attempt, err)
	}
	var answer comment
	if _, err := c.Do(t.operation(ctx, verb), req, &answer); err != nil {
		err = explain(ctx, attempt, err)
		if status(err) == http.StatusNotFound {
			if gone := a.reachable(ctx, c, t.repo); gone != nil {
				return 0, wrap(attempt, gone)
			}
		}
		return 0, err
	}
	if answer.ID == 0 {
		return 0, fmt.Errorf("%s: GitHub's answer names no comment", attempt)
	}
	return answer.ID, nil
}

// errTooManyComments means that a comment of ours may lie beyond those that are looked at. One more could be the second.
var errTooManyComments = &jobs.Unreportable{
	Reason: fmt.Sprintf("more than %d comments are there, so that it can't be told whether it was written already", maxCommentPages*perPage),
}

// findComment looks for a comment of ours by its marker, among those changed since a time by GitHub's clock. It returns 0 when
// there is none, and errTooManyComments when it did not see all. A comment of anyone else is never taken for ours.
func (a *App) findComment(ctx context.Context, t thread, marker string, since time.Time) (int64, error) {
	attempt := "look for our comment on " + t.repo.FullName()
	c, err := a.client(t.installation, t.repo)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", attempt, err)
	}
	query := url.Values{"per_page": {fmt.Sprint(perPage)}}
	if t.number != 0 && !since.IsZero() { // comments on commits can't be asked for by time
		query.Set("since", since.UTC().Format(time.RFC3339))
	}
	for page := 1; page <= maxCommentPages; {
		query.Set("page", fmt.Sprint(page))
		req, err := c.NewRequest(http.MethodGet, t.path()+"?"+query.Encode(), nil)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", attempt, err)
		}
		var list []comment
		resp, err := c.Do(t.operation(ctx, "list"), req, &list)
		if err != nil {
			return 0, explain(ctx, attempt, err)
		}
		for _, found := range list {
			if !isSigned(found.Body, marker) {
				continue
			}
			ours, err := a.wrote(ctx, found)
			if err != nil {
				return 0, err
			}
			if ours {
				return found.ID, nil
			}
		}
		if resp.NextPage <= page {
			return 0, nil
		}
		page = resp.NextPage
	}
	return 0, fmt.Errorf("%s: %w", attempt, errTooManyComments)
}

// wrote reports whether our App's own bot wrote a comment. People may write through an App, too, so that alone says nothing.
func (a *App) wrote(ctx context.Context, c comment) (bool, error) {
	if c.User.Type != "Bot" {
		return false, nil
	}
	if c.Via != nil {
		return c.Via.ID == a.id, nil
	}
	login, err := a.BotLogin(ctx) // comments on commits don't name the App
	return login == c.User.Login, err
}

// BotLogin is the login of our App's bot, such as slipway[bot]. GitHub is asked once, however many want to know.
func (a *App) BotLogin(ctx context.Context) (string, error) {
	if login := a.login.Load(); login != nil {
		return *login, nil
	}
	select {
	case a.naming <- struct{}{}:
		defer func() { <-a.naming }()
	case <-ctx.Done():
		return "", explain(ctx, "ask for our own name", ctx.Err())
	}
	if login := a.login.Load(); login != nil {
		return *login, nil
	}
	self, _, err := a.asApp.Apps.Get(operation(ctx, "apps/get-authenticated"), "")
	if err != nil {
		return "", explain(ctx, "ask for our own name", err)
	}
	if self.GetSlug() == "" {
		return "", fmt.Errorf("ask for our own name: GitHub's answer names none")
	}
	login := self.GetSlug() + "[bot]"
	a.login.Store(&login)
	return login, nil
}
