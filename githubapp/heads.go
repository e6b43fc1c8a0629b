package githubapp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

// What is read of one repository at most. What lies beyond is left to webhooks and the delivery log.
const (
	maxOpenPulls    = 3_000
	maxTags         = 10_000
	maxRepositories = 100_000 // of an installation
	maxInstalled    = 10_000  // installations
)

// Heads reads what refs are at now. It speaks as whole installations, with tokens that read and can do nothing else: one token
// for all repositories of an installation costs less than one for each.
type Heads struct{ app *App }

var (
	_ jobs.Heads         = Heads{}
	_ jobs.Installations = Heads{}
)

// Heads returns what reads refs as the App.
func (a *App) Heads() Heads { return Heads{a} }

// Installations lists where the App is installed, without those that are suspended.
func (h Heads) Installations(ctx context.Context) ([]jobs.Installation, error) {
	var list []jobs.Installation
	page := github.ListOptions{PerPage: perPage, Page: 1}
	for {
		some, resp, err := h.app.asApp.Apps.ListInstallations(asking(ctx, priorityAside, "apps/list-installations"), &page)
		if err != nil {
			return nil, explain(ctx, "list the App's installations", err)
		}
		for _, i := range some {
			if i.GetSuspendedAt().IsZero() {
				list = append(list, jobs.Installation{ID: i.GetID(), Created: i.GetCreatedAt().Time})
			}
		}
		if resp.NextPage <= page.Page || len(list) >= maxInstalled {
			return list, nil
		}
		page.Page = resp.NextPage
	}
}

// Repositories calls each for every repository that the installation reaches, until each errs.
func (h Heads) Repositories(ctx context.Context, installation int64, each func(jobs.Repository) error) error {
	attempt := fmt.Sprintf("list the repositories of installation %d", installation)
	c, err := h.app.reader(installation)
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	page := github.ListOptions{PerPage: perPage, Page: 1}
	for {
		some, resp, err := c.Apps.ListRepos(asking(ctx, priorityAside, "apps/list-repos-accessible-to-installation"), &page)
		if err != nil {
			return explain(ctx, attempt, err)
		}
		for _, r := range some.Repositories {
			if !validName(r.GetOwner().GetLogin()) || !validName(r.GetName()) || r.GetID() <= 0 {
				continue
			}
			if err := each(repository(r)); err != nil {
				return err
			}
		}
		if resp.NextPage <= page.Page || resp.NextPage > maxRepositories/perPage {
			return nil
		}
		page.Page = resp.NextPage
	}
}

// Heads returns what the repository's default branch, its open pull requests and its tags are at, tags by the commit they come
// to in the end. That costs a call each for a usual repository.
func (h Heads) Heads(ctx context.Context, installation int64, repo jobs.Repository) ([]jobs.Head, error) {
	attempt := "read the heads of " + repo.FullName()
	c, err := h.app.reader(installation)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attempt, err)
	}
	if !validName(repo.Owner) || !validName(repo.Name) {
		return nil, fmt.Errorf("%s: that is not the name of a repository", attempt)
	}
	var heads []jobs.Head
	add := func(head jobs.Head) {
		if head.Installation, head.Repository = installation, repo; ValidSHA(head.SHA) {
			heads = append(heads, head)
		}
	}
	branch := "refs/heads/" + repo.DefaultBranch
	got, _, err := c.Git.GetRef(asking(ctx, priorityAside, "git/get-ref"), repo.Owner, repo.Name, branch)
	switch err = explain(ctx, attempt, err); {
	case status(err) == http.StatusNotFound, status(err) == http.StatusConflict: // an empty repository
		return nil, nil
	case err != nil:
		return nil, err
	case got.GetRef() == branch:
		add(jobs.Head{Ref: branch, SHA: got.GetObject().GetSHA()})
	}
	pulls := &github.PullRequestListOptions{State: "open", Sort: "updated", Direction: "desc", ListOptions: github.ListOptions{PerPage: perPage, Page: 1}}
	for pulls.Page > 0 && pulls.Page <= maxOpenPulls/perPage {
		some, resp, err := c.PullRequests.List(asking(ctx, priorityAside, "pulls/list"), repo.Owner, repo.Name, pulls)
		if err != nil {
			return nil, gone(explain(ctx, attempt, err), "", repo)
		}
		for _, pr := range some {
			if base := pr.GetBase().GetRepo().GetID(); base != repo.ID {
				return nil, wrap(attempt, renamed(repo, base))
			}
			add(jobs.Head{Ref: jobs.PullRef(pr.GetNumber()), SHA: pr.GetHead().GetSHA(), Number: pr.GetNumber(), Updated: pr.GetUpdatedAt().Time})
		}
		pulls.Page = resp.NextPage
	}
	tags := &github.ListOptions{PerPage: perPage, Page: 1}
	for tags.Page > 0 && tags.Page <= maxTags/perPage {
		some, resp, err := c.Repositories.ListTags(asking(ctx, priorityAside, "repos/list-tags"), repo.Owner, repo.Name, tags)
		if err != nil {
			return nil, gone(explain(ctx, attempt, err), "", repo)
		}
		for _, tag := range some {
			add(jobs.Head{Ref: "refs/tags/" + tag.GetName(), SHA: tag.GetCommit().GetSHA()})
		}
		tags.Page = resp.NextPage
	}
	return heads, nil
}

