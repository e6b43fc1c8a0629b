package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

// Limits of GitHub's lists of changed files ("List pull requests files", "Compare two commits").
const (
	maxPullFiles    = 3000
	maxCompareFiles = 300
	perPage         = 100
)

// PullRequest returns a pull request as it is now, with its head commit's message.
func (a *App) PullRequest(ctx context.Context, installation int64, repo jobs.Repository, number int) (jobs.PullRequest, error) {
	attempt := fmt.Sprintf("read pull request %s#%d", repo.FullName(), number)
	c, err := a.client(installation, repo)
	if err != nil {
		return jobs.PullRequest{}, fmt.Errorf("%s: %w", attempt, err)
	}
	pr, _, err := c.PullRequests.Get(operation(ctx, "pulls/get"), repo.Owner, repo.Name, number)
	if err != nil {
		return jobs.PullRequest{}, gone(explain(ctx, attempt, err), fmt.Sprintf("pull request #%d", number), repo)
	}
	// The name may belong to another repository by now.
	if base := pr.GetBase().GetRepo().GetID(); base != repo.ID {
		return jobs.PullRequest{}, wrap(attempt, renamed(repo, base))
	}
	// A public repository can be read at its new owner's, too, by a redirect; what we may do for it ended.
	if owner := pr.GetBase().GetRepo().GetOwner().GetLogin(); owner != "" && !strings.EqualFold(owner, repo.Owner) {
		return jobs.PullRequest{}, wrap(attempt, &jobs.Gone{Reason: fmt.Sprintf("%s belongs to %s now", repo.FullName(), owner)})
	}
	out := pullRequest(pr)
	head, _, err := c.Git.GetCommit(operation(ctx, "git/get-commit"), repo.Owner, repo.Name, out.HeadSHA)
	if err != nil {
		return jobs.PullRequest{}, gone(explain(ctx, attempt, err), "commit "+jobs.Abbreviate(out.HeadSHA), repo)
	}
	out.Message = jobs.Cut(head.GetMessage(), jobs.MaxMessage)
	return out, nil
}

func pullRequest(pr *github.PullRequest) jobs.PullRequest {
	out := jobs.PullRequest{
		Number: pr.GetNumber(), Title: pr.GetTitle(), State: pr.GetState(), Merged: pr.GetMerged(), Draft: pr.GetDraft(),
		Author:  jobs.Actor{ID: pr.GetUser().GetID(), Login: pr.GetUser().GetLogin(), Type: pr.GetUser().GetType()},
		HeadRef: pr.GetHead().GetRef(), HeadSHA: pr.GetHead().GetSHA(),
		HeadRepo: pr.GetHead().GetRepo().GetID(), HeadName: pr.GetHead().GetRepo().GetFullName(),
		BaseRef: pr.GetBase().GetRef(), BaseSHA: pr.GetBase().GetSHA(),
	}
	if out.Merged { // before that, it is a merge that was only tried
		out.MergeSHA = pr.GetMergeCommitSHA()
	}
	for _, label := range pr.Labels {
		out.Labels = append(out.Labels, label.GetName())
	}
	return out
}

// PullFiles returns the files a pull request changes as it is now, by their old and new names. GitHub lists 3,000; when
// it lists that many the files are not known.
func (a *App) PullFiles(ctx context.Context, installation int64, repo jobs.Repository, number int) (jobs.Changes, error) {
	attempt := fmt.Sprintf("list the files of pull request %s#%d", repo.FullName(), number)
	c, err := a.client(installation, repo)
	if err != nil {
		return jobs.Changes{}, fmt.Errorf("%s: %w", attempt, err)
	}
	var files []*github.CommitFile
	page := github.ListOptions{PerPage: perPage, Page: 1}
	for {
		some, resp, err := c.PullRequests.ListFiles(operation(ctx, "pulls/list-files"), repo.Owner, repo.Name, number, &page)
		if err != nil {
			return jobs.Changes{}, gone(explain(ctx, attempt, err), fmt.Sprintf("pull request #%d", number), repo)
		}
		files = append(files, some...)
		if len(files) >= maxPullFiles {
			return jobs.Changes{Why: fmt.Sprintf("the pull request changes %d files or more, and GitHub lists no more", maxPullFiles)}, nil
		}
		if resp.NextPage <= page.Page {
			return changes(files), nil
		}
		page.Page = resp.NextPage
	}
}

