package githubapp

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func TestIdentity(t *testing.T) {
	w := newWorld(t)
	id, err := w.app.Health().Identity(t.Context())
	ok(t, err)
	if id.ID != w.gh.ID || id.Slug != "slipway" || id.Owner != "app-owner" || id.Permissions["checks"] != "write" || len(id.Events) == 0 || !id.SkewKnown {
		t.Errorf("we are %+v", id)
	}
	if id.Skew != 0 {
		t.Errorf("one clock differs by %s from itself", id.Skew)
	}
	if id.String() != "slipway of app-owner (4711)" {
		t.Error(id)
	}
}

// A clock that is wrong is told also where GitHub refuses our token because of it.
func TestSkew(t *testing.T) {
	theirs := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct{ before, after, want time.Duration }{
		{0, 0, 0},
		{900 * time.Millisecond, 900 * time.Millisecond, 0},
		{-time.Second, 5 * time.Second, 0}, // a slow answer tells little
		{1500 * time.Millisecond, 1700 * time.Millisecond, 500 * time.Millisecond},
		{-90 * time.Second, -89 * time.Second, -89 * time.Second},
		{time.Hour, time.Hour, time.Hour - time.Second},
	} {
		if got := skew(theirs.Add(c.before), theirs.Add(c.after), theirs); got != c.want {
			t.Errorf("from %s to %s: %s, want %s", c.before, c.after, got, c.want)
		}
	}
}

func TestSkewIsKnownOfARefusal(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		w := newWorld(t)
		app, err := New(Config{AppID: w.gh.ID, PrivateKeyFile: keyFile(t, w.gh.PrivateKeyPEM), WebhookSecretFiles: []string{"x"}, APIURL: w.URL},
			Options{Now: func() time.Time { return w.clock.Now().Add(off) }})
		ok(t, err)
		id, err := app.Health().Identity(t.Context())
		if err == nil || !strings.Contains(err.Error(), "401") || !id.SkewKnown {
			t.Errorf("%s off: %v", off, err)
		}
		if d := id.Skew - off; d < -2*time.Second || d > 2*time.Second {
			t.Errorf("%s off: it is %s", off, id.Skew)
		}
	}
}

func TestHookAndInstallations(t *testing.T) {
	w := newWorld(t)
	w.gh.SetWebhook("http://127.0.0.1:1/webhook", "secret")
	w.gh.SetHookForm("form", true)
	hook, err := w.app.Health().Hook(t.Context())
	ok(t, err)
	if hook != (Hook{"http://127.0.0.1:1/webhook", "form", true}) {
		t.Errorf("%+v", hook)
	}
	for range 120 { // more than one page
		w.gh.Install("acme")
	}
	other := w.gh.Install("other")
	other.Suspend(true)
	asked := githubtest.DefaultPermissions()
	asked["packages"], asked["statuses"] = "read", "read"
	w.gh.Request(asked, githubtest.DefaultEvents())
	w.inst.AcceptPermissions()
	list, cut, err := w.app.Health().Installations(t.Context())
	ok(t, err)
	if len(list) != 122 || cut {
		t.Fatalf("%d installations, cut %v", len(list), cut)
	}
	first, last := list[0], list[len(list)-1]
	if first.Account != "acme" || first.Suspended || len(first.Pending(asked)) != 0 {
		t.Errorf("%+v", first)
	}
	if last.Account != "other" || !last.Suspended || last.URL == "" || strings.Join(last.Pending(asked), " ") != "packages: read" {
		t.Errorf("%+v lacks %v", last, last.Pending(asked))
	}
}

// An event counts as delivered when any attempt succeeded.
func TestRecent(t *testing.T) {
	w := newWorld(t)
	r, err := w.app.Health().Recent(t.Context())
	ok(t, err)
	if r.Failed != 0 {
		t.Errorf("nothing was sent, %+v", r)
	}
	w.gh.SetWebhook("http://127.0.0.1:1/webhook", "secret") // nobody listens
	w.commit("main", map[string]string{"a": "b"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ok(t, w.WaitIdle(ctx))
	r, err = w.app.Health().Recent(t.Context())
	ok(t, err)
	if r.Events == 0 || r.Failed != r.Events || r.Status == "" || r.Last.IsZero() {
		t.Errorf("nobody listens, %+v", r)
	}
}

func TestNoHealthWithoutGitHub(t *testing.T) {
	w := newWorld(t)
	w.Down(true)
	h := w.app.Health()
	id, err := h.Identity(t.Context())
	_, hookErr := h.Hook(t.Context())
	_, _, listErr := h.Installations(t.Context())
	_, recentErr := h.Recent(t.Context())
	for i, err := range []error{err, hookErr, listErr, recentErr} {
		if err == nil || id.SkewKnown {
			t.Errorf("question %d is answered by nobody: %v", i, err)
		} else {
			noToken(t, "the error", err.Error())
		}
	}
}

func keyFile(t *testing.T, pem []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "app.pem")
	ok(t, os.WriteFile(file, pem, 0o600))
	return file
}
