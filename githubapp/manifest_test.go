package githubapp

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// register posts a manifest as a browser does and returns GitHub's redirect.
func register(t *testing.T, site Site, org, state string, m Manifest) *url.URL {
	t.Helper()
	address, err := site.RegisterURL(org, state)
	ok(t, err)
	text, err := json.Marshal(m)
	ok(t, err)
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.PostForm(address, url.Values{"manifest": {string(text)}})
	ok(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		t.Fatalf("GitHub answered %s to the manifest", resp.Status)
	}
	to, err := resp.Location()
	ok(t, err)
	return to
}

// An App made from our manifest has what we need and nothing else; its code is good once.
func TestManifest(t *testing.T) {
	w := newWorld(t)
	site, err := NewSite(w.URL)
	ok(t, err)
	m := NewManifest("slipway-acme", "https://slipway.example.com", "http://127.0.0.1:4711/made")
	to := register(t, site, "acme", "the state", m)
	if to.Host != "127.0.0.1:4711" || to.Path != "/made" || !Same(to.Query().Get("state"), "the state") {
		t.Fatalf("GitHub redirects to %s", to)
	}
	made, err := site.Convert(t.Context(), http.DefaultClient, to.Query().Get("code"))
	ok(t, err)
	app := w.Apps()[0] // the other one has a higher ID
	if made.ID != app.ID || made.Slug != "slipway-acme" || made.Owner != "acme" || made.PEM != string(app.PrivateKeyPEM) || made.WebhookSecret != app.Secret() || made.URL == "" {
		t.Errorf("took over %d %s of %s at %s", made.ID, made.Slug, made.Owner, made.URL)
	}
	if _, err := site.Convert(t.Context(), http.DefaultClient, to.Query().Get("code")); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("the code is good twice: %v", err)
	}
	w.gh = app
	id, err := w.newApp().Health().Identity(t.Context())
	ok(t, err)
	if d := Compare(id.Permissions, id.Events); len(d.Missing)+len(d.Superfluous)+len(d.Unsent)+len(d.Unused) > 0 {
		t.Errorf("an App made from our manifest differs from what we need: %+v", d)
	}
	hook, err := w.newApp().Health().Hook(t.Context())
	ok(t, err)
	if hook != (Hook{URL: "https://slipway.example.com/webhook", ContentType: "json"}) {
		t.Errorf("its webhook is %+v", hook)
	}
}

func TestConvertKeepsSecrets(t *testing.T) {
	site, err := NewSite("http://127.0.0.1:1")
	ok(t, err)
	for name, code := range map[string]string{"nobody answers": "secret-code", "no code": "", "another path": "../app", "too long": strings.Repeat("a", 201)} {
		_, err := site.Convert(t.Context(), http.DefaultClient, code)
		if err == nil || strings.Contains(err.Error(), "secret-code") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := site.Convert(ctx, http.DefaultClient, "abc"); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("given up: %v", err)
	}
}

func TestSite(t *testing.T) {
	for web, want := range map[string]string{
		"https://github.com":          "https://github.com https://api.github.com/",
		"https://github.com/":         "https://github.com https://api.github.com/",
		"https://www.github.com":      "https://github.com https://api.github.com/",
		"https://acme.ghe.com":        "https://acme.ghe.com https://api.acme.ghe.com/",
		"https://github.example.com/": "https://github.example.com https://github.example.com/api/v3/",
		"http://127.0.0.1:99":         "http://127.0.0.1:99 http://127.0.0.1:99/api/v3/",
	} {
		site, err := NewSite(web)
		if err != nil || site.Web.String()+" "+site.API.String() != want {
			t.Errorf("%s: %v %v %v, want %s", web, site.Web, site.API, err, want)
			continue
		}
		if back := (Config{APIURL: site.API.String()}).WebURL(); back != site.Web.String() {
			t.Errorf("%s is the API of %s, not of %s", site.API, site.Web, back)
		}
	}
	if web := (Config{}).WebURL(); web != "https://github.com" {
		t.Errorf("without a word it is %s", web)
	}
	for _, web := range []string{"", "github.com", "http://github.com", "https://github.com/acme", "https://u:p@github.com", "https://github.com?x", "ftp://github.com", ":"} {
		if _, err := NewSite(web); err == nil {
			t.Errorf("%q is taken for a GitHub", web)
		}
	}
	site, err := NewSite("https://github.com")
	ok(t, err)
	for org, want := range map[string]string{
		"": "https://github.com/settings/apps/new?state=a%26b", "acme": "https://github.com/organizations/acme/settings/apps/new?state=a%26b", "a/../b": "error", "..": "error",
	} {
		if got, err := site.RegisterURL(org, "a&b"); err == nil && got != want || err != nil && want != "error" {
			t.Errorf("org %q: %s %v", org, got, err)
		}
	}
}

// What a permission is missing or too much is told, and each event we want can be had with the permissions we ask for.
func TestCompareWithNeeds(t *testing.T) {
	d := Compare(nil, nil)
	if len(d.Missing) != len(Permissions()) || len(d.Superfluous) != 0 || len(d.Unsent) != len(Subscriptions())-2 || len(d.Unused) != 0 {
		t.Errorf("an App without anything: %+v", d)
	}
	d = Compare(githubtest.DefaultPermissions(), githubtest.DefaultEvents())
	if len(d.Missing) != 0 || d.Superfluous["statuses"] != "write" || d.Superfluous["actions"] != "" || d.Superfluous["issues"] != "write" || d.Superfluous["checks"] != "" || len(d.Unsent) != 0 {
		t.Errorf("an App with more: %+v", d)
	}
	if strings.Join(d.Unused, " ") != "create delete deployment deployment_status repository" {
		t.Errorf("unused events: %v", d.Unused)
	}
	d = Compare(map[string]string{"checks": "read", "contents": "admin", "metadata": "odd"}, []string{"check_run"})
	if len(d.Missing) != len(Permissions())-1 || d.Superfluous["contents"] != "admin" || d.Superfluous["checks"] != "" {
		t.Errorf("other levels: %+v", d)
	}
	for s := range scopes {
		for name, most := range s.permissions(nil) { // what tokens are asked for is no more than what the App asks for
			if !slices.ContainsFunc(Permissions(), func(p Permission) bool { return p.Name == name && covers(p.Level, most) }) {
				t.Errorf("tokens want %s: %s, which the App does not ask for", name, most)
			}
			if name == "actions" && most == "write" && s != scopeActions || name == "deployments" && s != scopeRuns && s != scopeReview {
				t.Errorf("scope %d may %s: %s", s, name, most)
			}
		}
	}
	for _, p := range Permissions() {
		if p.Why == "" || p.Level != "read" && p.Level != "write" {
			t.Errorf("%s: %s says not why", p.Name, p.Level)
		}
	}
}
