package githubtest

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// App is a GitHub App.
type App struct {
	ID            int64
	Slug          string
	ClientID      string
	PrivateKeyPEM []byte // PKCS #1, as GitHub hands it out
	Bot           *User  // SLUG[bot], the sender of what the App causes

	s             *Server
	owner         *User
	key           *rsa.PrivateKey
	hookID        int64
	webhookURL    string
	webhookSecret string
	permissions   map[string]string
	events        []string
	created       time.Time
	installations []*Installation

	contentType, insecureSSL string // of the webhook, as its settings say
}

// AppOptions say what an App is. Empty Permissions and Events mean DefaultPermissions and DefaultEvents.
type AppOptions struct {
	ID            int64  // 0: the next free one
	Slug          string // empty: slipway
	Owner         string // login of the organization it belongs to; empty: app-owner
	WebhookURL    string // empty: nothing is sent until SetWebhook
	WebhookSecret string
	Permissions   map[string]string
	Events        []string
}

// DefaultPermissions are what an App gets that asks for nothing in particular: all that Slipway uses.
func DefaultPermissions() map[string]string {
	return map[string]string{"metadata": "read", "contents": "read", "pull_requests": "write", "issues": "write", "checks": "write",
		"deployments": "write", "actions": "write", "statuses": "write", "members": "read", "merge_queues": "read"}
}

// DefaultEvents are the events that belong to DefaultPermissions.
func DefaultEvents() []string {
	return []string{"push", "create", "delete", "pull_request", "issue_comment", "commit_comment", "check_run", "check_suite", "deployment",
		"deployment_status", "merge_group", "release", "repository", "status", "workflow_run", "workflow_job"}
}

// appKey is made once in a process: a fresh RSA key for every App would take longer than everything else a test does.
var appKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// CreateApp registers an App. All Apps of one process share one generated private key.
func (s *Server) CreateApp(options AppOptions) (*App, error) {
	key, err := appKey()
	if err != nil {
		return nil, fmt.Errorf("create an App: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if options.ID == 0 {
		options.ID = s.nextID()
	}
	if s.apps[options.ID] != nil {
		return nil, fmt.Errorf("create an App: there is one with the ID %d", options.ID)
	}
	if options.Slug == "" {
		options.Slug = "slipway"
	}
	if options.Owner == "" {
		options.Owner = "app-owner"
	}
	if options.Permissions == nil {
		options.Permissions = DefaultPermissions()
	}
	if options.Events == nil {
		options.Events = DefaultEvents()
	}
	app := &App{ID: options.ID, Slug: options.Slug, ClientID: fmt.Sprintf("Iv23li%014d", options.ID), key: key, s: s,
		PrivateKeyPEM: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		Bot:           s.account(options.Slug+"[bot]", "Bot"), owner: s.account(options.Owner, "Organization"), hookID: s.nextID(), created: s.now(),
		webhookURL: options.WebhookURL, webhookSecret: options.WebhookSecret, permissions: maps.Clone(options.Permissions), events: slices.Clone(options.Events),
		contentType: "json", insecureSSL: "0"}
	s.apps[app.ID] = app
	return app, nil
}

// sortedApps are all Apps by ID, so that they hear of things in one order.
func (s *Server) sortedApps() []*App {
	return slices.SortedFunc(maps.Values(s.apps), func(a, b *App) int { return cmp.Compare(a.ID, b.ID) })
}

// appOf finds the App whose bot a user is; nil for everyone else.
func (s *Server) appOf(user *User) *App {
	for _, app := range s.apps {
		if app.Bot == user {
			return app
		}
	}
	return nil
}

// SetWebhook changes where the App's webhooks go and what they are signed with.
func (a *App) SetWebhook(url, secret string) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.webhookURL, a.webhookSecret = url, secret
}

// Ping sends the ping that GitHub sends when a webhook is configured.
func (a *App) Ping() {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.s.notify(a, nil, nil, "ping", "", object{"zen": "Keep it logically awesome.", "hook_id": a.hookID, "hook": a.hookShape()})
}

