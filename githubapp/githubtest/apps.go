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
		"deployment_status", "merge_group", "release", "status", "workflow_run", "workflow_job"}
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
		webhookURL: options.WebhookURL, webhookSecret: options.WebhookSecret, permissions: maps.Clone(options.Permissions), events: slices.Clone(options.Events)}
	s.apps[app.ID] = app
	return app, nil
}

// sortedApps are all Apps by ID, so that they hear of things in one order.
func (s *Server) sortedApps() []*App {
	return slices.SortedFunc(maps.Values(s.apps), func(a, b *App) int { return cmp.Compare(a.ID, b.ID) })
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
	a.s.notify(a, nil, nil, "ping", "", object{"zen": "Keep it logically awesome.", "hook_id": a.hookID, "hook": object{
		"type": "App", "id": a.hookID, "name": "web", "active": true, "events": a.events, "app_id": a.ID, "created_at": stamp(a.created), "updated_at": stamp(a.created),
		"deliveries_url": a.s.api("app/hook/deliveries"), "config": object{"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": a.webhookURL}}})
}

// Installation is an App on an account.
type Installation struct {
	ID      int64
	App     *App
	Account *User

	s           *Server
	selected    map[int64]bool // nil: all repositories of the account
	permissions map[string]string
	events      []string
	suspended   bool
	deleted     bool
	created     time.Time
}

// Install puts the App on all repositories of an account, present and future.
func (a *App) Install(login string) *Installation { return a.install(login, nil) }

// InstallOn puts the App on the given repositories of their one owner.
func (a *App) InstallOn(repositories ...*Repository) *Installation {
	selected := map[int64]bool{}
	for _, r := range repositories {
		selected[r.ID] = true
	}
	return a.install(repositories[0].Owner.Login, selected)
}

func (a *App) install(login string, selected map[int64]bool) *Installation {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &Installation{ID: s.nextID(), App: a, Account: s.account(login, "Organization"), s: s, selected: selected,
		permissions: maps.Clone(a.permissions), events: slices.Clone(a.events), created: s.now()}
	a.installations = append(a.installations, i)
	s.notify(a, i, nil, "installation", "created", object{"installation": s.installationShape(i), "repositories": s.repositoryRefs(s.installed(i)), "requester": nil, "sender": s.userShape(i.Account)})
	return i
}

// Uninstall removes the App from the account: its tokens stop working.
func (i *Installation) Uninstall() {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	shape, repositories := i.s.installationShape(i), i.s.repositoryRefs(i.s.installed(i))
	i.deleted = true
	i.App.installations = slices.DeleteFunc(i.App.installations, func(other *Installation) bool { return other == i })
	i.s.notify(i.App, i, nil, "installation", "deleted", object{"installation": shape, "repositories": repositories, "sender": i.s.userShape(i.Account)})
}

// Suspend stops (true) or resumes (false) the installation: a suspended one's tokens get 403 and it gets no events.
func (i *Installation) Suspend(suspend bool) {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	i.suspended = suspend
	action := "suspend"
	if !suspend {
		action = "unsuspend"
	}
	i.s.notify(i.App, i, nil, "installation", action, object{"installation": i.s.installationShape(i), "repositories": i.s.repositoryRefs(i.s.installed(i)), "sender": i.s.userShape(i.Account)})
}

// Add lets an installation on chosen repositories have more of them.
func (i *Installation) Add(repositories ...*Repository) { i.choose("added", repositories) }

// Remove takes repositories away from an installation; one on all repositories is then on the others only.
func (i *Installation) Remove(repositories ...*Repository) { i.choose("removed", repositories) }

func (i *Installation) choose(action string, repositories []*Repository) {
	s := i.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.selected == nil {
		i.selected = map[int64]bool{}
		for _, r := range s.repositories {
			i.selected[r.ID] = r.Owner == i.Account
		}
	}
	for _, r := range repositories {
		i.selected[r.ID] = action == "added"
	}
	fields := object{"installation": s.installationShape(i), "repository_selection": "selected", "repositories_added": []object{}, "repositories_removed": []object{}, "requester": nil,
		"sender": s.userShape(i.Account)}
	fields["repositories_"+action] = s.repositoryRefs(repositories)
	s.notify(i.App, i, nil, "installation_repositories", action, fields)
}

// Token makes an installation token with all rights of the installation, for tests that speak to the API directly.
func (i *Installation) Token() string {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	value, _ := i.s.mint(i, nil, i.permissions)
	return value
}

func (i *Installation) budgetKey() string { return fmt.Sprintf("installation %d", i.ID) }

