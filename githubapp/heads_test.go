package githubapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

func TestInstallationsAndRepositories(t *testing.T) {
	w := newWorld(t)
	heads := w.app.Heads()
	w.another("acme/api", githubtest.RepositoryOptions{})
	w.another("other/tool", githubtest.RepositoryOptions{})
	suspended := w.gh.Install("other")
	suspended.Suspend(true)
	list, err := heads.Installations(t.Context())
	ok(t, err)
	if len(list) != 1 || list[0].ID != w.inst.ID || list[0].Created.IsZero() {
		t.Errorf("installations %+v", list)
	}
	var names []string
	each := func(r jobs.Repository) error {
		names = append(names, fmt.Sprint(r.FullName(), " ", r.DefaultBranch, " ", r.Private))
		return nil
	}
	ok(t, heads.Repositories(t.Context(), w.inst.ID, each))
	ok(t, heads.Repositories(t.Context(), w.inst.ID, each)) // with the same token
	slices.Sort(names)
	if got := strings.Join(slices.Compact(names), ", "); got != "acme/api main false, acme/shop main true" || w.count("apps/create-installation-access-token") != 1 {
		t.Errorf("repositories %s; %d tokens", got, w.count("apps/create-installation-access-token"))
	}
	enough := errors.New("enough")
	if err := heads.Repositories(t.Context(), w.inst.ID, func(jobs.Repository) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	w.inst.Uninstall()
	var gone *jobs.Gone
	if err := w.newApp().Heads().Repositories(t.Context(), w.inst.ID, each); !errors.As(err, &gone) {
		t.Errorf("the App was removed: %v", err)
	}
}

func TestHeads(t *testing.T) {
	w := newWorld(t)
	repo := described(w.repo)
	next := w.commit("feature", map[string]string{"a": "1"})
	pull, err := w.repo.OpenPull(githubtest.PullOptions{Title: "A", Head: "feature", User: w.alice})
	ok(t, err)
	w.commit("old", map[string]string{"a": "2"})
	done, err := w.repo.OpenPull(githubtest.PullOptions{Title: "B", Head: "old", User: w.alice})
	ok(t, err)
	done.Close(w.alice)
	refs := map[string]string{}
	for i := range 120 {
		refs[fmt.Sprintf("refs/tags/v%03d", i)] = w.first
	}
	ok(t, w.repo.SetRefs(refs, w.alice))
	ok(t, w.repo.Tag("annotated", next, "A tag", w.alice))
	w.ResetRequests()

	got, err := w.app.Heads().Heads(t.Context(), w.inst.ID, repo)
	ok(t, err)
	find := func(ref string) jobs.Head {
		i := slices.IndexFunc(got, func(h jobs.Head) bool { return h.Ref == ref })
		if i < 0 {
			t.Fatalf("%s is not among %d heads", ref, len(got))
		}
		return got[i]
	}
	if len(got) != 123 || find("refs/heads/main").SHA != w.first || find("refs/tags/v119").SHA != w.first || find("refs/tags/annotated").SHA != next {
		t.Errorf("%d heads: %+v", len(got), got[:3])
	}
	if h := find(fmt.Sprintf("refs/pull/%d/head", pull.Number)); h.SHA != next || h.Number != pull.Number || h.Updated.IsZero() || h.Installation != w.inst.ID || h.Repository != repo {
		t.Errorf("%+v", h)
	}
	if n := len(w.Requests()); n != 5 { // token, branch, pull requests, two pages of tags
		t.Errorf("%d calls were made", n)
	}

	empty, err := w.CreateRepository("acme/empty", githubtest.RepositoryOptions{})
	ok(t, err)
	if got, err := w.app.Heads().Heads(t.Context(), w.inst.ID, described(empty)); err != nil || len(got) > 0 {
		t.Errorf("an empty repository: %+v, %v", got, err)
	}
	var later *jobs.Later
	w.Fail(githubtest.Failure{Operation: "pulls/list", Kind: githubtest.PrimaryLimit, RetryAfter: time.Hour})
	if _, err := w.app.Heads().Heads(t.Context(), w.inst.ID, repo); !errors.As(err, &later) {
		t.Errorf("limited: %v", err)
	}
	// It is the installation's budget.
	if _, _, err := w.app.Head(t.Context(), w.inst.ID, repo, "refs/heads/main"); !errors.As(err, &later) {
		t.Errorf("limited as well: %v", err)
	}
}

func TestHeadsDelivery(t *testing.T) {
	w := newWorld(t)
	mallory := w.CreateUser("mallory")
	fork, err := w.Fork(w.repo, mallory)
	ok(t, err)
	sha, err := fork.Commit("feat/x", "Change", map[string]string{"src/x.go": "package x\n"}, mallory)
	ok(t, err)
	pull, err := w.repo.OpenPull(githubtest.PullOptions{Title: "Add x", Head: "mallory:feat/x", User: mallory})
	ok(t, err)
	pull.Label(w.alice, "preview")
	heads, repo := w.app.Heads(), described(w.repo)

	push := jobs.Head{Installation: w.inst.ID, Repository: repo, Ref: "refs/tags/v1", SHA: w.first}
	d, err := heads.Delivery(t.Context(), push, "")
	ok(t, err)
	var p sentPayload
	ok(t, json.Unmarshal(d.Body, &p))
	if d.GUID != push.GUID() || d.Event != "push" || d.TargetID != w.gh.ID || !d.Received.Equal(w.clock.Now()) ||
		p.Ref != "refs/tags/v1" || p.Before != strings.Repeat("0", 40) || p.After != w.first || p.HeadCommit.ID != w.first || p.HeadCommit.Message != "Change" ||
		p.Repository.ID != w.repo.ID || p.Repository.FullName != "acme/shop" || p.Repository.Owner.Login != "acme" || p.Sender.ID == 0 || p.Installation.ID != w.inst.ID {
		t.Errorf("%+v\n%s", d, d.Body)
	}
	opened := jobs.Head{Installation: w.inst.ID, Repository: repo, Ref: "refs/pull/1/head", SHA: sha, Number: pull.Number}
	d, err = heads.Delivery(t.Context(), opened, "opened")
	ok(t, err)
	p = sentPayload{}
	ok(t, json.Unmarshal(d.Body, &p))
	pr := p.PullRequest
	if d.Event != "pull_request" || p.Action != "opened" || pr.Number != pull.Number || pr.State != "open" || pr.Title != "Add x" || pr.Head.SHA != sha || pr.Head.Repo.ID != fork.ID ||
		pr.Head.Ref != "feat/x" || pr.Base.Ref != "main" || pr.Base.SHA != w.first || pr.User.ID != mallory.ID || p.Sender.ID != mallory.ID || len(pr.Labels) != 1 || pr.Labels[0].Name != "preview" {
		t.Errorf("%+v\n%s", d, d.Body)
	}
	noToken(t, "a delivery", string(d.Body))

	var gone *jobs.Gone
	pull.Close(mallory)
	if _, err := heads.Delivery(t.Context(), opened, "opened"); !errors.As(err, &gone) {
		t.Errorf("closed by now: %v", err)
	}
	push.SHA = strings.Repeat("f", 40)
	if _, err := heads.Delivery(t.Context(), push, ""); !errors.As(err, &gone) {
		t.Errorf("no such commit: %v", err)
	}
	push.Repository.ID = 1
	if _, err := heads.Delivery(t.Context(), push, ""); !errors.As(err, &gone) {
		t.Errorf("another repository has the name: %v", err)
	}
	w.Fail(githubtest.Failure{Operation: "repos/get", Status: http.StatusInternalServerError})
	if _, err := heads.Delivery(t.Context(), opened, "opened"); err == nil || errors.As(err, &gone) {
		t.Errorf("a server error: %v", err)
	}
}

// What deliveries made of heads are looked at for.
type sentPayload struct {
	Action, Ref, Before, After string
	Installation               struct{ ID int64 }
	Sender                     struct{ ID int64 }
	Repository                 struct {
		ID       int64
		FullName string `json:"full_name"`
		Owner    struct{ Login string }
	}
	HeadCommit  struct{ ID, Message string } `json:"head_commit"`
	PullRequest struct {
		Number       int
		State, Title string
		User         struct{ ID int64 }
		Labels       []struct{ Name string }
		Head, Base   struct {
			Ref, SHA string
			Repo     struct{ ID int64 }
		}
	} `json:"pull_request"`
}