func (a *App) hookShape() object {
	return object{"type": "App", "id": a.hookID, "name": "web", "active": true, "events": a.events, "app_id": a.ID, "created_at": stamp(a.created), "updated_at": stamp(a.created),
		"deliveries_url": a.s.api("app/hook/deliveries"), "config": a.webhookConfig()}
}

// Delete removes the App for good: its installations go, its key no longer opens anything, and meta.deleted is the last
// that its webhook hears.
func (a *App) Delete() {
	for _, i := range slices.Clone(a.installations) {
		i.Uninstall()
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.s.notify(a, nil, nil, "meta", "deleted", object{"hook_id": a.hookID, "hook": a.hookShape(), "sender": a.s.userShape(a.owner)})
	delete(a.s.apps, a.ID)
}

func (s *Server) appShape(a *App) object {
	return object{"id": a.ID, "slug": a.Slug, "client_id": a.ClientID, "node_id": nodeID("A", a.ID), "owner": s.userShape(a.owner), "name": a.Slug,
		"description": "", "external_url": "https://example.com/" + a.Slug, "html_url": s.html("apps/%s", a.Slug), "created_at": stamp(a.created),
		"updated_at": stamp(a.created), "permissions": a.permissions, "events": a.events}
}

func getApp(c *call) answer {
	shape := c.s.appShape(c.caller.app)
	shape["installations_count"] = len(c.caller.app.installations)
	return ok(shape)
}

func createToken(c *call) answer {
	var i *Installation
	for _, candidate := range c.caller.app.installations {
		if candidate.ID == c.id("installation_id") {
			i = candidate
		}
	}
	if i == nil {
		return notFound()
	}
	if i.suspended {
		return refuse(http.StatusForbidden, "This installation has been suspended")
	}
	var request struct {
		Repositories  []string          `json:"repositories"`
		RepositoryIDs []int64           `json:"repository_ids"`
		Permissions   map[string]string `json:"permissions"`
	}
	if len(c.body) > 0 && json.Unmarshal(c.body, &request) != nil {
		return refuse(http.StatusBadRequest, "Problems parsing JSON")
	}
	if len(request.Repositories)+len(request.RepositoryIDs) > 500 {
		return refuse(http.StatusUnprocessableEntity, "There are too many repositories; at most 500 can be given")
	}
	permissions := i.permissions
	if len(request.Permissions) > 0 {
		for name, level := range request.Permissions {
			if !permits(i.permissions[name], level) {
				return refuse(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			}
		}
		permissions = maps.Clone(request.Permissions)
		permissions["metadata"] = "read" // every token can read metadata
	}
	var repositories map[int64]bool
	var named []*Repository
	if len(request.Repositories)+len(request.RepositoryIDs) > 0 {
		repositories = map[int64]bool{}
		for _, r := range c.s.installed(i) {
			if slices.Contains(request.RepositoryIDs, r.ID) || slices.ContainsFunc(request.Repositories, func(name string) bool { return strings.EqualFold(name, r.Name) }) {
				repositories[r.ID] = true
				named = append(named, r)
			}
		}
		if len(repositories) < max(len(request.RepositoryIDs), len(request.Repositories)) {
			return refuse(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
		}
	}
	value, t := c.s.mint(i, repositories, permissions)
	shape := object{"token": value, "expires_at": stamp(t.expires), "permissions": permissions, "repository_selection": "all"}
	if repositories != nil {
		shape["repository_selection"] = "selected"
		shape["repositories"] = shapes(named, c.s.repositoryShape)
	} else if i.selected != nil {
		shape["repository_selection"] = "selected"
	}
	return created(shape)
}

func revokeToken(c *call) answer {
	for value, t := range c.s.tokens {
		if t == c.caller.token {
			delete(c.s.tokens, value)
		}
	}
	return noContent()
}
