package githubtest

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

// User is a person, an organization or an App's bot.
type User struct {
	ID    int64
	Login string
	Type  string // User, Organization or Bot

	created time.Time
}

// Email is the address the user's commits carry.
func (u *User) Email() string {
	return fmt.Sprintf("%d+%s@users.noreply.example.com", u.ID, strings.NewReplacer("[", "", "]", "").Replace(u.Login))
}

// CreateUser makes a person, or a bot when the login ends in [bot]; it returns the account with this login if there is one.
func (s *Server) CreateUser(login string) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasSuffix(login, "[bot]") {
		return s.account(login, "Bot")
	}
	return s.account(login, "User")
}

// CreateOrganization makes an organization, or returns the account with this login. CreateRepository does it by itself for
// owners that don't exist.
func (s *Server) CreateOrganization(login string) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account(login, "Organization")
}

// User finds an account by login; nil when there is none.
func (s *Server) User(login string) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users[strings.ToLower(login)]
}

func (s *Server) account(login, kind string) *User {
	key := strings.ToLower(login)
	if s.users[key] == nil {
		s.users[key] = &User{ID: s.nextID(), Login: login, Type: kind, created: s.now()}
	}
	return s.users[key]
}

// api and html are addresses below the API and the web site. Both lie on the same server here.
func (s *Server) api(format string, values ...any) string {
	return s.URL + fmt.Sprintf(format, values...)
}
func (s *Server) html(format string, values ...any) string {
	return s.URL + fmt.Sprintf(format, values...)
}

// nodeID is the opaque ID of GitHub's other API; only its presence matters here.
func nodeID(kind string, id int64) string { return fmt.Sprintf("%s_kw%d", kind, id) }

func (s *Server) userShape(u *User) object {
	if u == nil {
		return nil
	}
	self := s.api("users/%s", u.Login)
	return object{
		"login": u.Login, "id": u.ID, "node_id": nodeID("U", u.ID), "type": u.Type, "site_admin": false,
		"user_view_type": "public", "gravatar_id": "", "avatar_url": s.html("avatars/%d", u.ID), "html_url": s.html("%s", u.Login), "url": self,
		"followers_url": self + "/followers", "following_url": self + "/following{/other_user}", "gists_url": self + "/gists{/gist_id}",
		"starred_url": self + "/starred{/owner}{/repo}", "subscriptions_url": self + "/subscriptions", "organizations_url": self + "/orgs",
		"repos_url": self + "/repos", "events_url": self + "/events{/privacy}", "received_events_url": self + "/received_events",
	}
}

// userOrNil is null when there is no such user.
func (s *Server) userOrNil(u *User) any {
	if u == nil {
		return nil
	}
	return s.userShape(u)
}

func (s *Server) organizationShape(u *User) object {
	self := s.api("orgs/%s", u.Login)
	return object{
		"login": u.Login, "id": u.ID, "node_id": nodeID("O", u.ID), "url": self, "repos_url": self + "/repos", "events_url": self + "/events",
		"hooks_url": self + "/hooks", "issues_url": self + "/issues", "members_url": self + "/members{/member}",
		"public_members_url": self + "/public_members{/member}", "avatar_url": s.html("avatars/%d", u.ID), "description": nil,
	}
}

func getUser(c *call) answer {
	u := c.s.users[strings.ToLower(c.params["username"])]
	if u == nil {
		return notFound()
	}
	shape := c.s.userShape(u)
	maps.Copy(shape, object{
		"name": u.Login, "company": nil, "blog": "", "location": nil, "email": nil, "hireable": nil, "bio": nil, "public_repos": 0,
		"public_gists": 0, "followers": 0, "following": 0, "created_at": stamp(u.created), "updated_at": stamp(u.created),
	})
	return ok(shape)
}

func getPermission(c *call) answer {
	u := c.s.users[strings.ToLower(c.params["username"])]
	if u == nil {
		return refuse(http.StatusNotFound, fmt.Sprintf("%s is not a user", c.params["username"]))
	}
	role := c.repo.role(u)
	// The older of the two answers knows four levels only: maintain reads as write, triage as read.
	permission := map[string]string{"maintain": "write", "triage": "read"}[role]
	if permission == "" {
		permission = role
	}
	shape := c.s.userShape(u)
	shape["role_name"] = role
	rank := map[string]int{"none": 0, "read": 1, "triage": 2, "write": 3, "maintain": 4, "admin": 5}[role]
	shape["permissions"] = object{"pull": rank >= 1, "triage": rank >= 2, "push": rank >= 3, "maintain": rank >= 4, "admin": rank >= 5}
	return ok(object{"permission": permission, "role_name": role, "user": shape})
}