func (i *Installation) covers(r *Repository) bool {
	return !i.deleted && i.Account == r.Owner && (i.selected == nil || i.selected[r.ID])
}

// installed lists an installation's repositories by name.
func (s *Server) installed(i *Installation) []*Repository {
	var list []*Repository
	for _, r := range s.repositories {
		if i.covers(r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *Repository) int { return strings.Compare(a.FullName(), b.FullName()) })
	return list
}

func (s *Server) repositoryRefs(list []*Repository) []object {
	return shapes(list, func(r *Repository) object {
		return object{"id": r.ID, "node_id": nodeID("R", r.ID), "name": r.Name, "full_name": r.FullName(), "private": r.private}
	})
}

func (s *Server) appShape(a *App) object {
	return object{"id": a.ID, "slug": a.Slug, "client_id": a.ClientID, "node_id": nodeID("A", a.ID), "owner": s.userShape(a.owner), "name": a.Slug,
		"description": "", "external_url": "https://example.com/" + a.Slug, "html_url": s.html("apps/%s", a.Slug), "created_at": stamp(a.created),
		"updated_at": stamp(a.created), "permissions": a.permissions, "events": a.events}
}

func (s *Server) installationShape(i *Installation) object {
	selection := "all"
	if i.selected != nil {
		selection = "selected"
	}
	shape := object{"id": i.ID, "account": s.userShape(i.Account), "app_id": i.App.ID, "app_slug": i.App.Slug, "client_id": i.App.ClientID, "target_id": i.Account.ID,
		"target_type": i.Account.Type, "permissions": i.permissions, "events": i.events, "repository_selection": selection, "single_file_name": nil,
		"has_multiple_single_files": false, "single_file_paths": []string{}, "created_at": stamp(i.created), "updated_at": stamp(i.created),
		"suspended_at": nil, "suspended_by": nil, "access_tokens_url": s.api("app/installations/%d/access_tokens", i.ID),
		"repositories_url": s.api("installation/repositories"), "html_url": s.html("organizations/%s/settings/installations/%d", i.Account.Login, i.ID)}
	if i.suspended {
		shape["suspended_at"], shape["suspended_by"] = stamp(s.now()), s.userShape(i.Account)
	}
	return shape
}

func getApp(c *call) answer {
	shape := c.s.appShape(c.caller.app)
	shape["installations_count"] = len(c.caller.app.installations)
	return ok(shape)
}

func listInstallations(c *call) answer {
	return page(c, c.caller.app.installations, func(list []*Installation) any { return shapes(list, c.s.installationShape) })
}

// findInstallation returns the App's first installation that match says yes to.
func findInstallation(match func(*call, *Installation) bool) func(*call) answer {
	return func(c *call) answer {
		for _, i := range c.caller.app.installations {
			if match(c, i) {
				return ok(c.s.installationShape(i))
			}
		}
		return notFound()
	}
}

func listInstalledRepositories(c *call) answer {
	var list []*Repository
	for _, r := range c.s.installed(c.caller.token.installation) {
		if c.caller.token.covers(r) {
			list = append(list, r)
		}
	}
	return page(c, list, func(some []*Repository) any {
		return object{"total_count": len(list), "repositories": shapes(some, c.s.repositoryShape)}
	})
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
	var wish struct {
		Repositories  []string          `json:"repositories"`
		RepositoryIDs []int64           `json:"repository_ids"`
		Permissions   map[string]string `json:"permissions"`
	}
	if len(c.body) > 0 && json.Unmarshal(c.body, &wish) != nil {
		return refuse(http.StatusBadRequest, "Problems parsing JSON")
	}
	if len(wish.Repositories)+len(wish.RepositoryIDs) > 500 {
		return refuse(http.StatusUnprocessableEntity, "There are too many repositories; at most 500 can be given")
	}
	permissions := i.permissions
	if len(wish.Permissions) > 0 {
		for name, level := range wish.Permissions {
			if !permits(i.permissions[name], level) {
				return refuse(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			}
		}
		permissions = maps.Clone(wish.Permissions)
		permissions["metadata"] = "read" // every token can read metadata
	}
	var repositories map[int64]bool
	var named []*Repository
	if len(wish.Repositories)+len(wish.RepositoryIDs) > 0 {
		repositories = map[int64]bool{}
		for _, r := range c.s.installed(i) {
			if slices.Contains(wish.RepositoryIDs, r.ID) || slices.ContainsFunc(wish.Repositories, func(name string) bool { return strings.EqualFold(name, r.Name) }) {
				repositories[r.ID] = true
				named = append(named, r)
			}
		}
		if len(repositories) < max(len(wish.RepositoryIDs), len(wish.Repositories)) {
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
