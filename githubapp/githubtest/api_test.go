package githubtest_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func TestAppAndInstallation(t *testing.T) {
	w := newWorld(t)
	ctx, app := t.Context(), w.appClient()
	self, _, err := app.Apps.Get(ctx, "")
	check(t, err)
	if self.GetID() != w.app.ID || self.GetSlug() != "slipway" {
		t.Errorf("the App is %v", self)
	}
	list, _, err := app.Apps.ListInstallations(ctx, nil)
	check(t, err)
	if len(list) != 1 || list[0].GetID() != w.inst.ID || list[0].GetRepositorySelection() != "all" {
		t.Errorf("the installations are %v", list)
	}
	for name, find := range map[string]func() (*github.Installation, *github.Response, error){
		"by ID": func() (*github.Installation, *github.Response, error) {
			return app.Apps.GetInstallation(ctx, w.inst.ID)
		},
		"by repository": func() (*github.Installation, *github.Response, error) {
			return app.Apps.FindRepositoryInstallation(ctx, "acme", "shop")
		},
		"by organization": func() (*github.Installation, *github.Response, error) {
			return app.Apps.FindOrganizationInstallation(ctx, "acme")
		},
	} {
		found, _, err := find()
		check(t, err)
		if found.GetID() != w.inst.ID {
			t.Errorf("%s: %v", name, found)
		}
	}
	if _, response, err := app.Apps.FindRepositoryInstallation(ctx, "acme", "nothing"); err == nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("an absent repository gives %v", err)
	}
	repositories, _, err := w.client().Apps.ListRepos(ctx, nil)
	check(t, err)
	if repositories.GetTotalCount() != 1 || repositories.Repositories[0].GetFullName() != "acme/shop" {
		t.Errorf("the repositories are %v", repositories)
	}
	limits, _, err := w.client().RateLimits(ctx)
	check(t, err)
	if limits.Core.Limit != 5000 || limits.Core.Remaining != 4999 {
		t.Errorf("the limits are %v", limits.Core)
	}
}

