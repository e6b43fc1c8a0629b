package githubapp

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

func TestPullRequest(t *testing.T) {
	w := newWorld(t)
	mallory := w.CreateUser("mallory")
	fork, err := w.Fork(w.repo, mallory)
	ok(t, err)
	message := "Change\n\n" + strings.Repeat("and why\n", 500) + "\n\nskip-checks: true" // a trailer counts, however far down
	head, err := fork.Commit("feat/x", message, map[string]string{"src/x.go": "package x\n"}, mallory)
	ok(t, err)
	pull, err := w.repo.OpenPull(githubtest.PullOptions{Title: "Add x", Head: "mallory:feat/x", User: mallory, Draft: true})
	ok(t, err)
	pull.Label(w.alice, "preview")

	got, err := w.app.PullRequest(t.Context(), w.inst.ID, described(w.repo), pull.Number)
	ok(t, err)
	want := jobs.PullRequest{
		Number: pull.Number, Title: "Add x", State: "open", Draft: true,
		Author:  jobs.Actor{ID: mallory.ID, Login: "mallory", Type: "User"},
		HeadRef: "feat/x", HeadSHA: head, HeadRepo: fork.ID, HeadName: "mallory/shop",
		BaseRef: "main", BaseSHA: w.first, Labels: []string{"preview"}, Message: message,
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// The fork goes away: the pull request stays, without a head repository.
	ok(t, w.DeleteRepository(fork))
	got, err = w.app.PullRequest(t.Context(), w.inst.ID, described(w.repo), pull.Number)
	if err != nil || got.HeadRepo != 0 {
		t.Errorf("the fork is gone: got %+v, %v", got, err)
	}
	var gone *jobs.Gone
	if _, err = w.app.PullRequest(t.Context(), w.inst.ID, described(w.repo), 999); !errors.As(err, &gone) {
		t.Errorf("no such pull request: got %v", err)
	}
	// Someone else's public repository took the name.
	ok(t, w.DeleteRepository(w.repo))
	impostor, _ := w.another("acme/shop", githubtest.RepositoryOptions{})
	if impostor.ID == w.repo.ID {
		t.Fatal("the stand-in gave the same ID twice")
	}
	_, err = impostor.Commit("other", "Second", map[string]string{"a": "c"}, w.alice)
	ok(t, err)
	taken, err := impostor.OpenPull(githubtest.PullOptions{Head: "other"})
	ok(t, err)
	if got, err = w.app.PullRequest(t.Context(), w.inst.ID, described(w.repo), taken.Number); !errors.As(err, &gone) {
		t.Errorf("the name belongs to another repository: got %+v, %v", got, err)
	}
}

func TestPullFiles(t *testing.T) {
	w := newWorld(t)
	files := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("many/%04d.txt", i)] = fmt.Sprint(i)
		}
		return m
	}
	open := func(branch string, files map[string]string) int {
		t.Helper()
		w.commit(branch, files)
		pull, err := w.repo.OpenPull(githubtest.PullOptions{Head: branch})
		ok(t, err)
		return pull.Number
	}
	few := open("few", map[string]string{"src/main.go": githubtest.Deleted, "src/moved.go": "package main\n", "docs/ä b.md": "x"})
	got, err := w.app.PullFiles(t.Context(), w.inst.ID, described(w.repo), few)
	ok(t, err)
	if want := []string{"docs/ä b.md", "src/main.go", "src/moved.go"}; !got.Known || !slices.Equal(got.Files, want) {
		t.Errorf("a rename counts with both names: got %+v, want %q", got, want)
	}
	some := open("some", files(250))
	got, err = w.app.PullFiles(t.Context(), w.inst.ID, described(w.repo), some)
	if err != nil || !got.Known || len(got.Files) != 250 || !slices.Equal(got.Files, slices.Sorted(maps.Keys(files(250)))) {
		t.Errorf("250 files on 3 pages: got %d, known %v, %v", len(got.Files), got.Known, err)
	}
	most := open("most", files(3000))
	got, err = w.app.PullFiles(t.Context(), w.inst.ID, described(w.repo), most)
	if err != nil || got.Known || !strings.Contains(got.Why, "3000") {
		t.Errorf("3,000 files: got %+v, %v", got, err)
	}
}