func changes(files []*github.CommitFile) jobs.Changes {
	var names []string
	for _, f := range files {
		for _, name := range []string{f.GetFilename(), f.GetPreviousFilename()} {
			if name != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return jobs.Changes{Known: true, Files: slices.Compact(names)}
}

// Permission returns what an account may do in the repository now: admin, write, read or none, where maintain counts as
// write and triage as read, and the finer name of its role. It is never cached. An account that GitHub knows nothing about there has none.
func (a *App) Permission(ctx context.Context, installation int64, repo jobs.Repository, actor jobs.Actor) (jobs.TrustFacts, error) {
	attempt := fmt.Sprintf("ask for the permission of %s on %s", actor.Login, repo.FullName())
	c, err := a.client(installation, repo)
	if err != nil {
		return jobs.TrustFacts{}, fmt.Errorf("%s: %w", attempt, err)
	}
	if actor.Login == "" {
		return jobs.TrustFacts{}, fmt.Errorf("%s: the account has no login", attempt)
	}
	req, err := c.NewRequest(http.MethodGet,
		fmt.Sprintf("repos/%s/%s/collaborators/%s/permission", repo.Owner, repo.Name, url.PathEscape(actor.Login)), nil)
	if err != nil {
		return jobs.TrustFacts{}, fmt.Errorf("%s: %w", attempt, err)
	}
	var level struct { // go-github's type lacks the role
		Permission string `json:"permission"`
		RoleName   string `json:"role_name"`
		User       struct {
			ID int64 `json:"id"`
		} `json:"user"`
	}
	if _, err := c.Do(operation(ctx, "repos/get-collaborator-permission-level"), req, &level); err != nil {
		err = explain(ctx, attempt, err)
		if status(err) == http.StatusNotFound {
			if err := a.reachable(ctx, c, repo); err != nil {
				return jobs.TrustFacts{}, fmt.Errorf("%s: %w", attempt, err)
			}
			return jobs.TrustFacts{Permission: "none", PermissionOf: actor.ID}, nil
		}
		return jobs.TrustFacts{}, err
	}
	if level.Permission == "" || level.User.ID == 0 {
		return jobs.TrustFacts{}, fmt.Errorf("%s: GitHub's answer names no permission or no account", attempt)
	}
	return jobs.TrustFacts{Permission: level.Permission, Role: level.RoleName, PermissionOf: level.User.ID}, nil
}

// Head returns the commit that a ref such as refs/heads/main or refs/tags/v1 is at now; an annotated tag is followed to
// its commit. found is false when the repository has no such ref.
func (a *App) Head(ctx context.Context, installation int64, repo jobs.Repository, ref string) (sha string, found bool, err error) {
	attempt := fmt.Sprintf("read %s of %s", ref, repo.FullName())
	c, err := a.client(installation, repo)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", attempt, err)
	}
	if !strings.HasPrefix(ref, "refs/") {
		return "", false, fmt.Errorf("%s: a full ref is needed", attempt)
	}
	got, _, err := c.Git.GetRef(operation(ctx, "git/get-ref"), repo.Owner, repo.Name, ref)
	if err != nil {
		err = explain(ctx, attempt, err)
		if status(err) == http.StatusNotFound {
			return "", false, wrap(attempt, a.reachable(ctx, c, repo))
		}
		return "", false, err
	}
	if got.GetRef() != ref { // the old API answered with refs that merely begin alike
		return "", false, nil
	}
	object := got.GetObject()
	for depth := 0; object.GetType() == "tag"; depth++ {
		if depth == 5 {
			return "", false, fmt.Errorf("%s: a tag of a tag of a tag, too deep to follow", attempt)
		}
		tag, _, err := c.Git.GetTag(operation(ctx, "git/get-tag"), repo.Owner, repo.Name, object.GetSHA())
		if err != nil {
			return "", false, explain(ctx, attempt, err)
		}
		object = tag.GetObject()
	}
	if !ValidSHA(object.GetSHA()) {
		return "", false, fmt.Errorf("%s: GitHub's answer names no commit", attempt)
	}
	return object.GetSHA(), true, nil
}

// Compare tells where head is, seen from base: ahead, behind, identical or diverged. What changed between them is known
// when head is ahead by at most 300 files; after a rewrite of history GitHub's list leaves out what was taken back.
// Both are full SHAs. A base that GitHub no longer has, as after a forced push, counts as diverged.
func (a *App) Compare(ctx context.Context, installation int64, repo jobs.Repository, base, head string) (string, jobs.Changes, error) {
	attempt := fmt.Sprintf("compare %s with %s in %s", jobs.Cut(base, 50), jobs.Cut(head, 50), repo.FullName())
	c, err := a.client(installation, repo)
	if err != nil {
		return "", jobs.Changes{}, fmt.Errorf("%s: %w", attempt, err)
	}
	if !ValidSHA(base) || !ValidSHA(head) {
		return "", jobs.Changes{}, fmt.Errorf("%s: full SHAs are needed", attempt)
	}
	// The files come with the first page of commits, whatever its size.
	got, _, err := c.Repositories.CompareCommits(operation(ctx, "repos/compare-commits-with-basehead"),
		repo.Owner, repo.Name, base, head, &github.ListOptions{PerPage: 1})
	if err != nil {
		err = explain(ctx, attempt, err)
		if status(err) != http.StatusNotFound {
			return "", jobs.Changes{}, err
		}
		if err := a.hasCommit(ctx, c, repo, head); err != nil {
			return "", jobs.Changes{}, fmt.Errorf("%s: %w", attempt, err)
		}
		return "diverged", jobs.Changes{Why: "GitHub no longer has the earlier commit " + jobs.Abbreviate(base)}, nil
	}
	switch got.GetStatus() {
	case "ahead", "identical":
		if len(got.Files) >= maxCompareFiles {
			return got.GetStatus(), jobs.Changes{Why: fmt.Sprintf("%d files changed or more, and GitHub lists no more", maxCompareFiles)}, nil
		}
		return got.GetStatus(), changes(got.Files), nil
	case "behind", "diverged":
		return got.GetStatus(), jobs.Changes{Why: "history was rewritten"}, nil
	}
	return "", jobs.Changes{}, fmt.Errorf("%s: GitHub's answer has the unknown status %q", attempt, got.GetStatus())
}

// reachable returns nil when the App still reaches the repository, and a *jobs.Gone when it doesn't. It tells apart what a 404
// may mean.
func (a *App) reachable(ctx context.Context, c *client, repo jobs.Repository) error {
	got, _, err := c.Repositories.Get(operation(ctx, "repos/get"), repo.Owner, repo.Name)
	if err != nil {
		return gone(explain(ctx, "look whether "+repo.FullName()+" is still there", err), "", repo)
	}
	if got.GetID() != repo.ID {
		return renamed(repo, got.GetID())
	}
	return nil
}

// errNoCommit is a commit that the repository does not have.
var errNoCommit = errors.New("the repository has no such commit")

func (a *App) hasCommit(ctx context.Context, c *client, repo jobs.Repository, sha string) error {
	_, _, err := c.Git.GetCommit(operation(ctx, "git/get-commit"), repo.Owner, repo.Name, sha)
	if err == nil {
		return nil
	}
	err = explain(ctx, "look for commit "+sha, err)
	if status(err) != http.StatusNotFound {
		return err
	}
	if err := a.reachable(ctx, c, repo); err != nil {
		return err
	}
	return fmt.Errorf("%w %s", errNoCommit, sha)
}