func TestRepositoryReads(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	repo, _, err := client.Repositories.Get(ctx, "acme", "shop")
	check(t, err)
	if repo.GetDefaultBranch() != "main" || !repo.GetPrivate() || repo.GetID() != w.repo.ID {
		t.Errorf("the repository is %v", repo)
	}
	second, err := w.repo.CommitWith(githubtest.CommitOptions{Branch: "feat/x#1", Message: "Second", Author: w.alice,
		Files: map[string]string{"src/main.go": "package main\n\nfunc main() {}\n", "src/deep/er/file.txt": "x", "Dockerfile": githubtest.Deleted}, Symlinks: map[string]string{"link": "README.md"}})
	check(t, err)
	check(t, w.repo.Tag("v1.0.0", second, "One", w.alice))

	ref, _, err := client.Git.GetRef(ctx, "acme", "shop", "heads/feat/x#1")
	check(t, err)
	if ref.Object.GetSHA() != second {
		t.Errorf("the ref is %v", ref)
	}
	refs, _, err := client.Git.ListMatchingRefs(ctx, "acme", "shop", &github.ReferenceListOptions{Ref: "tags/v"})
	check(t, err)
	if len(refs) != 1 || refs[0].Object.GetType() != "tag" {
		t.Fatalf("the tags are %v", refs)
	}
	tag, _, err := client.Git.GetTag(ctx, "acme", "shop", refs[0].Object.GetSHA())
	check(t, err)
	if tag.Object.GetSHA() != second || tag.GetMessage() != "One\n" {
		t.Errorf("the tag is %v", tag)
	}
	commit, _, err := client.Repositories.GetCommit(ctx, "acme", "shop", "v1.0.0", nil)
	check(t, err)
	if commit.GetSHA() != second || len(commit.Files) != 4 || commit.GetAuthor().GetLogin() != "alice" || commit.GetStats().GetDeletions() != 1 {
		t.Errorf("the commit is %v", commit)
	}
	for _, file := range commit.Files {
		if file.GetFilename() == "src/main.go" && !strings.Contains(file.GetPatch(), "+func main() {}") {
			t.Errorf("the patch is %q", file.GetPatch())
		}
	}
	sha, _, err := client.Repositories.GetCommitSHA1(ctx, "acme", "shop", "v1.0.0", "")
	check(t, err)
	if sha != second {
		t.Errorf("v1.0.0 is %s", sha)
	}
	commits, _, err := client.Repositories.ListCommits(ctx, "acme", "shop", &github.CommitsListOptions{SHA: second})
	check(t, err)
	if len(commits) != 2 || commits[1].GetSHA() != w.first {
		t.Errorf("the commits are %v", commits)
	}
	gitCommit, _, err := client.Git.GetCommit(ctx, "acme", "shop", second)
	check(t, err)
	if gitCommit.GetMessage() != "Second" {
		t.Errorf("the git commit is %v", gitCommit)
	}
	tree, _, err := client.Git.GetTree(ctx, "acme", "shop", second, true)
	check(t, err)
	if len(tree.Entries) != 7 {
		t.Errorf("the tree has %d entries: %v", len(tree.Entries), tree.Entries)
	}
	branches, _, err := client.Repositories.ListBranches(ctx, "acme", "shop", nil)
	check(t, err)
	if len(branches) != 2 {
		t.Errorf("the branches are %v", branches)
	}
	branch, _, err := client.Repositories.GetBranch(ctx, "acme", "shop", "main", false)
	check(t, err)
	if branch.GetCommit().GetSHA() != w.first {
		t.Errorf("main is %v", branch)
	}
	tags, _, err := client.Repositories.ListTags(ctx, "acme", "shop", nil)
	check(t, err)
	if len(tags) != 1 || tags[0].GetCommit().GetSHA() != second {
		t.Errorf("the tags are %v", tags)
	}
	user, _, err := client.Users.Get(ctx, "alice")
	check(t, err)
	if user.GetID() != w.alice.ID {
		t.Errorf("alice is %v", user)
	}
}

func TestCompare(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	bob := w.CreateUser("bob")
	fork, err := w.Fork(w.repo, bob)
	check(t, err)
	theirs, err := fork.Commit("feat/x", "Theirs", map[string]string{"theirs.txt": "1\n"}, bob)
	check(t, err)
	ours, err := w.repo.Commit("main", "Ours", map[string]string{"README.md": "# Ours\n"}, w.alice)
	check(t, err)
	for _, test := range []struct {
		base, head, status   string
		ahead, behind, files int
	}{
		{w.first, ours, "ahead", 1, 0, 1},
		{ours, w.first, "behind", 0, 1, 0},
		{"main", ours, "identical", 0, 0, 0},
		{"main", "bob:feat/x", "diverged", 1, 1, 1},
		{"main", theirs, "diverged", 1, 1, 1},
	} {
		got, _, err := client.Repositories.CompareCommits(ctx, "acme", "shop", test.base, test.head, nil)
		check(t, err)
		if got.GetStatus() != test.status || got.GetAheadBy() != test.ahead || got.GetBehindBy() != test.behind || len(got.Files) != test.files || len(got.Commits) != test.ahead {
			t.Errorf("%s...%s is %s, %d ahead, %d behind, %d files", test.base, test.head, got.GetStatus(), got.GetAheadBy(), got.GetBehindBy(), len(got.Files))
		}
	}
	if _, response, err := client.Repositories.CompareCommits(ctx, "acme", "shop", "main", "nobody:main", nil); err == nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("comparing with an absent fork gives %v", err)
	}
}

