package githubtest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// Every waiver must still excuse something; otherwise GitHub has mended its description and the waiver can go.
func TestEveryWaiverIsNeeded(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	_, _, err := w.appClient().Apps.ListInstallations(ctx, nil)
	check(t, err)
	_, _, err = client.Actions.ListRepositoryWorkflowRuns(ctx, "acme", "shop", &github.ListWorkflowRunsOptions{Created: ">=2026-01-31"})
	check(t, err)
	bob := w.CreateUser("bob")
	fork, err := w.Fork(w.repo, bob)
	check(t, err)
	head, err := fork.Commit("fix", "Fix", map[string]string{"f": "f"}, bob)
	check(t, err)
	p, err := w.repo.OpenPull(githubtest.PullOptions{Head: "bob:fix", User: bob})
	check(t, err)
	check(t, w.DeleteRepository(fork))
	p.Close(bob)
	_, _, err = client.PullRequests.Get(ctx, "acme", "shop", p.Number)
	check(t, err)
	_, _, err = client.PullRequests.List(ctx, "acme", "shop", &github.PullRequestListOptions{State: "all"})
	check(t, err)
	_, _, err = client.PullRequests.ListPullRequestsWithCommit(ctx, "acme", "shop", head, nil)
	check(t, err)
	_, _, err = client.Checks.CreateCheckRun(ctx, "acme", "shop", github.CreateCheckRunOptions{Name: "slipway", HeadSHA: w.first})
	check(t, err)
	check(t, w.repo.RerequestSuite(w.app, w.first, w.alice))
	w.app.Delete()
	w.idle()
	if unused := w.UnusedWaivers(); len(unused) > 0 {
		t.Errorf("these waivers excuse nothing: %q", unused)
	}
}

// What GitHub would ignore in silence is reported: a misspelt field, an unknown parameter, a call to what isn't there.
func TestSilentMistakesAreReported(t *testing.T) {
	w := newWorld(t)
	client := w.client()
	do := func(method, path string, body any) int {
		t.Helper()
		request, err := client.NewRequest(method, path, body)
		check(t, err)
		response, err := client.Do(t.Context(), request, nil)
		if response == nil {
			t.Fatal(err)
		}
		return response.StatusCode
	}
	if status := do(http.MethodPost, "repos/acme/shop/check-runs", map[string]any{"name": "x", "head_sha": w.first, "bogus": 1}); status != http.StatusCreated {
		t.Errorf("an unknown field gives %d", status)
	}
	w.broke("bogus")
	if status := do(http.MethodGet, "repos/acme/shop/pulls?stat=open", nil); status != http.StatusOK {
		t.Errorf("an unknown parameter gives %d", status)
	}
	w.broke("stat: this query parameter is not in the description")
	if status := do(http.MethodPost, "repos/acme/shop/checkruns", map[string]any{}); status != http.StatusNotFound {
		t.Errorf("an unknown path gives %d", status)
	}
	w.broke("no such operation")
	if status := do(http.MethodGet, "repos/acme/shop/pulls?per_page=x", nil); status != http.StatusUnprocessableEntity {
		t.Errorf("a wrong parameter gives %d", status)
	}
	w.broke("pulls/list request per_page")
	if status := do(http.MethodGet, "repos/acme/shop/pulls?state=ajar", nil); status != http.StatusUnprocessableEntity {
		t.Errorf("an unknown value gives %d", status)
	}
	w.broke("pulls/list request state")
	if status := do(http.MethodPost, "repos/acme/shop/check-runs", map[string]any{"name": "x", "head_sha": w.first, "status": "odd", "actions": []any{1}}); status != http.StatusUnprocessableEntity {
		t.Errorf("two wrong fields give %d", status)
	}
	if found := w.TakeViolations(); len(found) != 2 || !strings.HasPrefix(found[0]+found[1], "checks/create request /") {
		t.Errorf("two wrong fields are reported as %q", found)
	}
	if status := do(http.MethodGet, "repos/acme/shop/environments", nil); status != http.StatusNotImplemented {
		t.Errorf("an operation that isn't modelled gives %d", status)
	}
	w.broke("doesn't know how to do this yet")
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	refs := map[string]string{}
	for _, name := range strings.Split("abcdefg", "") {
		refs["refs/heads/"+name] = w.first
	}
	check(t, w.repo.SetRefs(refs, w.alice))
	var names []string
	options := &github.BranchListOptions{ListOptions: github.ListOptions{PerPage: 3}}
	for {
		list, response, err := w.client().Repositories.ListBranches(t.Context(), "acme", "shop", options)
		check(t, err)
		for _, branch := range list {
			names = append(names, branch.GetName())
		}
		if response.NextPage == 0 {
			break
		}
		options.Page = response.NextPage
	}
	if !slices.Equal(names, []string{"a", "b", "c", "d", "e", "f", "g", "main"}) {
		t.Errorf("the branches are %q", names)
	}
}

func TestManyFiles(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{}
	for i := range 3005 {
		files[fmt.Sprintf("many/%d/%d.txt", i%7, i)] = strings.Repeat("line\n", i%5)
	}
	_, err := w.repo.Commit("many", "Many", files, w.alice)
	check(t, err)
	p, err := w.repo.OpenPull(githubtest.PullOptions{Head: "many", User: w.alice})
	check(t, err)
	for page, want := range map[int]int{1: 100, 30: 100, 31: 0} {
		list, response, err := w.client().PullRequests.ListFiles(t.Context(), "acme", "shop", p.Number, &github.ListOptions{PerPage: 100, Page: page})
		check(t, err)
		if len(list) != want || page == 1 && response.LastPage != 30 {
			t.Errorf("page %d has %d files, want %d; the last page is %d", page, len(list), want, response.LastPage)
		}
	}
	commit, response, err := w.client().Repositories.GetCommit(t.Context(), "acme", "shop", "many", nil)
	check(t, err)
	if len(commit.Files) != 300 || response.LastPage != 10 {
		t.Errorf("the commit shows %d files; the last page is %d", len(commit.Files), response.LastPage)
	}
	comparison, _, err := w.client().Repositories.CompareCommits(t.Context(), "acme", "shop", "main", "many", nil)
	check(t, err)
	if len(comparison.Files) != 300 {
		t.Errorf("the comparison has %d files", len(comparison.Files))
	}
}

func TestExamples(t *testing.T) {
	examples, err := githubtest.Examples()
	check(t, err)
	if len(examples) != 329 {
		t.Errorf("there are %d examples", len(examples))
	}
	for _, example := range examples {
		if example.Event == "" || len(example.Body) < 10 || example.Action != field[string](t, example.Body, "action") {
			t.Errorf("an example of %q is %s", example.Event, example.Body)
		}
	}
}
