package githubtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// queued puts pull requests from branches of these names into the queue in front of main, which requires CI.
func (w *world) queued(branches ...string) []*githubtest.Pull {
	w.t.Helper()
	w.repo.EnableMergeQueue("main", "CI")
	var pulls []*githubtest.Pull
	for _, branch := range branches {
		head, err := w.repo.Commit(branch, branch, map[string]string{branch: branch}, w.alice)
		check(w.t, err)
		p, err := w.repo.OpenPull(githubtest.PullOptions{Head: branch, User: w.alice})
		check(w.t, err)
		w.repo.SetStatus(head, "CI", "success", "", w.alice)
		pulls = append(pulls, p)
	}
	w.names()
	for _, p := range pulls {
		check(w.t, w.repo.EnqueueMerge(p, w.alice))
	}
	return pulls
}

func TestMergeQueue(t *testing.T) {
	w := newWorld(t)
	p := w.queued("fix")[0]
	hooks := w.waitHooks()
	wantNames(t, w.names(), "pull_request.enqueued", "create", "push", "check_suite.requested", "merge_group.checks_requested")
	groups := w.repo.MergeGroups()
	if len(groups) != 1 || groups[0].Pull != p {
		t.Fatalf("the groups are %+v", groups)
	}
	group := groups[0]
	if group.BaseSHA != w.first || group.HeadRef != fmt.Sprintf("refs/heads/gh-readonly-queue/main/pr-%d-%s", p.Number, w.first) ||
		w.repo.Head(strings.TrimPrefix(group.HeadRef, "refs/heads/")) != group.HeadSHA {
		t.Errorf("the group is %+v", group)
	}
	for name, want := range map[string]string{"head_sha": group.HeadSHA, "head_ref": group.HeadRef, "base_sha": w.first, "base_ref": "refs/heads/main"} {
		if got := field[string](t, hooks[4].body, "merge_group", name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	commit, _, err := w.client().Repositories.GetCommit(t.Context(), "acme", "shop", group.HeadSHA, nil)
	check(t, err)
	if len(commit.Parents) != 2 || commit.Parents[0].GetSHA() != w.first || commit.Parents[1].GetSHA() != p.HeadSHA() {
		t.Errorf("the merge commit has the parents %v", commit.Parents)
	}
	if _, err := p.Merge(w.alice); err == nil {
		t.Error("merged past the queue")
	}
	if err := w.repo.EnqueueMerge(p, w.alice); err == nil {
		t.Error("enqueued twice")
	}
	w.names()

	w.repo.SetStatus(group.HeadSHA, "CI", "success", "", w.alice)
	hooks = w.waitHooks()
	wantNames(t, w.names(), "status", "push", "pull_request.closed", "pull_request.dequeued", "merge_group.destroyed", "delete", "push")
	if w.repo.Head("main") != group.HeadSHA || p.State() != "merged" || len(w.repo.MergeGroups()) != 0 {
		t.Errorf("main is at %s, the pull request %s", w.repo.Head("main"), p.State())
	}
	if field[string](t, hooks[4].body, "reason") != "merged" || field[string](t, hooks[3].body, "reason") != "MERGE" || field[string](t, hooks[2].body, "pull_request", "merge_commit_sha") != group.HeadSHA ||
		field[string](t, hooks[1].body, "sender", "login") != "github-merge-queue[bot]" {
		t.Errorf("the merge says %s", hooks[4].body)
	}
}

// The groups behind one that fails are made anew without it.
func TestMergeQueueFailure(t *testing.T) {
	w := newWorld(t)
	pulls := w.queued("bad", "good")
	w.names()
	before := w.repo.MergeGroups()
	if len(before) != 2 || before[1].BaseSHA != before[0].HeadSHA {
		t.Fatalf("the groups are %+v", before)
	}
	w.repo.SetStatus(before[0].HeadSHA, "CI", "failure", "", w.alice)
	hooks := w.waitHooks()
	names := w.names()
	wantNames(t, names, "status", "pull_request.dequeued", "merge_group.destroyed", "delete", "push", "merge_group.destroyed", "delete", "push",
		"create", "push", "check_suite.requested", "merge_group.checks_requested")
	if field[string](t, hooks[1].body, "reason") != "CI_FAILURE" || field[string](t, hooks[2].body, "reason") != "dequeued" || field[string](t, hooks[5].body, "reason") != "invalidated" {
		t.Errorf("the reasons are %s, %s, %s", hooks[1].body, hooks[2].body, hooks[5].body)
	}
	after := w.repo.MergeGroups()
	if len(after) != 1 || after[0].Pull != pulls[1] || after[0].BaseSHA != w.first || pulls[0].State() != "open" {
		t.Errorf("the groups are %+v", after)
	}
	w.repo.SetStatus(after[0].HeadSHA, "CI", "success", "", w.alice)
	w.idle()
	if pulls[1].State() != "merged" {
		t.Errorf("the good one is %s", pulls[1].State())
	}
}

func TestLeavingTheMergeQueue(t *testing.T) {
	for name, test := range map[string]struct {
		leave  func(*world, *githubtest.Pull) error
		reason string // of pull_request.dequeued
	}{
		"by hand":  {func(w *world, p *githubtest.Pull) error { return w.repo.DequeueMerge(p, w.alice) }, "MANUAL"},
		"by close": {func(w *world, p *githubtest.Pull) error { p.Close(w.alice); return nil }, "MANUAL"},
		"by push": {func(_ *world, p *githubtest.Pull) error {
			_, err := p.Push("More", map[string]string{"more": "1"}, nil)
			return err
		}, "UNKNOWN_REMOVAL_REASON"},
		"by a conflict": {func(w *world, _ *githubtest.Pull) error {
			_, err := w.repo.Commit("main", "Clash", map[string]string{"fix": "clash"}, w.alice)
			return err
		}, "MERGE_CONFLICT"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.queued("fix")[0]
			w.names()
			check(t, test.leave(w, p))
			var reasons []string
			for _, h := range w.waitHooks() {
				switch h.header.Get("X-GitHub-Event") {
				case "pull_request", "merge_group":
					if reason := field[string](t, h.body, "reason"); reason != "" {
						reasons = append(reasons, reason)
					}
				}
			}
			slices.Sort(reasons)
			want := []string{test.reason, "dequeued"}
			if test.reason == "MERGE_CONFLICT" {
				want[1] = "invalidated"
			}
			if !slices.Equal(reasons, want) || len(w.repo.MergeGroups()) != 0 {
				t.Errorf("the reasons are %q, want %q; groups: %v", reasons, want, w.repo.MergeGroups())
			}
		})
	}
	w := newWorld(t)
	p := w.queued("fix")[0]
	_, err := w.repo.Commit("main", "Apart", map[string]string{"apart": "1"}, w.alice)
	check(t, err)
	w.idle()
	if groups := w.repo.MergeGroups(); len(groups) != 1 || groups[0].BaseSHA != w.repo.Head("main") {
		t.Errorf("after main moved the groups are %+v", groups)
	}
	mallory := w.CreateUser("mallory")
	check(t, w.repo.DequeueMerge(p, w.alice))
	p.ConvertToDraft(w.alice)
	draft := w.repo.EnqueueMerge(p, w.alice)
	p.MarkReady(w.alice)
	stranger := w.repo.EnqueueMerge(p, mallory)
	w.repo.SetStatus(p.HeadSHA(), "CI", "pending", "", w.alice)
	for name, err := range map[string]error{"a draft": draft, "as a stranger": stranger, "unchecked": w.repo.EnqueueMerge(p, w.alice), "nothing": w.repo.DequeueMerge(p, w.alice)} {
		if err == nil {
			t.Errorf("enqueued or dequeued: %s", name)
		}
	}
}
