package githubtest_test

import (
	"net/http"
	"testing"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func TestReleases(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	_, err := w.repo.CreateRelease(githubtest.ReleaseOptions{Tag: "v1", Name: "One", User: w.alice})
	check(t, err)
	hooks := w.waitHooks()
	wantNames(t, w.names(), "create", "push", "release.created", "release.published", "release.released")
	if field[string](t, hooks[3].body, "release", "tag_name") != "v1" || field[string](t, hooks[3].body, "sender", "login") != "alice" || field[string](t, hooks[1].body, "ref") != "refs/tags/v1" {
		t.Errorf("the release says %s", hooks[3].body)
	}
	// On a tag that exists nothing is pushed.
	check(t, w.repo.SetRef("refs/tags/v2-rc1", w.first, w.alice))
	w.names()
	candidate, err := w.repo.CreateRelease(githubtest.ReleaseOptions{Tag: "v2-rc1", Prerelease: true, User: w.alice})
	check(t, err)
	wantNames(t, w.names(), "release.created", "release.published", "release.prereleased")
	latest, _, err := client.Repositories.GetLatestRelease(ctx, "acme", "shop")
	check(t, err)
	if latest.GetTagName() != "v1" {
		t.Errorf("the latest is %v", latest)
	}
	check(t, candidate.Promote(w.alice))
	wantNames(t, w.names(), "release.edited", "release.released")

	draft, err := w.repo.CreateRelease(githubtest.ReleaseOptions{Tag: "v3", Draft: true, User: w.alice})
	check(t, err)
	wantNames(t, w.names(), "release.created")
	_, _, err = client.Repositories.GetReleaseByTag(ctx, "acme", "shop", "v3")
	refused(t, err, http.StatusNotFound, "Not Found")
	check(t, draft.Publish(w.alice))
	wantNames(t, w.names(), "create", "push", "release.published", "release.released")
	list, _, err := client.Repositories.ListReleases(ctx, "acme", "shop", nil)
	check(t, err)
	if len(list) != 3 || list[0].GetTagName() != "v3" {
		t.Errorf("the releases are %v", list)
	}
	got, _, err := client.Repositories.GetReleaseByTag(ctx, "acme", "shop", "v3")
	check(t, err)
	if got.GetDraft() || got.PublishedAt == nil {
		t.Errorf("the release is %v", got)
	}
	for name, err := range map[string]error{"published twice": draft.Publish(w.alice), "promoted a release": draft.Promote(w.alice)} {
		if err == nil {
			t.Error(name)
		}
	}
	for name, options := range map[string]githubtest.ReleaseOptions{"stranger": {Tag: "v9", User: w.CreateUser("mallory")}, "no tag": {User: w.alice}, "no target": {Tag: "v9", Target: "gone", User: w.alice}} {
		if _, err := w.repo.CreateRelease(options); err == nil {
			t.Errorf("released: %s", name)
		}
	}
}
