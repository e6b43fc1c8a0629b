package githubtest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The way in which an App is made from a manifest, from GitHub's page "Registering a GitHub App from a manifest": a form
// posted by a browser to GitHub's web site, one click there, a redirect with a code, and the code exchanged for the keys.

// manifest is what the form's field of that name holds.
type manifest struct {
	Name           string `json:"name"`
	URL            string `json:"url"`
	HookAttributes struct {
		URL    string `json:"url"`
		Active *bool  `json:"active"`
	} `json:"hook_attributes"`
	RedirectURL        string            `json:"redirect_url"`
	CallbackURLs       []string          `json:"callback_urls"`
	SetupURL           string            `json:"setup_url"`
	Description        string            `json:"description"`
	Public             bool              `json:"public"`
	DefaultEvents      []string          `json:"default_events"`
	DefaultPermissions map[string]string `json:"default_permissions"`
	RequestOAuth       bool              `json:"request_oauth_on_install"`
	SetupOnUpdate      bool              `json:"setup_on_update"`
}

// manifestCode is an App that waits to be exchanged for its code.
type manifestCode struct {
	app     *App
	expires time.Time
}

// codeLifetime is how long a code can be exchanged.
const codeLifetime = time.Hour

// newAppPath is where the form is posted: for the person's own account, or an organization.
var newAppPath = regexp.MustCompile(`^(?:/organizations/([^/]+))?/settings/apps/new$`)

// serveNewApp plays the person who posts the form and clicks "Create GitHub App": the browser is sent back to the
// manifest's redirect_url with a code and the state it came with.
func (s *Server) serveNewApp(w http.ResponseWriter, r *http.Request) {
	owner := newAppPath.FindStringSubmatch(r.URL.Path)[1]
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	back, err := s.createFromManifest(owner, r.PostFormValue("manifest"), r.URL.Query().Get("state"))
	entry := Request{Method: r.Method, Path: r.URL.Path, Operation: "manifest", Status: http.StatusFound}
	if err != nil {
		entry.Status = http.StatusUnprocessableEntity
		s.record(entry)
		http.Error(w, err.Error(), entry.Status)
		return
	}
	s.record(entry)
	http.Redirect(w, r, back, entry.Status)
}

// createFromManifest makes the App and returns where the browser goes then.
func (s *Server) createFromManifest(owner, text, state string) (string, error) {
	var m manifest
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields() // GitHub ignores them; here a misspelt field is to be seen
	if err := decoder.Decode(&m); err != nil {
		return "", fmt.Errorf("read the manifest: %w", err)
	}
	back, err := url.Parse(m.RedirectURL)
	switch {
	case err != nil || back.Host == "":
		return "", errors.New("the manifest's redirect_url is no address")
	case m.Name == "" || len(m.Name) > 34:
		return "", errors.New("the manifest's name must have 1 to 34 characters")
	case m.URL == "" || m.HookAttributes.URL == "" && (m.HookAttributes.Active == nil || *m.HookAttributes.Active):
		return "", errors.New("the manifest needs url, and hook_attributes.url unless the webhook is inactive")
	}
	for name, level := range m.DefaultPermissions {
		if !slices.Contains(levels[1:], level) {
			return "", fmt.Errorf("the manifest asks for %s of %s", level, name)
		}
	}
	for _, event := range m.DefaultEvents {
		if slices.Contains([]string{"installation", "installation_repositories", "github_app_authorization", "ping", "meta"}, event) {
			return "", fmt.Errorf("the manifest subscribes to %s, which every App gets by itself", event)
		}
		if need := eventNeeds[event]; need != "" && withMetadata(m.DefaultPermissions)[need] == "" {
			return "", fmt.Errorf("the manifest subscribes to %s, which needs the permission %s", event, need)
		}
	}
	slug := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(m.Name), "-"), "-")
	app, err := s.CreateApp(AppOptions{Slug: slug, Owner: owner, WebhookURL: m.HookAttributes.URL, WebhookSecret: randomHex(20),
		Permissions: withMetadata(m.DefaultPermissions), Events: append([]string{}, m.DefaultEvents...)})
	if err != nil {
		return "", err
	}
	code := randomHex(20)
	s.mu.Lock()
	s.codes[code] = manifestCode{app: app, expires: s.now().Add(codeLifetime)}
	s.mu.Unlock()
	query := back.Query()
	query.Set("code", code)
	if state != "" {
		query.Set("state", state)
	}
	back.RawQuery = query.Encode()
	return back.String(), nil
}

// withMetadata adds what every App may read.
func withMetadata(permissions map[string]string) map[string]string {
	all := map[string]string{"metadata": "read"}
	for name, level := range permissions {
		all[name] = level
	}
	return all
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// convertManifest hands out an App's keys, once.
func convertManifest(c *call) answer {
	given, found := c.s.codes[c.params["code"]]
	delete(c.s.codes, c.params["code"])
	if !found || !c.s.now().Before(given.expires) {
		return notFound()
	}
	app := given.app
	return created(with(c.s.appShape(app), "client_secret", randomHex(20), "webhook_secret", app.webhookSecret, "pem", string(app.PrivateKeyPEM)))
}

func (a *App) webhookConfig() object {
	return object{"content_type": a.contentType, "insecure_ssl": a.insecureSSL, "secret": "********", "url": a.webhookURL}
}

func getWebhookConfig(c *call) answer { return ok(c.caller.app.webhookConfig()) }

func updateWebhookConfig(c *call) answer {
	var w struct{ URL, Secret *string }
	c.decode(&w)
	app := c.caller.app
	if w.URL != nil {
		app.webhookURL = *w.URL
	}
	if w.Secret != nil {
		app.webhookSecret = *w.Secret
	}
	return ok(app.webhookConfig())
}