func TestPermission(t *testing.T) {
	w := newWorld(t)
	for role, want := range map[string]string{"admin": "admin", "maintain": "write", "write": "write", "triage": "read", "read": "read"} {
		u := w.CreateUser("u-" + role)
		w.repo.SetPermission(u, role)
		got, err := w.app.Permission(t.Context(), w.inst.ID, described(w.repo), jobs.Actor{ID: u.ID, Login: u.Login})
		if err != nil || got != (jobs.TrustFacts{Permission: want, Role: role, PermissionOf: u.ID}) {
			t.Errorf("%s: got %+v, %v, want %s of %d", role, got, err, want, u.ID)
		}
	}
	ask := func(login string) (jobs.TrustFacts, error) {
		return w.app.Permission(t.Context(), w.inst.ID, described(w.repo), jobs.Actor{ID: 42, Login: login})
	}
	for _, login := range []string{"nobody-we-know", "some[bot]", "a/b", "a?b=c"} {
		if got, err := ask(login); err != nil || got.Permission != "none" {
			t.Errorf("%s: got %+v, %v, want none", login, got, err)
		}
	}
	// Never cached: taken away means taken away.
	w.repo.SetPermission(w.alice, "none")
	if got, err := ask("alice"); err != nil || got.Permission != "none" {
		t.Errorf("taken away: got %+v, %v", got, err)
	}
	// No answer is an error, never a yes and never a no.
	w.Fail(githubtest.Failure{Operation: "repos/get-collaborator-permission-level", Status: 502})
	if got, err := ask("alice"); err == nil {
		t.Errorf("no answer: got %+v", got)
	}
	ok(t, w.DeleteRepository(w.repo))
	var gone *jobs.Gone
	if got, err := ask("alice"); !errors.As(err, &gone) {
		t.Errorf("repository gone: got %+v, %v", got, err)
	}
}

func TestHead(t *testing.T) {
	w := newWorld(t)
	odd := w.commit("feat/ü#1&x=%41", map[string]string{"a": "b"})
	ok(t, w.repo.Tag("v1", w.first, "One", w.alice))
	ok(t, w.repo.SetRef("refs/tags/v1.0", odd, w.alice))
	pull, err := w.repo.OpenPull(githubtest.PullOptions{Head: "feat/ü#1&x=%41"})
	ok(t, err)
	for ref, want := range map[string]string{
		"refs/heads/main": w.first, "refs/heads/feat/ü#1&x=%41": odd,
		"refs/tags/v1": w.first, "refs/tags/v1.0": odd, // annotated and not
		"refs/heads/mai": "", "refs/heads/feat": "", "refs/heads/gone": "",
		fmt.Sprintf("refs/pull/%d/head", pull.Number): odd,
	} {
		got, found, err := w.app.Head(t.Context(), w.inst.ID, described(w.repo), ref)
		if err != nil || found != (want != "") || got != want {
			t.Errorf("%s: got %q, %v, %v, want %q", ref, got, found, err, want)
		}
	}
	if _, _, err := w.app.Head(t.Context(), w.inst.ID, described(w.repo), "main"); err == nil {
		t.Error("a short name was taken for a ref")
	}
}

func TestCompare(t *testing.T) {
	w := newWorld(t)
	second := w.commit("main", map[string]string{"src/main.go": "package main // 2\n"})
	side, err := w.repo.CommitWith(githubtest.CommitOptions{Branch: "side", Parent: w.first, Files: map[string]string{"side": "x"}, Author: w.alice})
	ok(t, err)
	many := map[string]string{}
	for i := range 301 {
		many[fmt.Sprintf("many/%d", i)] = "x"
	}
	big := w.commit("main", many)
	const lost = "00000000000000000000000000000000000000ff"
	for name, test := range map[string]struct {
		base, head string
		status     string
		known      bool
		files      []string
	}{
		"ahead":      {w.first, second, "ahead", true, []string{"src/main.go"}},
		"identical":  {second, second, "identical", true, nil},
		"behind":     {second, w.first, "behind", false, nil},
		"diverged":   {second, side, "diverged", false, nil},
		"301 files":  {second, big, "ahead", false, nil},
		"base lost":  {lost, second, "diverged", false, nil},
		"three dots": {w.first, second, "ahead", true, []string{"src/main.go"}},
	} {
		status, changes, err := w.app.Compare(t.Context(), w.inst.ID, described(w.repo), test.base, test.head)
		if err != nil || status != test.status || changes.Known != test.known || !slices.Equal(changes.Files, test.files) || !changes.Known && changes.Why == "" {
			t.Errorf("%s: got %s %+v, %v", name, status, changes, err)
		}
	}
	if _, _, err := w.app.Compare(t.Context(), w.inst.ID, described(w.repo), second, lost); !errors.Is(err, errNoCommit) {
		t.Errorf("no such head: got %v", err)
	}
	if _, _, err := w.app.Compare(t.Context(), w.inst.ID, described(w.repo), "main", "side"); err == nil {
		t.Error("branches were taken for SHAs")
	}
}