func TestContents(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	big := strings.Repeat("0123456789abcdef", 1<<16+1)
	sha, err := w.repo.CommitWith(githubtest.CommitOptions{Author: w.alice, Files: map[string]string{"big": big, "dir with space/ä+b.txt": "hi"}, Symlinks: map[string]string{"link": "README.md"}})
	check(t, err)
	at := &github.RepositoryContentGetOptions{Ref: sha}
	file, _, _, err := client.Repositories.GetContents(ctx, "acme", "shop", "README.md", at)
	check(t, err)
	if content, err := file.GetContent(); err != nil || content != "# Shop\n" {
		t.Errorf("README.md is %q, %v", content, err)
	}
	file, _, _, err = client.Repositories.GetContents(ctx, "acme", "shop", "dir with space/ä+b.txt", at)
	check(t, err)
	if content, _ := file.GetContent(); content != "hi" {
		t.Errorf("the file is %q", content)
	}
	_, folder, _, err := client.Repositories.GetContents(ctx, "acme", "shop", "", at)
	check(t, err)
	kinds := map[string]string{}
	for _, entry := range folder {
		kinds[entry.GetName()] = entry.GetType()
	}
	if len(kinds) != 6 || kinds["src"] != "dir" || kinds["link"] != "symlink" || kinds["big"] != "file" {
		t.Errorf("the root has %v", kinds)
	}
	_, folder, _, err = client.Repositories.GetContents(ctx, "acme", "shop", "src", nil)
	check(t, err)
	if len(folder) != 1 || folder[0].GetPath() != "src/main.go" {
		t.Errorf("src has %v", folder)
	}
	link, _, _, err := client.Repositories.GetContents(ctx, "acme", "shop", "link", at)
	check(t, err)
	if link.GetTarget() != "README.md" {
		t.Errorf("the link is %v", link)
	}
	file, _, _, err = client.Repositories.GetContents(ctx, "acme", "shop", "big", at)
	check(t, err)
	if file.GetEncoding() != "none" || file.GetSize() != len(big) {
		t.Errorf("above 1 MB the file has encoding %q, size %d", file.GetEncoding(), file.GetSize())
	}
	request, err := client.NewRequest(http.MethodGet, "repos/acme/shop/contents/big?ref="+sha, nil)
	check(t, err)
	request.Header.Set("Accept", "application/vnd.github.raw+json")
	var raw strings.Builder
	_, err = client.Do(ctx, request, &raw)
	check(t, err)
	if raw.String() != big {
		t.Errorf("the raw file has %d bytes", raw.Len())
	}
	for _, path := range []string{"nothing", "README.md/x"} {
		if _, _, response, err := client.Repositories.GetContents(ctx, "acme", "shop", path, nil); err == nil || response != nil && response.StatusCode != http.StatusNotFound {
			t.Errorf("%s gives %v", path, err)
		}
	}
}

func TestArchive(t *testing.T) {
	w := newWorld(t)
	link, _, err := w.client().Repositories.GetArchiveLink(t.Context(), "acme", "shop", github.Tarball, &github.RepositoryContentGetOptions{Ref: w.first}, false)
	check(t, err)
	response, err := http.Get(link.String()) // needs no token, as on GitHub
	check(t, err)
	defer response.Body.Close()
	unzipped, err := gzip.NewReader(response.Body)
	check(t, err)
	var names []string
	comment := ""
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		check(t, err)
		if entry.Typeflag == tar.TypeXGlobalHeader {
			comment = entry.PAXRecords["comment"]
			continue
		}
		names = append(names, entry.Name)
	}
	if comment != w.first {
		t.Errorf("the global header names %q, want %s", comment, w.first)
	}
	prefix := "acme-shop-" + w.first[:7] + "/"
	if got := strings.Join(names, " "); got != prefix+" "+prefix+"Dockerfile "+prefix+"README.md "+prefix+"src/ "+prefix+"src/main.go" {
		t.Errorf("the archive has %s", got)
	}
	link.RawQuery = "token=GUESSED"
	refused, err := http.Get(link.String())
	check(t, err)
	refused.Body.Close()
	if refused.StatusCode != http.StatusNotFound {
		t.Errorf("a guessed ticket gives %s", refused.Status)
	}
}

