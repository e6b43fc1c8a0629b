package githubtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

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

// Request changes what the App asks for. Installations keep what they granted until AcceptPermissions.
func (a *App) Request(permissions map[string]string, events []string) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.permissions, a.events = maps.Clone(permissions), slices.Clone(events)
}

// AcceptPermissions grants the installation what its App asks for now. Tokens made before keep their rights.
func (i *Installation) AcceptPermissions() {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	i.permissions, i.events = maps.Clone(i.App.permissions), slices.Clone(i.App.events)
	i.s.notify(i.App, i, nil, "installation", "new_permissions_accepted", object{"installation": i.s.installationShape(i), "sender": i.s.userShape(i.Account)})
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
	return !i.deleted && !r.deleted && i.Account == r.Owner && (i.selected == nil || i.selected[r.ID])
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