func TestFile(t *testing.T) {
	w := newWorld(t)
	sha, err := w.repo.CommitWith(githubtest.CommitOptions{
		Files: map[string]string{
			".slipway.yaml": "jobs: {}\n", "empty": "", "dir/ä b#.txt": "x", "big": strings.Repeat("x", 1<<20+1), "full": strings.Repeat("y", 1<<20),
		},
		Symlinks: map[string]string{"link": "../outside"}, Author: w.alice,
	})
	ok(t, err)
	read := func(sha, path string) (string, bool, error) {
		data, found, err := w.app.File(t.Context(), w.inst.ID, described(w.repo), sha, path)
		return string(data), found, err
	}
	for path, want := range map[string]string{".slipway.yaml": "jobs: {}\n", "empty": "", "dir/ä b#.txt": "x", "full": strings.Repeat("y", 1<<20)} {
		if got, found, err := read(sha, path); err != nil || !found || got != want {
			t.Errorf("%s: got %d bytes, %v, %v, want %d", path, len(got), found, err, len(want))
		}
	}
	if _, found, err := read(w.first, ".slipway.yaml"); err != nil || found {
		t.Errorf("not there yet at the first commit: got %v, %v", found, err)
	}
	var refusal *jobs.Refusal
	for _, path := range []string{"big", "dir", "link"} {
		if _, _, err := read(sha, path); !errors.As(err, &refusal) || !strings.Contains(refusal.Sentence, path) {
			t.Errorf("%s: got %v, want a refusal", path, err)
		}
	}
	for _, path := range []string{"../x", "/etc/passwd", "a/../b", "", "."} {
		if _, _, err := read(sha, path); err == nil {
			t.Errorf("%q was taken for a path", path)
		}
	}
	if _, _, err := read("main", ".slipway.yaml"); err == nil {
		t.Error("a branch was taken for a SHA")
	}
	n := w.CountRequests(nil)
	for _, s := range []string{sha, w.first} {
		if _, _, err := read(s, ".slipway.yaml"); err != nil {
			t.Error(err)
		}
	}
	if got := w.CountRequests(nil) - n; got != 0 {
		t.Errorf("what a commit holds never changes, yet GitHub was asked %d times again", got)
	}
	// A commit that is not there has no answer, and neither has a repository.
	if _, _, err := read("00000000000000000000000000000000000000ff", ".slipway.yaml"); !errors.Is(err, errNoCommit) {
		t.Errorf("no such commit: got %v", err)
	}
	ok(t, w.DeleteRepository(w.repo))
	var gone *jobs.Gone
	if _, _, err := read(sha, "other"); !errors.As(err, &gone) {
		t.Errorf("repository gone: got %v", err)
	}
}

func TestMergedPullRequestNamesItsCommit(t *testing.T) {
	w := newWorld(t)
	pull := w.pull("feat")
	var got jobs.PullRequest
	var err error
	for range 3 { // asking makes GitHub try the merge, whose commit is no merge yet
		if got, err = w.app.PullRequest(t.Context(), w.inst.ID, described(w.repo), pull.Number); err != nil || got.Merged || got.MergeSHA != "" {
			t.Errorf("open: got %+v, %v", got, err)
		}
	}
	sha, err := pull.Merge(w.alice)
	ok(t, err)
	got, err = w.app.PullRequest(t.Context(), w.inst.ID, described(w.repo), pull.Number)
	if err != nil || !got.Merged || got.MergeSHA != sha || got.State != "closed" {
		t.Errorf("merged: got %+v, %v, want %s", got, err, sha)
	}
}
