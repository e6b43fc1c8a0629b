package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	maxLocations = 1024            // repositories whose repositoryLocation are remembered
	locationLife = 5 * time.Minute // how long they are believed
)

// A repositoryLocation says where a repository is found.
type repositoryLocation struct {
	installation int64
	repo         jobs.Repository
	until        time.Time
}

// Repository finds a repository that the App is installed on, by its name "owner/name". What is not there, or not ours, is a
// *jobs.Refusal. It costs three calls, two of them as the App itself; an answer is kept for five minutes.
func (a *App) Repository(ctx context.Context, fullName string) (installation int64, repo jobs.Repository, err error) {
	location, problem, err := a.lookUp(ctx, fullName)
	switch {
	case err != nil:
		return 0, jobs.Repository{}, err
	case problem != "":
		return 0, jobs.Repository{}, &jobs.Refusal{Sentence: asSentence(problem)}
	}
	return location.installation, location.repo, nil
}

// lookUp finds a repository by its name. problem says, as a clause, why there is none for us.
func (a *App) lookUp(ctx context.Context, fullName string) (location repositoryLocation, problem string, err error) {
	owner, name, _ := strings.Cut(fullName, "/")
	if !validName(owner) || !validName(name) {
		return location, fmt.Sprintf("%q is not the name of a repository: that is OWNER/NAME", jobs.Cut(fullName, 100)), nil
	}
	key := strings.ToLower(fullName)
	if location, ok := a.locations.Get(key); ok && a.now().Before(location.until) {
		return location, "", nil
	}
	attempt := "look for " + fullName
	missing := fmt.Sprintf("the App is not installed on %s, or there is no such repository", fullName)

	var said struct {
		ID        int64      `json:"id"`
		Suspended *time.Time `json:"suspended_at"`
	}
	_, err = ask(operation(ctx, "apps/get-repo-installation"), a.asApp, attempt, fmt.Sprintf("repos/%s/%s/installation", owner, name), &said)
	switch {
	case status(err) == http.StatusNotFound:
		return location, missing, nil
	case err != nil:
		return location, "", err
	case said.Suspended != nil:
		return location, fmt.Sprintf("the App's installation on %s is suspended", owner), nil
	case said.ID <= 0:
		return location, "", fmt.Errorf("%s: GitHub's answer names no installation", attempt)
	}

	a.mu.Lock()
	c := a.speaker(said.ID, func(ctx context.Context) (string, time.Time, error) {
		return a.requestToken(ctx, said.ID, tokenRequest{Repositories: []string{name}, Permissions: map[string]string{"metadata": "read"}})
	})
	c.budget.of(owner)
	a.mu.Unlock()
	got, _, err := c.Repositories.Get(operation(ctx, "repos/get"), owner, name)
	err = explain(ctx, attempt, err)
	var gone *jobs.Gone
	switch {
	case status(err) == http.StatusNotFound, status(err) == http.StatusUnprocessableEntity: // deleted or renamed a moment ago
		return location, missing, nil
	case errors.As(err, &gone):
		return location, fmt.Sprintf("the App can't reach %s: %s", fullName, gone.Reason), nil
	case err != nil:
		return location, "", err
	}
	location = repositoryLocation{said.ID, repository(got), a.now().Add(locationLife)}
	if location.repo.ID <= 0 || !validName(location.repo.Owner) || !validName(location.repo.Name) {
		return location, "", fmt.Errorf("%s: GitHub's answer names no repository", attempt)
	}
	a.locations.Add(key, location)
	return location, "", nil
}

// repository is what is kept of GitHub's description of one.
func repository(r *github.Repository) jobs.Repository {
	return jobs.Repository{
		ID: r.GetID(), Owner: r.GetOwner().GetLogin(), Name: r.GetName(), DefaultBranch: r.GetDefaultBranch(),
		Private: r.GetPrivate(), Archived: r.GetArchived() || r.GetDisabled(),
	}
}

// ask reads one answer of GitHub's. ctx names the operation.
func ask(ctx context.Context, c *github.Client, attempt, path string, into any) (*github.Response, error) {
	req, err := c.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attempt, bare(err))
	}
	resp, err := c.Do(ctx, req, into)
	return resp, explain(ctx, attempt, err)
}

// asSentence makes a sentence of a clause.
func asSentence(clause string) string {
	clause = strings.TrimRight(clause, ". ")
	if clause == "" {
		return ""
	}
	return strings.ToUpper(clause[:1]) + clause[1:] + "."
}