func TestPulls(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	bob := w.CreateUser("bob")
	fork, err := w.Fork(w.repo, bob)
	check(t, err)
	head, err := fork.Commit("fix", "Fix", map[string]string{"src/fix.go": "package main\n", "README.md": githubtest.Deleted}, bob)
	check(t, err)
	p, err := w.repo.OpenPull(githubtest.PullOptions{Title: "Fix it", Head: "bob:fix", User: bob})
	check(t, err)
	got, _, err := client.PullRequests.Get(ctx, "acme", "shop", p.Number)
	check(t, err)
	if got.Mergeable != nil || got.GetHead().GetSHA() != head || got.GetHead().GetRepo().GetFullName() != "bob/shop" || got.GetChangedFiles() != 2 || got.GetUser().GetLogin() != "bob" {
		t.Errorf("the pull request is %v", got)
	}
	got, _, err = client.PullRequests.Get(ctx, "acme", "shop", p.Number)
	check(t, err)
	if !got.GetMergeable() || got.GetMergeCommitSHA() == "" {
		t.Errorf("asked again, mergeable is %v", got.Mergeable)
	}
	files, _, err := client.PullRequests.ListFiles(ctx, "acme", "shop", p.Number, nil)
	check(t, err)
	if len(files) != 2 || files[0].GetFilename() != "README.md" || files[0].GetStatus() != "removed" || files[1].GetStatus() != "added" {
		t.Errorf("the files are %v", files)
	}
	commits, _, err := client.PullRequests.ListCommits(ctx, "acme", "shop", p.Number, nil)
	check(t, err)
	if len(commits) != 1 || commits[0].GetSHA() != head {
		t.Errorf("the commits are %v", commits)
	}
	list, _, err := client.PullRequests.List(ctx, "acme", "shop", &github.PullRequestListOptions{Head: "bob:fix", State: "open"})
	check(t, err)
	if len(list) != 1 || list[0].GetNumber() != p.Number {
		t.Errorf("the pull requests are %v", list)
	}
	list, _, err = client.PullRequests.ListPullRequestsWithCommit(ctx, "acme", "shop", head, nil)
	check(t, err)
	if len(list) != 1 || list[0].GetNumber() != p.Number {
		t.Errorf("the pull requests with the commit are %v", list)
	}
	_, err = w.repo.Commit("main", "Other", map[string]string{"src/fix.go": "package other\n"}, w.alice)
	check(t, err)
	_, _, err = client.PullRequests.Get(ctx, "acme", "shop", p.Number)
	check(t, err)
	got, _, err = client.PullRequests.Get(ctx, "acme", "shop", p.Number)
	check(t, err)
	if got.GetMergeable() || got.GetMergeableState() != "dirty" {
		t.Errorf("with a conflict mergeable is %v, %s", got.GetMergeable(), got.GetMergeableState())
	}
	if _, err := p.Merge(w.alice); err == nil {
		t.Error("merged a pull request with a conflict")
	}
	check(t, w.DeleteRepository(fork))
	got, _, err = client.PullRequests.Get(ctx, "acme", "shop", p.Number)
	check(t, err)
	if got.GetHead().Repo != nil || got.GetHead().GetSHA() != head {
		t.Errorf("with the fork gone the head is %v", got.GetHead())
	}
}

func TestPermission(t *testing.T) {
	w := newWorld(t)
	client := w.client()
	for role, want := range map[string]string{"admin": "admin", "maintain": "write", "write": "write", "triage": "read", "read": "read", "none": "none"} {
		user := w.CreateUser("user-" + role)
		w.repo.SetPermission(user, role)
		request, err := client.NewRequest(http.MethodGet, "repos/acme/shop/collaborators/"+user.Login+"/permission", nil)
		check(t, err)
		var got struct {
			Permission string
			RoleName   string `json:"role_name"`
			User       struct{ ID int64 }
		}
		_, err = client.Do(t.Context(), request, &got)
		check(t, err)
		if got.Permission != want || got.RoleName != role || got.User.ID != user.ID {
			t.Errorf("%s reads as %+v", role, got)
		}
	}
	if _, response, err := client.Repositories.GetPermissionLevel(context.Background(), "acme", "shop", "nobody"); err == nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("an absent user gives %v", err)
	}
}