// Delivery makes what GitHub would have sent about a head: a push, or a pull request's event with the given action. It holds
// what the API says. Who pushed it does not say: the repository's owner stands for them, and a pull request's author for
// whoever moved it.
func (h Heads) Delivery(ctx context.Context, head jobs.Head, action string) (jobs.Delivery, error) {
	repo := head.Repository
	attempt := fmt.Sprintf("describe %s of %s", head.Ref, repo.FullName())
	c, err := h.app.reader(head.Installation)
	if err != nil {
		return jobs.Delivery{}, fmt.Errorf("%s: %w", attempt, err)
	}
	full, _, err := c.Repositories.Get(asking(ctx, priorityAside, "repos/get"), repo.Owner, repo.Name)
	if err != nil {
		return jobs.Delivery{}, gone(explain(ctx, attempt, err), "", repo)
	}
	if full.GetID() != repo.ID {
		return jobs.Delivery{}, wrap(attempt, renamed(repo, full.GetID()))
	}
	payload := map[string]any{
		"repository": repositoryPayload(full), "installation": map[string]any{"id": head.Installation}, "sender": account(full.GetOwner()),
	}
	d := jobs.Delivery{GUID: head.GUID(), Event: "push", TargetID: h.app.id, Received: h.app.now().UTC()}
	if head.Number > 0 {
		d.Event = "pull_request"
		pr, _, err := c.PullRequests.Get(asking(ctx, priorityAside, "pulls/get"), repo.Owner, repo.Name, head.Number)
		if err != nil {
			return jobs.Delivery{}, gone(explain(ctx, attempt, err), fmt.Sprintf("pull request #%d", head.Number), repo)
		}
		if pr.GetState() != "open" || pr.GetHead().GetSHA() != head.SHA {
			return jobs.Delivery{}, &jobs.Gone{Reason: "the pull request has moved on"}
		}
		payload["action"], payload["number"] = action, pr.GetNumber()
		payload["pull_request"], payload["sender"] = pullPayload(pr), account(pr.GetUser())
	} else {
		commit, _, err := c.Git.GetCommit(asking(ctx, priorityAside, "git/get-commit"), repo.Owner, repo.Name, head.SHA)
		if err != nil {
			return jobs.Delivery{}, gone(explain(ctx, attempt, err), "commit "+jobs.Abbreviate(head.SHA), repo)
		}
		payload["ref"], payload["before"], payload["after"] = head.Ref, zeros(head.SHA), head.SHA
		payload["created"], payload["deleted"], payload["forced"] = true, false, false
		payload["base_ref"], payload["commits"] = nil, []any{}
		payload["pusher"] = map[string]any{"name": full.GetOwner().GetLogin()}
		payload["head_commit"] = map[string]any{
			"id": head.SHA, "message": commit.GetMessage(), "timestamp": commit.GetCommitter().GetDate().Format(time.RFC3339),
		}
	}
	if d.Body, err = json.Marshal(payload); err != nil {
		return jobs.Delivery{}, fmt.Errorf("%s: %w", attempt, err)
	}
	return d, nil
}

func zeros(sha string) string { return fmt.Sprintf("%0*d", len(sha), 0) }

// The payloads below are GitHub's, without what nobody here looks at.

func account(u *github.User) map[string]any {
	return map[string]any{"id": u.GetID(), "login": u.GetLogin(), "type": u.GetType()}
}

func repositoryPayload(r *github.Repository) map[string]any {
	return map[string]any{
		"id": r.GetID(), "name": r.GetName(), "full_name": r.GetFullName(), "owner": account(r.GetOwner()), "private": r.GetPrivate(),
		"archived": r.GetArchived(), "default_branch": r.GetDefaultBranch(), "html_url": r.GetHTMLURL(), "fork": r.GetFork(),
	}
}

func pullPayload(pr *github.PullRequest) map[string]any {
	branch := func(b *github.PullRequestBranch) map[string]any {
		side := map[string]any{"ref": b.GetRef(), "sha": b.GetSHA(), "label": b.GetLabel(), "repo": nil}
		if b.GetRepo() != nil {
			side["repo"] = repositoryPayload(b.GetRepo())
		}
		return side
	}
	labels := []any{}
	for _, l := range pr.Labels {
		labels = append(labels, map[string]any{"id": l.GetID(), "name": l.GetName()})
	}
	return map[string]any{
		"id": pr.GetID(), "number": pr.GetNumber(), "title": pr.GetTitle(), "state": pr.GetState(), "draft": pr.GetDraft(), "merged": pr.GetMerged(),
		"merge_commit_sha": nil, "user": account(pr.GetUser()), "head": branch(pr.GetHead()), "base": branch(pr.GetBase()), "labels": labels,
		"html_url": pr.GetHTMLURL(), "created_at": pr.GetCreatedAt().Time, "updated_at": pr.GetUpdatedAt().Time,
	}
}

// reader returns a client that reads all repositories of an installation. It passes the installation's budget.
func (a *App) reader(installation int64) (*client, error) {
	if installation <= 0 {
		return nil, fmt.Errorf("installation %d: not an ID of GitHub's", installation)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := clientKey{installation: installation}
	if c, ok := a.clients.Get(key); ok {
		a.budgets.Get(installation) // in use
		return c, nil
	}
	c := a.speaker(installation, func(ctx context.Context) (string, time.Time, error) {
		token, expires, err := a.requestToken(ctx, installation, tokenRequest{
			Permissions: map[string]string{"metadata": "read", "contents": "read", "pull_requests": "read"},
		})
		if status(err) == http.StatusNotFound {
			err = removed(installation)
		}
		return token, expires, err
	})
	a.clients.Add(key, c)
	return c, nil
}
