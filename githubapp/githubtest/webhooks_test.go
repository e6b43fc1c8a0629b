package githubtest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// field digs one value out of JSON by its path.
func field[T any](t *testing.T, body []byte, path ...string) T {
	t.Helper()
	var value any
	check(t, json.Unmarshal(body, &value))
	for _, name := range path {
		switch at := value.(type) {
		case map[string]any:
			value = at[name]
		case []any:
			if len(at) == 0 {
				value = nil
				continue
			}
			value = at[0]
		}
	}
	typed, _ := value.(T)
	return typed
}

func wantNames(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got the events %q, want %q", got, want)
	}
}

func TestPushOverHTTP(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	git(t, dir, "clone", "--quiet", w.repo.CloneURL(w.alice), "shop")
	shop := filepath.Join(dir, "shop")
	check(t, os.WriteFile(filepath.Join(shop, "README.md"), []byte("# Better shop\n"), 0o644))
	check(t, os.WriteFile(filepath.Join(shop, "new file.txt"), []byte("new\n"), 0o644))
	check(t, os.Remove(filepath.Join(shop, "src/main.go")))
	git(t, shop, "add", "-A")
	git(t, shop, "commit", "--quiet", "-m", "Second")
	git(t, shop, "push", "--quiet", "origin", "main")
	head := git(t, shop, "rev-parse", "HEAD")
	w.idle()
	hooks := w.hooks.all()
	wantNames(t, w.names(), "push", "check_suite.requested")
	push := hooks[0]
	for name, want := range map[string]string{"X-GitHub-Event": "push", "X-GitHub-Hook-Installation-Target-Type": "integration", "X-GitHub-Hook-Installation-Target-ID": "4711",
		"X-Hub-Signature-256": githubtest.Sign(secret, push.body), "Content-Type": "application/json"} {
		if got := push.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(push.header.Get("User-Agent"), "GitHub-Hookshot/") || push.header.Get("X-Hub-Signature") == "" || len(push.header.Get("X-GitHub-Delivery")) != 36 {
		t.Errorf("headers are %v", push.header)
	}
	if field[string](t, push.body, "before") != w.first || field[string](t, push.body, "after") != head || field[string](t, push.body, "sender", "login") != "alice" {
		t.Errorf("the push says %s", push.body)
	}
	for list, want := range map[string]string{"added": "new file.txt", "modified": "README.md", "removed": "src/main.go"} {
		if got := field[string](t, push.body, "commits", "0", list, "0"); got != want {
			t.Errorf("%s is %q, want %q", list, got, want)
		}
	}

	// The address in the commit belongs to nobody GitHub knows.
	unknown, _, err := w.client().Repositories.GetCommit(t.Context(), "acme", "shop", head, nil)
	check(t, err)
	if unknown.Author != nil || unknown.GetCommit().GetAuthor().GetEmail() != "alice@example.com" {
		t.Errorf("the author is %v, %v", unknown.Author, unknown.GetCommit().GetAuthor())
	}

	git(t, shop, "checkout", "--quiet", "-b", "feat/x")
	git(t, shop, "push", "--quiet", "origin", "feat/x")
	hooks = w.waitHooks()
	wantNames(t, w.names(), "create", "push") // the suite of this commit exists already
	if field[string](t, hooks[1].body, "base_ref") != "refs/heads/main" || !field[bool](t, hooks[1].body, "created") {
		t.Errorf("the push of a new branch says %s", hooks[1].body)
	}
	git(t, shop, "commit", "--quiet", "--amend", "-m", "Second, again")
	git(t, shop, "push", "--quiet", "--force", "origin", "feat/x")
	hooks = w.waitHooks()
	wantNames(t, w.names(), "push", "check_suite.requested")
	if !field[bool](t, hooks[0].body, "forced") {
		t.Error("a forced push doesn't say so")
	}
	git(t, shop, "push", "--quiet", "--delete", "origin", "feat/x")
	hooks = w.waitHooks()
	wantNames(t, w.names(), "delete", "push")
	if !field[bool](t, hooks[1].body, "deleted") || strings.Trim(field[string](t, hooks[1].body, "after"), "0") != "" {
		t.Errorf("the deletion says %s", hooks[1].body)
	}

	git(t, shop, "tag", "-a", "v1", "-m", "One")
	git(t, shop, "push", "--quiet", "origin", "v1")
	wantNames(t, w.names(), "create", "push")
	for _, tag := range []string{"a", "b", "c", "d"} {
		git(t, shop, "tag", tag)
	}
	git(t, shop, "push", "--quiet", "origin", "a", "b", "c", "d")
	wantNames(t, w.names())
	git(t, shop, "push", "--quiet", "--delete", "origin", "a", "b", "c")
	if got := w.names(); len(got) != 6 {
		t.Errorf("three deleted tags made %q", got)
	}
}

func (w *world) waitHooks() []hook {
	w.t.Helper()
	w.idle()
	return w.hooks.all()
}

func TestWhoMayPush(t *testing.T) {
	w := newWorld(t)
	mallory := w.CreateUser("mallory")
	reader := w.CreateUser("rita")
	w.repo.SetPermission(reader, "read")
	dir := t.TempDir()
	git(t, dir, "clone", "--quiet", w.repo.CloneURL(reader), "shop")
	shop := filepath.Join(dir, "shop")
	git(t, shop, "commit", "--quiet", "--allow-empty", "-m", "Mine")
	for _, url := range []string{w.repo.CloneURL(reader), w.repo.CloneURL(mallory), w.repo.CloneURL(nil), strings.Replace(w.repo.CloneURL(nil), "://", "://x-access-token:"+w.inst.Token()+"@", 1)} {
		if out, err := tryGit(t, shop, "push", url, "HEAD:main"); err == nil {
			t.Errorf("pushed as %s: %s", url, out)
		}
	}
	if out, err := tryGit(t, dir, "clone", w.repo.CloneURL(mallory), "stolen"); err == nil {
		t.Errorf("a stranger cloned a private repository: %s", out)
	}
	if out, err := tryGit(t, shop, "push", w.repo.CloneURL(w.alice), "HEAD:refs/pull/1/head"); err == nil {
		t.Errorf("pushed to refs/pull: %s", out)
	}
	git(t, dir, "clone", "--quiet", strings.Replace(w.repo.CloneURL(nil), "://", "://x-access-token:"+w.inst.Token()+"@", 1), "app")
	git(t, dir, "clone", "--quiet", strings.TrimSuffix(w.repo.CloneURL(w.alice), ".git"), "short") // .git may be left out
	for _, user := range []*githubtest.User{reader, mallory} {
		if _, err := w.repo.Commit("main", "Mine", nil, user); err == nil {
			t.Errorf("%s committed", user.Login)
		}
		if err := w.repo.SetRef("refs/heads/mine", w.first, user); err == nil {
			t.Errorf("%s made a branch", user.Login)
		}
	}
	wantNames(t, w.names())
	if w.repo.Head("main") != w.first {
		t.Error("main has moved")
	}

	// Writers may push to the branch of a fork that a pull request offers, and to no other.
	fork, err := w.Fork(w.repo, mallory)
	check(t, err)
	_, err = fork.Commit("offer", "Offer", map[string]string{"o": "o"}, mallory)
	check(t, err)
	if _, err := fork.Commit("offer", "Help", map[string]string{"o": "p"}, w.alice); err == nil {
		t.Error("pushed to a fork that offers nothing")
	}
	p, err := w.repo.OpenPull(githubtest.PullOptions{Head: "mallory:offer"})
	check(t, err)
	_, err = p.Push("Help", map[string]string{"o": "p"}, w.alice)
	check(t, err)
	if _, err := p.Merge(mallory); err == nil {
		t.Error("a stranger merged")
	}
	git(t, shop, "fetch", "--quiet", "origin", fmt.Sprintf("refs/pull/%d/head", p.Number))
	if got := git(t, shop, "rev-parse", "FETCH_HEAD"); got != p.HeadSHA() {
		t.Errorf("refs/pull holds %s", got)
	}
}

// A pack above git's 1 MB buffer is sent in chunks without a length.
func TestBigPush(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	git(t, dir, "clone", "--quiet", w.repo.CloneURL(w.alice), "shop")
	shop := filepath.Join(dir, "shop")
	noise := make([]byte, 3<<20)
	for i := range noise {
		noise[i] = byte(i * i >> 3 * 2654435761 >> 13)
	}
	check(t, os.WriteFile(filepath.Join(shop, "noise"), noise, 0o644))
	git(t, shop, "add", "-A")
	git(t, shop, "commit", "--quiet", "-m", "Noise")
	git(t, shop, "-c", "core.compression=0", "-c", "pack.compression=0", "push", "--quiet", "origin", "main")
	wantNames(t, w.names(), "push", "check_suite.requested")
}

func TestPullRequestEvents(t *testing.T) {
	w := newWorld(t)
	bob := w.CreateUser("bob")
	fork, err := w.Fork(w.repo, bob)
	check(t, err)
	_, err = fork.Commit("fix", "Fix", map[string]string{"src/fix.go": "package main\n"}, bob)
	check(t, err)
	wantNames(t, w.names()) // the App isn't installed on the fork
	p, err := w.repo.OpenPull(githubtest.PullOptions{Title: "Fix it", Head: "bob:fix", User: bob, Draft: true})
	check(t, err)
	wantNames(t, w.names(), "pull_request.opened")
	before := p.HeadSHA()
	after, err := p.Push("More", map[string]string{"src/fix.go": "package main // more\n"}, nil)
	check(t, err)
	hooks := w.waitHooks()
	wantNames(t, w.names(), "pull_request.synchronize")
	if field[string](t, hooks[0].body, "before") != before || field[string](t, hooks[0].body, "after") != after || p.HeadSHA() != after {
		t.Errorf("the synchronize event says %s", hooks[0].body)
	}
	p.MarkReady(bob)
	p.Label(w.alice, "preview")
	p.Unlabel(w.alice, "preview")
	p.ConvertToDraft(bob)
	_, err = w.repo.Commit("release", "Release", map[string]string{"r": "r"}, w.alice)
	check(t, err)
	check(t, p.Retarget(w.alice, "release"))
	check(t, p.Retarget(w.alice, "main"))
	p.Close(bob)
	check(t, p.Reopen(bob))
	id, err := p.Comment(w.alice, "/ok-to-test")
	check(t, err)
	check(t, p.EditComment(id, w.alice, "never mind"))
	wantNames(t, w.names(), "pull_request.ready_for_review", "pull_request.labeled", "pull_request.unlabeled", "pull_request.converted_to_draft", "create", "push",
		"check_suite.requested", "pull_request.edited", "pull_request.edited", "pull_request.closed", "pull_request.reopened", "issue_comment.created", "issue_comment.edited")
	merged, err := p.Merge(w.alice)
	check(t, err)
	hooks = w.waitHooks()
	wantNames(t, w.names(), "push", "check_suite.requested", "pull_request.closed")
	if !field[bool](t, hooks[2].body, "pull_request", "merged") || field[string](t, hooks[2].body, "pull_request", "merge_commit_sha") != merged || p.State() != "merged" || w.repo.Head("main") != merged {
		t.Errorf("the merge says %s", hooks[2].body)
	}
	check(t, w.DeleteRepository(fork))

	// A pull request within the repository closes with its branch.
	_, err = w.repo.Commit("own", "Own", map[string]string{"own": "1"}, w.alice)
	check(t, err)
	own, err := w.repo.OpenPull(githubtest.PullOptions{Head: "own", User: w.alice})
	check(t, err)
	check(t, w.repo.DeleteRef("refs/heads/own", w.alice))
	names := w.names()
	if own.State() != "closed" || names[len(names)-1] != "pull_request.closed" {
		t.Errorf("after its branch went the pull request is %s; events: %q", own.State(), names)
	}
}

// A push shows at most 2048 commits, oldest first, each with its own files.
func TestPushOfManyCommits(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	git(t, dir, "clone", "--quiet", w.repo.CloneURL(w.alice), "shop")
	shop := filepath.Join(dir, "shop")
	var stream strings.Builder
	for i := range 2100 {
		fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter alice <alice@example.com> 1700000000 +0000\ndata 1\n%d\n", i%10)
		if i == 0 {
			fmt.Fprintf(&stream, "from %s\n", w.first)
		}
		fmt.Fprintf(&stream, "M 100644 inline f%d\ndata 1\n.\n", i)
	}
	check(t, os.WriteFile(filepath.Join(dir, "stream"), []byte(stream.String()), 0o644))
	importing := exec.CommandContext(t.Context(), "sh", "-c", "git fast-import --quiet < ../stream")
	importing.Dir = shop
	if out, err := importing.CombinedOutput(); err != nil {
		t.Fatalf("git fast-import: %v\n%s", err, out)
	}
	git(t, shop, "push", "--quiet", "origin", "main")
	hooks := w.waitHooks()
	wantNames(t, w.names(), "push", "check_suite.requested")
	commits := field[[]any](t, hooks[0].body, "commits")
	if len(commits) != 2048 {
		t.Fatalf("the push shows %d commits", len(commits))
	}
	first, last := commits[0].(map[string]any), commits[2047].(map[string]any)
	if last["id"] != w.repo.Head("main") || last["added"].([]any)[0] != "f2099" || first["added"].([]any)[0] != "f52" || len(first["added"].([]any)) != 1 {
		t.Errorf("the first is %v, the last %v", first, last)
	}
}
