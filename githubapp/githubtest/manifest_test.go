package githubtest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// submit posts a manifest as the browser does, and returns where GitHub sends it.
func (w *world) submit(path string, manifest map[string]any) (status int, back *url.URL) {
	w.t.Helper()
	text, err := json.Marshal(manifest)
	check(w.t, err)
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, strings.TrimSuffix(w.URL, "/")+path, strings.NewReader(url.Values{"manifest": {string(text)}}.Encode()))
	check(w.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultTransport.RoundTrip(request)
	check(w.t, err)
	check(w.t, response.Body.Close())
	back, err = url.Parse(response.Header.Get("Location"))
	check(w.t, err)
	return response.StatusCode, back
}

func TestManifest(t *testing.T) {
	w := newWorld(t)
	manifest := map[string]any{"name": "Slipway for acme", "url": "https://slipway.example.com", "hook_attributes": map[string]any{"url": w.hooks.URL}, "redirect_url": "http://127.0.0.1:8085/done",
		"public": false, "default_permissions": map[string]string{"contents": "read", "checks": "write"}, "default_events": []string{"push"}}
	status, back := w.submit("/organizations/acme/settings/apps/new?state=s1", manifest)
	if status != http.StatusFound || back.Host != "127.0.0.1:8085" || back.Path != "/done" || back.Query().Get("state") != "s1" {
		t.Fatalf("the browser got %d and goes to %s", status, back)
	}
	client := github.NewClient(nil)
	client.BaseURL, _ = url.Parse(w.URL)
	made, _, err := client.Apps.CompleteAppManifest(t.Context(), back.Query().Get("code"))
	check(t, err)
	if made.GetSlug() != "slipway-for-acme" || made.GetOwner().GetLogin() != "acme" || made.GetWebhookSecret() == "" || !strings.Contains(made.GetPEM(), "PRIVATE KEY") {
		t.Errorf("the App is %v", made)
	}
	_, _, err = client.Apps.CompleteAppManifest(t.Context(), back.Query().Get("code"))
	refused(t, err, http.StatusNotFound, "Not Found") // once only

	// What came out is good for the API, and its webhook can be changed.
	w.app, err = w.CreateApp(githubtest.AppOptions{ID: made.GetID()})
	if err == nil {
		t.Fatal("the App wasn't made")
	}
	w.app = &githubtest.App{ID: made.GetID(), PrivateKeyPEM: []byte(made.GetPEM())}
	config, _, err := w.appClient().Apps.GetHookConfig(t.Context())
	check(t, err)
	if config.GetURL() != w.hooks.URL || config.GetSecret() == made.GetWebhookSecret() {
		t.Errorf("the webhook is %v", config)
	}
	_, _, err = w.appClient().Apps.UpdateHookConfig(t.Context(), &github.HookConfig{URL: github.String("https://slipway.example.com/webhook"), Secret: github.String("a new secret")})
	check(t, err)

	_, late := w.submit("/settings/apps/new", manifest)
	w.clock.advance(time.Hour)
	_, _, err = client.Apps.CompleteAppManifest(t.Context(), late.Query().Get("code"))
	refused(t, err, http.StatusNotFound, "Not Found")

	for name, change := range map[string]map[string]any{
		"no name": {"name": ""}, "long name": {"name": strings.Repeat("n", 35)}, "no redirect": {"redirect_url": "done"}, "no webhook": {"hook_attributes": map[string]any{}},
		"unknown field": {"default_event": []string{"push"}}, "unknown level": {"default_permissions": map[string]string{"contents": "all"}}, "own event": {"default_events": []string{"installation"}},
	} {
		bad := maps.Clone(manifest)
		maps.Copy(bad, change)
		if status, _ := w.submit("/settings/apps/new", bad); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: the browser got %d", name, status)
		}
	}
	if requests := w.CountRequests(func(r githubtest.Request) bool { return r.Operation == "manifest" }); requests != 9 || slices.ContainsFunc(w.Requests(), func(r githubtest.Request) bool { return strings.Contains(r.Body, "a new secret") }) {
		t.Errorf("the journal has %d manifests, or a secret", requests)
	}
}
