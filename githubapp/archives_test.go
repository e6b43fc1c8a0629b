package githubapp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

func (w *world) archives(dir string, budget int64) *Archives {
	w.t.Helper()
	s, err := NewArchives(ArchivesConfig{App: w.app, Dir: dir, Budget: budget})
	ok(w.t, err)
	return s
}

func (w *world) run(sha string) jobs.RunInfo {
	return jobs.RunInfo{ID: "r-1", Installation: w.inst.ID, Repository: described(w.repo), SHA: sha}
}

const tarball = "repos/download-tarball-archive"

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	ok(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCheckout(t *testing.T) {
	w := newWorld(t)
	sha, err := w.repo.CommitWith(githubtest.CommitOptions{
		Files: map[string]string{"run.sh": "#!/bin/sh\n", "deep/er/ä b": "x"}, Executable: []string{"run.sh"},
		Symlinks: map[string]string{"deep/link": "er/ä b"}, Author: w.alice,
	})
	ok(t, err)
	s := w.archives(t.TempDir(), 0)
	c, err := s.Checkout(t.Context(), w.run(sha))
	ok(t, err)
	data, err := c.Root.ReadFile("deep/link")
	if err != nil || string(data) != "x" {
		t.Errorf("by the root: %q, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "src/main.go")); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(filepath.Join(c.Dir, "run.sh"))
	if err != nil || info.Mode() != 0o755 || !info.ModTime().Equal(c.CommitTime) || c.CommitTime.IsZero() {
		t.Errorf("run.sh: %v, %v, commit of %s", info, err, c.CommitTime)
	}
	if _, err := c.Root.Open("../../x"); err == nil {
		t.Error("the root lets out")
	}
	c.Close()
	c.Close() // harmless
	again, err := s.Checkout(t.Context(), w.run(sha))
	ok(t, err)
	defer again.Close()
	if n := w.count(tarball); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	archives := w.CountRequests(func(r githubtest.Request) bool { return r.Operation == "archive" && r.Installation == 0 && r.App == 0 })
	if archives != 1 {
		t.Errorf("%d archives were fetched without a token, want 1", archives)
	}
}

func TestCheckoutOfAForksCommit(t *testing.T) {
	w := newWorld(t)
	mallory := w.CreateUser("mallory")
	fork, err := w.Fork(w.repo, mallory)
	ok(t, err)
	head, err := fork.Commit("x", "Change", map[string]string{"x": "from the fork"}, mallory)
	ok(t, err)
	_, err = w.repo.OpenPull(githubtest.PullOptions{Head: "mallory:x", User: mallory})
	ok(t, err)
	c, err := w.archives(t.TempDir(), 0).Checkout(t.Context(), w.run(head))
	ok(t, err)
	defer c.Close()
	if data, err := c.Root.ReadFile("x"); err != nil || string(data) != "from the fork" {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestCallersShareOneDownload(t *testing.T) {
	w := newWorld(t)
	s := w.archives(t.TempDir(), 0)
	var group sync.WaitGroup
	for range 12 {
		group.Go(func() {
			c, err := s.Checkout(t.Context(), w.run(w.first))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := c.Root.Stat("Dockerfile"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := w.count(tarball); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestCallerThatGivesUpDoesNotStopTheDownload(t *testing.T) {
	w := newWorld(t)
	s := w.archives(t.TempDir(), 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Checkout(ctx, w.run(w.first)); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c, err := s.Checkout(t.Context(), w.run(w.first))
	ok(t, err)
	c.Close()
	if n := w.count(tarball); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestEvictionKeepsWhatIsInUse(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	s := w.archives(dir, 1) // less than any commit
	first, err := s.Checkout(t.Context(), w.run(w.first))
	ok(t, err)
	again, err := s.Checkout(t.Context(), w.run(w.first))
	ok(t, err)
	second, err := s.Checkout(t.Context(), w.run(w.commit("main", map[string]string{"b": "2"})))
	ok(t, err)
	second.Close()
	again.Close()
	if _, err := first.Root.ReadFile("README.md"); err != nil {
		t.Errorf("a commit in use was removed: %v", err)
	}
	if names := list(t, dir); len(names) != 1 || !strings.HasSuffix(names[0], w.first) {
		t.Errorf("%q lie there, want the one in use", names)
	}
	first.Close()
	if names := list(t, dir); len(names) != 0 {
		t.Errorf("%q lie there, want nothing", names)
	}
	if s.total != 0 {
		t.Errorf("%d bytes are counted, want 0", s.total)
	}
}

func TestEvictionTakesTheLeastRecentlyUsed(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	s := w.archives(dir, 120<<10)
	var shas []string
	use := func(sha string) {
		t.Helper()
		c, err := s.Checkout(t.Context(), w.run(sha))
		ok(t, err)
		c.Close()
	}
	for i := range 3 {
		shas = append(shas, w.commit("main", map[string]string{"big": strings.Repeat("x", 20<<10+i)})) // about 40 KB with overhead
	}
	use(shas[0])
	use(shas[1])
	use(shas[0])
	use(shas[2])
	for i, want := range []bool{true, false, true} {
		if got := slices.ContainsFunc(list(t, dir), func(n string) bool { return strings.HasSuffix(n, shas[i]) }); got != want {
			t.Errorf("commit %d lies there: %v, want %v (%d bytes in all)", i, got, want, s.total)
		}
	}
}

func TestAnEvictionThatFailsLosesNothing(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	s := w.archives(dir, 0)
	c, err := s.Checkout(t.Context(), w.run(w.first))
	ok(t, err)
	c.Close()
	s.budget = 1
	s.dir = filepath.Join(dir, fmt.Sprintf("%d-%s", w.repo.ID, w.first), metaName) // no folder: nothing can be moved or made
	s.evict()
	s.dir = dir
	if s.total == 0 {
		t.Error("what lies there is not counted")
	}
	c, err = s.Checkout(t.Context(), w.run(w.first))
	ok(t, err)
	if n := w.count(tarball); n != 1 {
		t.Errorf("fetched %d times, want 1", n)
	}
	c.Close()
	if names := list(t, dir); len(names) != 0 || s.total != 0 {
		t.Errorf("%q lie there and %d bytes are counted, want nothing", names, s.total)
	}
	// What somebody else took away does not keep the rest from being evicted.
	s.budget = 1 << 30
	for _, sha := range []string{w.first, w.commit("main", map[string]string{"b": "2"})} {
		c, err := s.Checkout(t.Context(), w.run(sha))
		ok(t, err)
		c.Close()
	}
	ok(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("%d-%s", w.repo.ID, w.first))))
	s.budget = 1
	s.evict()
	if names := list(t, dir); len(names) != 0 || s.total != 0 {
		t.Errorf("%q lie there and %d bytes are counted, want nothing", names, s.total)
	}
}

func TestArchivesAfterACrash(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	c, err := w.archives(dir, 0).Checkout(t.Context(), w.run(w.first))
	ok(t, err)
	was := c.CommitTime
	c.Close()
	second := w.commit("main", map[string]string{"b": "2"})
	c, err = w.archives(dir, 0).Checkout(t.Context(), w.run(second))
	ok(t, err)
	lost := c.Dir
	c.Close()
	// A download was under way, a file of the second commit never reached the disk, and other things lie there, too.
	ok(t, os.MkdirAll(filepath.Join(dir, partialPrefix+"123", "tree"), 0o755))
	ok(t, os.WriteFile(filepath.Join(lost, "README.md"), nil, 0o644))
	ok(t, os.MkdirAll(filepath.Join(dir, "1-"+strings.Repeat("a", 40)), 0o755))
	ok(t, os.WriteFile(filepath.Join(dir, "note.txt"), []byte("not ours"), 0o644))

	s := w.archives(dir, 0)
	if names := list(t, dir); len(names) != 2 || !slices.Contains(names, "note.txt") {
		t.Errorf("%q lie there, want the first commit and what is not ours", names)
	}
	n := w.count(tarball)
	c, err = s.Checkout(t.Context(), w.run(w.first))
	ok(t, err)
	defer c.Close()
	if w.count(tarball) != n || !c.CommitTime.Equal(was) {
		t.Errorf("a whole commit was fetched again, or its time is lost: %s, was %s", c.CommitTime, was)
	}
	if whole, err := s.Checkout(t.Context(), w.run(second)); err != nil {
		t.Error(err)
	} else if data, err := whole.Root.ReadFile("README.md"); err != nil || len(data) == 0 {
		t.Errorf("the damaged commit was used: %q, %v", data, err)
	}
}

func TestCheckoutThatFailsLeavesNothing(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	s := w.archives(dir, 0)
	check := func(name string, matches func(error) bool) {
		t.Helper()
		_, err := s.Checkout(t.Context(), w.run(w.first))
		if err == nil || !matches(err) {
			t.Errorf("%s: got %v", name, err)
		}
		clean(t, err)
		if names := list(t, dir); len(names) != 0 {
			t.Errorf("%s: %q were left", name, names)
		}
	}
	var (
		down    *Unavailable
		later   *jobs.Later
		refusal *jobs.Refusal
		gone    *jobs.Gone
	)
	w.Fail(githubtest.Failure{Operation: tarball, Status: 502})
	check("API down", func(err error) bool { return errors.As(err, &down) })
	w.Fail(githubtest.Failure{Operation: "archive", Status: 503})
	check("archive host down", func(err error) bool { return errors.As(err, &down) })
	w.Fail(githubtest.Failure{Operation: "archive", Kind: githubtest.LostAnswer, Times: -1})
	check("archive host silent", func(err error) bool { return errors.As(err, &down) })
	w.ClearFailures()
	w.Fail(githubtest.Failure{Operation: tarball, Kind: githubtest.SecondaryLimit})
	check("limited", func(err error) bool { return errors.As(err, &later) })
	w.clock.advance(2 * 60e9)
	s.limits.entries = 1
	check("too many files", func(err error) bool { return errors.As(err, &refusal) })
	s.limits = defaultLimits
	_, err := s.Checkout(t.Context(), w.run("00000000000000000000000000000000000000ff"))
	if !errors.Is(err, errNoCommit) {
		t.Errorf("no such commit: got %v", err)
	}
	if _, err := s.Checkout(t.Context(), w.run("main")); err == nil {
		t.Error("a branch was taken for a SHA")
	}
	ok(t, w.DeleteRepository(w.repo))
	check("repository gone", func(err error) bool { return errors.As(err, &gone) })
}

// The stand-in packs with the real git, whose archives GitHub's are, so this holds what git really writes.
func TestGitSaysWhichCommitAnArchiveHolds(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("git is needed")
	}
	w := newWorld(t)
	s := w.archives(t.TempDir(), 0)
	stream, err := w.app.archive(t.Context(), w.inst.ID, described(w.repo), w.first)
	ok(t, err)
	defer stream.Close()
	root, err := os.OpenRoot(t.TempDir())
	ok(t, err)
	defer root.Close()
	if _, err := unpack(t.Context(), stream, root, strings.Repeat("e", 40), s.limits); err == nil || !strings.Contains(err.Error(), w.first) {
		t.Errorf("another commit's archive: got %v", err)
	}
}
