package githubtest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// offer makes a pull request from a fork of bob's.
func (w *world) offer() (bob *githubtest.User, fork *githubtest.Repository, p *githubtest.Pull) {
	w.t.Helper()
	bob = w.CreateUser("bob")
	fork, err := w.Fork(w.repo, bob)
	check(w.t, err)
	_, err = fork.Commit("fix", "Fix", map[string]string{"fix": "1"}, bob)
	check(w.t, err)
	p, err = w.repo.OpenPull(githubtest.PullOptions{Title: "Fix", Head: "bob:fix", User: bob})
	check(w.t, err)
	w.names()
	return bob, fork, p
}

func TestPullEdits(t *testing.T) {
	w := newWorld(t)
	_, err := w.repo.Commit("release", "Release", map[string]string{"r": "r"}, w.alice)
	check(t, err)
	bob, _, p := w.offer()
	p.Retitle(bob, "Fix it")
	p.Rewrite(bob, "All of it")
	check(t, p.Retarget(w.alice, "release"))
	p.Label(w.alice, "preview")
	if err := p.Retarget(w.alice, "nowhere"); err == nil {
		t.Error("retargeted to a branch that doesn't exist")
	}
	hooks := w.waitHooks()
	wantNames(t, w.names(), "pull_request.edited", "pull_request.edited", "pull_request.edited", "pull_request.labeled")
	for i, test := range []struct {
		path []string
		want string
	}{
		{[]string{"changes", "title", "from"}, "Fix"}, {[]string{"pull_request", "title"}, "Fix it"}, {[]string{"sender", "login"}, "bob"},
		{[]string{"pull_request", "body"}, "All of it"},
		{[]string{"changes", "base", "ref", "from"}, "main"}, {[]string{"changes", "base", "sha", "from"}, w.first}, {[]string{"pull_request", "base", "ref"}, "release"},
		{[]string{"pull_request", "base", "sha"}, w.repo.Head("release")}, {[]string{"sender", "login"}, "alice"},
		{[]string{"label", "name"}, "preview"}, {[]string{"pull_request", "labels", "0", "name"}, "preview"},
	} {
		body := hooks[[]int{0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3}[i]].body
		if got := field[string](t, body, test.path...); got != test.want {
			t.Errorf("%v is %q, want %q", test.path, got, test.want)
		}
	}
}

// The sender of synchronize is who pushed, which need not be who opened the pull request.
func TestHeadMovedByAnother(t *testing.T) {
	w := newWorld(t)
	bob, fork, p := w.offer()
	carol, mallory := w.CreateUser("carol"), w.CreateUser("mallory")
	fork.SetPermission(carol, "write")
	if _, err := p.Push("Mine", map[string]string{"fix": "m"}, mallory); err == nil {
		t.Error("a stranger pushed to the fork")
	}
	for _, user := range []*githubtest.User{carol, w.alice} {
		head, err := p.Push("Help", map[string]string{"fix": user.Login}, user)
		check(t, err)
		hooks := w.waitHooks()
		wantNames(t, w.names(), "pull_request.synchronize")
		if field[string](t, hooks[0].body, "sender", "login") != user.Login || field[string](t, hooks[0].body, "pull_request", "user", "login") != bob.Login ||
			field[string](t, hooks[0].body, "pull_request", "head", "sha") != head {
			t.Errorf("%s pushed, and the event says %s", user.Login, hooks[0].body)
		}
	}
}

func TestDeletedFork(t *testing.T) {
	w := newWorld(t)
	bob, fork, p := w.offer()
	head := p.HeadSHA()
	check(t, w.DeleteRepository(fork))
	if p.State() != "open" {
		t.Errorf("without its fork the pull request is %s", p.State())
	}
	p.Label(w.alice, "orphan")
	p.Close(bob)
	if err := p.Reopen(bob); err == nil {
		t.Error("reopened a pull request whose fork is gone")
	}
	if _, err := p.Push("More", map[string]string{"fix": "2"}, bob); err == nil {
		t.Error("pushed to a fork that is gone")
	}
	hooks := w.waitHooks()
	wantNames(t, w.names(), "pull_request.labeled", "pull_request.closed")
	for _, h := range hooks {
		if field[any](t, h.body, "pull_request", "head", "repo") != nil || field[string](t, h.body, "pull_request", "head", "sha") != head {
			t.Errorf("the event says %s", h.body)
		}
	}
	got, _, err := w.client().PullRequests.Get(t.Context(), "acme", "shop", p.Number)
	check(t, err)
	if got.GetHead().Repo != nil || got.GetHead().GetSHA() != head {
		t.Errorf("the head is %v", got.GetHead())
	}
	if _, _, err := w.client().Repositories.GetCommit(t.Context(), "acme", "shop", head, nil); err != nil {
		t.Errorf("the commit went with the fork: %v", err)
	}
}

func TestPullLists(t *testing.T) {
	w := newWorld(t)
	bob, fork, theirs := w.offer()
	var pulls []*githubtest.Pull
	for _, branch := range []string{"release", "one", "two"} {
		w.clock.advance(time.Minute)
		_, err := w.repo.Commit(branch, branch, map[string]string{branch: branch}, w.alice)
		check(t, err)
		if branch == "release" {
			continue
		}
		p, err := w.repo.OpenPull(githubtest.PullOptions{Head: branch, User: w.alice})
		check(t, err)
		pulls = append(pulls, p)
	}
	one, two := pulls[0], pulls[1]
	check(t, two.Retarget(w.alice, "release"))
	w.clock.advance(time.Minute)
	one.Label(w.alice, "recent")
	w.clock.advance(time.Minute)
	_, err := fork.Commit("old", "Old", map[string]string{"old": "1"}, bob)
	check(t, err)
	closed, err := w.repo.OpenPull(githubtest.PullOptions{Head: "bob:old", User: bob})
	check(t, err)
	closed.Close(bob)
	client := w.tokenClient(w.inst.Token())
	for name, test := range map[string]struct {
		options github.PullRequestListOptions
		want    []int
	}{
		"open, newest first":      {github.PullRequestListOptions{}, []int{two.Number, one.Number, theirs.Number}},
		"closed":                  {github.PullRequestListOptions{State: "closed"}, []int{closed.Number}},
		"all, oldest first":       {github.PullRequestListOptions{State: "all", Direction: "asc"}, []int{theirs.Number, one.Number, two.Number, closed.Number}},
		"by base":                 {github.PullRequestListOptions{Base: "release"}, []int{two.Number}},
		"by head":                 {github.PullRequestListOptions{Head: "bob:fix"}, []int{theirs.Number}},
		"by head of another":      {github.PullRequestListOptions{Head: "acme:fix"}, nil},
		"by head without owner":   {github.PullRequestListOptions{Head: "fix"}, []int{two.Number, one.Number, theirs.Number}},
		"by update":               {github.PullRequestListOptions{Sort: "updated"}, []int{theirs.Number, two.Number, one.Number}},
		"by update, newest first": {github.PullRequestListOptions{Sort: "updated", Direction: "desc"}, []int{one.Number, two.Number, theirs.Number}},
	} {
		list, _, err := client.PullRequests.List(t.Context(), "acme", "shop", &test.options)
		check(t, err)
		var got []int
		for _, p := range list {
			got = append(got, p.GetNumber())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}
