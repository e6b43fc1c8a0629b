package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	workflowDir       = ".github/workflows/"
	maxWorkflowName   = 255 // bytes of a file's name
	maxWorkflowsPages = 5   // of 100 workflows
	actionsPermission = "Actions: read and write"
)

// WorkflowFile reads a workflow file, at most 1 MB, with the App's token for the repository it is in. Without a ref it is read from
// the default branch. What is not there, or not to be read by us, is the file's Problem; an error is worth another try.
//
// It costs one call, two for a workflow that is named by its ID, three more for a repository that was not looked up lately, and one
// more to find out what is missing.
func (a *App) WorkflowFile(ctx context.Context, installation int64, repo jobs.Repository, ref jobs.WorkflowRef) (jobs.WorkflowFile, error) {
	file := jobs.WorkflowFile{WorkflowRef: ref}
	other := ref.Repository != "" && !strings.EqualFold(ref.Repository, repo.FullName())
	if other {
		found, problem, err := a.lookUp(ctx, ref.Repository)
		if err != nil || problem != "" {
			file.Problem = problem
			return file, err
		}
		installation, repo = found.installation, found.repo
	}
	attempt := fmt.Sprintf("read the workflow %s of %s", jobs.Cut(ref.Workflow, 100), repo.FullName())
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return file, fmt.Errorf("%s: %w", attempt, err)
	}
	file.Path, file.Problem, err = a.workflowPath(ctx, c, repo, attempt, ref.Workflow)
	if err == nil && file.Problem == "" {
		file.Content, file.Problem, err = a.contentAt(ctx, c, repo, attempt, file.Path, ref.Ref)
	}
	var gone *jobs.Gone
	switch {
	case errors.Is(err, ErrDenied):
		file.Problem = fmt.Sprintf("the App may not read workflows of %s: it needs the repository permission %s", repo.FullName(), actionsPermission)
		err = nil
	case other && errors.As(err, &gone):
		file.Problem, err = gone.Reason, nil
	case err != nil:
		file.Problem = ""
	}
	return file, err
}

// workflowPath is where a workflow's file is, by its name or its ID.
func (a *App) workflowPath(ctx context.Context, c *client, repo jobs.Repository, attempt, workflow string) (where, problem string, err error) {
	name, problem := workflowName(workflow)
	if problem != "" {
		return "", problem, nil
	}
	if _, err := strconv.ParseInt(name, 10, 64); err != nil {
		return workflowDir + name, "", nil
	}
	var said struct {
		Path string `json:"path"`
	}
	_, err = ask(operation(ctx, "actions/get-workflow"), c.Client, attempt,
		fmt.Sprintf("repos/%s/%s/actions/workflows/%s", repo.Owner, repo.Name, name), &said)
	switch {
	case status(err) == http.StatusNotFound:
		return "", fmt.Sprintf("%s has no workflow with the ID %s", repo.FullName(), name), a.reachable(ctx, c, repo)
	case err != nil:
		return "", "", err
	case !strings.HasPrefix(said.Path, workflowDir):
		return "", fmt.Sprintf("the workflow %s of %s has no file", name, repo.FullName()), nil
	}
	return said.Path, "", nil
}

// workflowName is a workflow's ID, or its file's name without the folder that all are in. problem says, as a clause, why it is none.
func workflowName(workflow string) (name, problem string) {
	name = strings.TrimPrefix(workflow, workflowDir)
	if name == "" || name == "." || name == ".." || len(name) > maxWorkflowName || strings.ContainsAny(name, "/\\\x00") {
		return "", fmt.Sprintf("%q is neither the name of a file in .github/workflows nor a workflow's ID", jobs.Cut(workflow, 100))
	}
	return name, ""
}

// contentAt reads a file at a branch or tag. problem says, as a clause, why there is none.
func (a *App) contentAt(
	ctx context.Context, c *client, repo jobs.Repository, attempt, file, ref string,
) (content []byte, problem string, err error) {
	at := "on the default branch"
	if ref != "" {
		at = "at " + ref
	}
	got, folder, _, err := c.Repositories.GetContents(operation(ctx, "repos/get-content"), repo.Owner, repo.Name, file,
		&github.RepositoryContentGetOptions{Ref: ref})
	err = explain(ctx, attempt, err)
	switch {
	case status(err) == http.StatusNotFound:
		problem = fmt.Sprintf("%s has no %s %s", repo.FullName(), file, at)
		if ref != "" && strings.Contains(err.Error(), "No commit found") {
			problem = fmt.Sprintf("there is no branch or tag %s in %s", ref, repo.FullName())
		}
		return nil, problem, a.reachable(ctx, c, repo)
	case err != nil:
		return nil, "", err
	}
	content, problem, err = decodeContent(got, folder)
	if problem != "" {
		problem = fmt.Sprintf("%s %s of %s %s", file, at, repo.FullName(), problem)
	}
	return content, problem, wrap(attempt, err)
}

// Workflows lists a repository's workflows, at most 500, in GitHub's order.
func (a *App) Workflows(ctx context.Context, installation int64, repo jobs.Repository) ([]jobs.Workflow, error) {
	attempt := "list the workflows of " + repo.FullName()
	c, err := a.clientFor(installation, repo, scopeActions)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attempt, err)
	}
	var list []jobs.Workflow
	for page := 1; page > 0 && page <= maxWorkflowsPages; {
		var said struct {
			Workflows []struct {
				ID    int64  `json:"id"`
				Name  string `json:"name"`
				Path  string `json:"path"`
				State string `json:"state"`
				URL   string `json:"html_url"`
			} `json:"workflows"`
		}
		resp, err := ask(operation(ctx, "actions/list-repo-workflows"), c.Client, attempt,
			fmt.Sprintf("repos/%s/%s/actions/workflows?%s", repo.Owner, repo.Name, paged(nil, perPage, page)), &said)
		if err != nil {
			return nil, permanentForWorkflows(gone(err, "", repo), repo)
		}
		for _, w := range said.Workflows {
			list = append(list, jobs.Workflow(w))
		}
		page = resp.NextPage
	}
	return list, nil
}

// paged adds a page to a query.
func paged(query url.Values, size, page int) string {
	if query == nil {
		query = url.Values{}
	}
	query.Set("per_page", strconv.Itoa(size))
	if page > 1 {
		query.Set("page", strconv.Itoa(page))
	}
	return query.Encode()
}

// workflowPathOf is a workflow file's path as GitHub tells it of runs: sometimes with the ref behind it.
func workflowPathOf(said string) string {
	said, _, _ = strings.Cut(said, "@")
	return said
}
