package githubtest_test

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func (w *world) admin() *githubtest.User {
	ada := w.CreateUser("ada")
	w.repo.SetPermission(ada, "admin")
	return ada
}

// A renamed repository answers under its old name, its new name and its ID, for reading, writing and git.
func TestRename(t *testing.T) {
	w := newWorld(t)
	ctx, client, ada := t.Context(), w.client(), w.admin()
	id := w.repo.ID
	old := w.repo.CloneURL(w.alice)
	if err := w.repo.Rename("store", w.alice); err == nil {
		t.Error("a writer renamed")
	}
	check(t, w.repo.Rename("store", ada))
	hooks := w.waitHooks()
	wantNames(t, w.names(), "repository.renamed")
	if field[string](t, hooks[0].body, "changes", "repository", "name", "from") != "shop" || field[string](t, hooks[0].body, "repository", "full_name") != "acme/store" ||
		field[float64](t, hooks[0].body, "repository", "id") != float64(id) {
		t.Errorf("the event says %s", hooks[0].body)
	}
	for _, name := range []string{"shop", "store"} {
		got, _, err := client.Repositories.Get(ctx, "acme", name)
		check(t, err)
		if got.GetID() != id || got.GetFullName() != "acme/store" {
			t.Errorf("%s is %v", name, got)
		}
		_, _, err = client.Checks.CreateCheckRun(ctx, "acme", name, github.CreateCheckRunOptions{Name: name, HeadSHA: w.first})
		check(t, err)
	}
	if runs := w.repo.CheckRuns(""); len(runs) != 2 {
		t.Errorf("there are %d runs", len(runs))
	}
	byID, _, err := client.Repositories.GetByID(ctx, id)
	check(t, err)
	if byID.GetName() != "store" {
		t.Errorf("the ID leads to %v", byID)
	}
	dir := t.TempDir()
	git(t, dir, "clone", "--quiet", old, "old")
	git(t, filepath.Join(dir, "old"), "commit", "--quiet", "--allow-empty", "-m", "Through the old name")
	git(t, filepath.Join(dir, "old"), "push", "--quiet", "origin", "main")

	// The old name goes to who takes it.
	taken, err := w.CreateRepository("acme/shop", githubtest.RepositoryOptions{})
	check(t, err)
	_, err = taken.Commit("main", "Other", map[string]string{"other": "1"}, nil)
	check(t, err)
	got, _, err := client.Repositories.Get(ctx, "acme", "shop")
	check(t, err)
	if got.GetID() != taken.ID || taken.Head("main") == w.repo.Head("main") {
		t.Errorf("the old name leads to %v", got)
	}
	if err := w.repo.Rename("shop", ada); err == nil {
		t.Error("two repositories share a name")
	}
}

func TestRenamedFork(t *testing.T) {
	w := newWorld(t)
	bob, fork, p := w.offer()
	check(t, fork.Rename("better-shop", bob))
	_, err := p.Push("More", map[string]string{"fix": "2"}, nil)
	check(t, err)
	hooks := w.waitHooks()
	wantNames(t, w.names(), "pull_request.synchronize")
	if got := field[string](t, hooks[0].body, "pull_request", "head", "repo", "full_name"); got != "bob/better-shop" {
		t.Errorf("the head is in %s", got)
	}
	list, _, err := w.client().PullRequests.List(t.Context(), "acme", "shop", &github.PullRequestListOptions{Head: "bob:fix"})
	check(t, err)
	if len(list) != 1 || list[0].GetHead().GetSHA() != p.HeadSHA() {
		t.Errorf("the list is %v", list)
	}
}

// Only the installations of the new owner hear of a transfer; those of the old one lose the repository.
func TestTransfer(t *testing.T) {
	w := newWorld(t)
	ctx, client, ada := t.Context(), w.client(), w.admin()
	w.CreateOrganization("elsewhere")
	w.app.Install("elsewhere")
	w.names()
	check(t, w.repo.Transfer("elsewhere", ada))
	hooks := w.waitHooks()
	wantNames(t, w.names(), "repository.transferred")
	if field[string](t, hooks[0].body, "changes", "owner", "from", "organization", "login") != "acme" || field[float64](t, hooks[0].body, "installation", "id") == float64(w.inst.ID) {
		t.Errorf("the event says %s", hooks[0].body)
	}
	_, _, err := client.Repositories.Get(ctx, "acme", "shop")
	refused(t, err, http.StatusNotFound, "Not Found")
	found, _, err := w.appClient().Apps.FindRepositoryInstallation(ctx, "elsewhere", "shop")
	check(t, err)
	if found.GetAccount().GetLogin() != "elsewhere" {
		t.Errorf("the installation is %v", found)
	}
	_, err = w.repo.Commit("main", "There", map[string]string{"there": "1"}, w.alice)
	check(t, err)
	wantNames(t, w.names(), "push", "check_suite.requested")
}

func TestArchiveAndDelete(t *testing.T) {
	w := newWorld(t)
	ctx, client, ada := t.Context(), w.client(), w.admin()
	run := func() error {
		_, _, err := client.Checks.CreateCheckRun(ctx, "acme", "shop", github.CreateCheckRunOptions{Name: "slipway", HeadSHA: w.first})
		return err
	}
	check(t, w.repo.Archive(ada))
	refused(t, run(), http.StatusForbidden, "Repository was archived so is read-only.")
	if _, err := w.repo.Commit("main", "Late", map[string]string{"late": "1"}, w.alice); err == nil {
		t.Error("pushed to an archived repository")
	}
	got, _, err := client.Repositories.Get(ctx, "acme", "shop")
	check(t, err)
	if !got.GetArchived() {
		t.Error("an archived repository doesn't say so")
	}
	check(t, w.repo.Unarchive(ada))
	check(t, run())
	_, err = w.repo.Commit("trunk", "Trunk", map[string]string{"trunk": "1"}, w.alice)
	check(t, err)
	w.names()
	if err := w.repo.ChangeDefaultBranch("nowhere", ada); err == nil {
		t.Error("the default branch doesn't exist")
	}
	check(t, w.repo.ChangeDefaultBranch("trunk", ada))
	hooks := w.waitHooks()
	if field[string](t, hooks[0].body, "changes", "default_branch", "from") != "main" || field[string](t, hooks[0].body, "repository", "default_branch") != "trunk" {
		t.Errorf("the event says %s", hooks[0].body)
	}
	check(t, w.repo.Delete(ada))
	wantNames(t, w.names(), "repository.edited", "repository.deleted")
	refused(t, run(), http.StatusNotFound, "Not Found")
	if err := w.repo.Delete(ada); err == nil {
		t.Error("deleted twice")
	}
}
