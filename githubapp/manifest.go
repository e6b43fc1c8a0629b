package githubapp

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// A Manifest is what GitHub makes an App from, after a person agreed ("Registering a GitHub App from a manifest").
type Manifest struct {
	Name        string            `json:"name"`
	URL         string            `json:"url"` // the App's homepage
	Hook        ManifestHook      `json:"hook_attributes"`
	RedirectURL string            `json:"redirect_url"` // where GitHub sends the person with a code
	Description string            `json:"description"`
	Public      bool              `json:"public"`
	Permissions map[string]string `json:"default_permissions"`
	Events      []string          `json:"default_events"`
}

// ManifestHook is where the App's webhooks go.
type ManifestHook struct {
	URL    string `json:"url"`
	Active bool   `json:"active"`
}

// NewManifest asks for what Slipway needs and nothing else. server is the address under which GitHub reaches the server,
// without a slash at its end.
func NewManifest(name, server, redirect string) Manifest {
	m := Manifest{
		Name: name, URL: server, Hook: ManifestHook{URL: server + "/webhook", Active: true}, RedirectURL: redirect,
		Description: "Builds images and rolls them out; shows where every job stands as checks.",
		Permissions: map[string]string{},
	}
	for _, p := range Permissions() {
		m.Permissions[p.Name] = p.Level
	}
	for _, s := range Subscriptions() {
		m.Events = append(m.Events, s.Name)
	}
	return m
}

// A Site is one GitHub: its web site, and the API that belongs to it.
type Site struct {
	Web *url.URL // without a slash at its end
	API *url.URL // with one
}

// NewSite derives the API from the web site's address: https://github.com has its own host, so has an enterprise with data
// residency (https://NAME.ghe.com); on a GitHub Enterprise Server it is /api/v3/.
func NewSite(web string) (Site, error) {
	u, err := url.Parse(strings.TrimRight(web, "/"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" {
		return Site{}, fmt.Errorf("%q is not the address of a GitHub, such as https://github.com", web)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return Site{}, fmt.Errorf("%s must be https: the App's key travels on it", web)
	}
	api := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/api/v3/"}
	switch host := strings.ToLower(u.Host); {
	case host == "github.com" || host == "www.github.com":
		u.Host = "github.com"
		api = &url.URL{Scheme: "https", Host: "api.github.com", Path: "/"}
	case strings.HasSuffix(host, ".ghe.com"):
		api = &url.URL{Scheme: "https", Host: "api." + host, Path: "/"}
	}
	return Site{Web: u, API: api}, nil
}

var loginForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)

// RegisterURL is where the manifest is posted to by a person's browser: an organization's settings, or with an empty org
// the person's own. GitHub hands state back together with the code.
func (s Site) RegisterURL(org, state string) (string, error) {
	path := "/settings/apps/new"
	if org != "" {
		if !loginForm.MatchString(org) {
			return "", fmt.Errorf("%q is not the name of an organization", org)
		}
		path = "/organizations/" + org + path
	}
	return s.Web.String() + path + "?" + url.Values{"state": {state}}.Encode(), nil
}

// Registered is an App that GitHub has just made. PEM and WebhookSecret are secrets, and shown this once.
type Registered struct {
	ID            int64
	Slug          string
	URL           string // the App's page, where it is installed from
	Owner         string
	PEM           string
	WebhookSecret string
}

// Same compares two states in constant time.
func Same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

var codeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// Convert takes what GitHub made of a manifest. A code is good once, within an hour. client carries the request; nothing of
// the answer is logged or becomes part of an error.
func (s Site) Convert(ctx context.Context, client *http.Client, code string) (Registered, error) {
	const attempt = "take over the App that GitHub made"
	if !codeForm.MatchString(code) {
		return Registered{}, fmt.Errorf("%s: GitHub's redirect holds no code", attempt)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.API.String()+"app-manifests/"+code+"/conversions", nil)
	if err != nil {
		return Registered{}, fmt.Errorf("%s: %w", attempt, errors.New("the API's address is no URL"))
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	req.Header.Set("User-Agent", "slipway")
	resp, err := client.Do(req)
	if err != nil {
		return Registered{}, explain(ctx, attempt, withoutAddress(err))
	}
	defer drop(resp)
	body := io.LimitReader(resp.Body, maxErrorBody)
	if resp.StatusCode != http.StatusCreated {
		var said struct {
			Message string `json:"message"`
		}
		_ = json.NewDecoder(body).Decode(&said) // a body that is no JSON says nothing
		return Registered{}, fmt.Errorf("%s: %w", attempt, &refused{resp.StatusCode, jobs.Cut(said.Message, 200)})
	}
	var made struct {
		ID    int64  `json:"id"`
		Slug  string `json:"slug"`
		URL   string `json:"html_url"`
		Owner struct {
			Login string `json:"login"`
		} `json:"owner"`
		PEM    string `json:"pem"`
		Secret string `json:"webhook_secret"`
	}
	if err := json.NewDecoder(body).Decode(&made); err != nil {
		return Registered{}, fmt.Errorf("%s: the answer can't be read", attempt)
	}
	if made.ID <= 0 || made.PEM == "" || made.Secret == "" {
		return Registered{}, fmt.Errorf("%s: the answer lacks the App's ID, key or webhook secret", attempt)
	}
	return Registered{ID: made.ID, Slug: made.Slug, URL: made.URL, Owner: made.Owner.Login, PEM: made.PEM, WebhookSecret: made.Secret}, nil
}

// withoutAddress drops the request's address from an error: it holds the code.
func withoutAddress(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
