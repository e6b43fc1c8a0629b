package githubtest_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func TestInstallationLife(t *testing.T) {
	w := newWorld(t)
	other, err := w.CreateRepository("acme/other", githubtest.RepositoryOptions{Private: true})
	check(t, err)
	w.app.Ping()
	w.inst.Remove(other)
	w.inst.Add(other)
	w.inst.Suspend(true)
	_, err = w.repo.Commit("main", "Unheard", map[string]string{"u": "u"}, w.alice)
	check(t, err)
	w.inst.Suspend(false)
	w.inst.Uninstall()
	w.app.Install("acme")
	hooks := w.waitHooks()
	wantNames(t, w.names(), "ping", "installation_repositories.removed", "installation_repositories.added", "installation.suspend", "installation.unsuspend",
		"installation.deleted", "installation.created")
	if field[string](t, hooks[1].body, "repositories_removed", "0", "full_name") != "acme/other" || field[any](t, hooks[3].body, "installation", "suspended_at") == nil ||
		field[any](t, hooks[4].body, "installation", "suspended_at") != nil {
		t.Errorf("the events say %s, %s, %s", hooks[1].body, hooks[3].body, hooks[4].body)
	}
}

// An App that asks for more gets it when the account agrees, not before.
func TestNewPermissions(t *testing.T) {
	w := newWorld(t)
	comment := func() error {
		id, err := w.repo.CommentOnCommit(w.first, w.alice, "/build")
		check(t, err)
		_, _, err = w.tokenClient(w.inst.Token()).Reactions.CreateCommentReaction(t.Context(), "acme", "shop", id, "eyes")
		return err
	}
	permissions, events := githubtest.DefaultPermissions(), githubtest.DefaultEvents()
	permissions["contents"] = "write"
	events = slices.DeleteFunc(events, func(event string) bool { return event == "commit_comment" })
	w.app.Request(permissions, events)
	refused(t, comment(), http.StatusForbidden, "Resource not accessible by integration")
	w.inst.AcceptPermissions()
	check(t, comment())
	hooks := w.waitHooks()
	wantNames(t, w.names(), "commit_comment.created", "installation.new_permissions_accepted")
	if got := field[map[string]any](t, hooks[1].body, "installation", "permissions"); got["contents"] != "write" || len(got) != len(permissions) {
		t.Errorf("the event says %v", got)
	}
}

func TestDeletedApp(t *testing.T) {
	w := newWorld(t)
	client := w.client()
	_, _, err := client.Repositories.Get(t.Context(), "acme", "shop")
	check(t, err)
	w.app.Delete()
	wantNames(t, w.names(), "installation.deleted", "meta.deleted")
	_, _, err = w.appClient().Apps.Get(t.Context(), "")
	refused(t, err, http.StatusUnauthorized, "")
	_, _, err = client.Checks.CreateCheckRun(t.Context(), "acme", "shop", github.CreateCheckRunOptions{Name: "x", HeadSHA: w.first})
	refused(t, err, http.StatusUnauthorized, "Bad credentials")
	for _, d := range w.Deliveries() {
		if err := w.Redeliver(d.GUID); err == nil {
			t.Errorf("redelivered %s of an App that is gone", d.Event)
		}
	}
}
