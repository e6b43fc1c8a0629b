package githubtest

import (
	"net/http"
	"strings"
)

// Team is a team of an organization.
type Team struct {
	ID           int64
	Organization *User
	Slug         string

	s       *Server
	members map[int64]string // user ID → active, or pending until an invitation is accepted
}

// CreateTeam makes a team of an organization with its members; it returns the team with this slug if there is one.
func (s *Server) CreateTeam(organization, slug string, members ...*User) *Team {
	s.mu.Lock()
	key := strings.ToLower(organization + "/" + slug)
	team := s.teams[key]
	if team == nil {
		team = &Team{ID: s.nextID(), Organization: s.account(organization, "Organization"), Slug: slug, s: s, members: map[int64]string{}}
		s.teams[key] = team
	}
	s.mu.Unlock()
	for _, u := range members {
		team.Add(u)
	}
	return team
}

// Add makes a user a member of the team, at once or by accepting an invitation.
func (t *Team) Add(u *User) { t.set(u, "active") }

// Invite makes a user a pending member: no member yet, but listed.
func (t *Team) Invite(u *User) { t.set(u, "pending") }

// Remove takes a user out of the team.
func (t *Team) Remove(u *User) { t.set(u, "") }

func (t *Team) set(u *User, state string) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.members[u.ID] = state
}

// getTeamMembership answers 404 for a team that doesn't exist and for who is no member of it alike.
func getTeamMembership(c *call) answer {
	if account := c.caller.token.installation.Account; !strings.EqualFold(account.Login, c.params["org"]) {
		return refuse(http.StatusForbidden, "Resource not accessible by integration")
	}
	team, u := c.s.teams[strings.ToLower(c.params["org"]+"/"+c.params["team_slug"])], c.s.users[strings.ToLower(c.params["username"])]
	if team == nil || u == nil || team.members[u.ID] == "" {
		return notFound()
	}
	return ok(object{"url": c.s.api("organizations/%d/team/%d/memberships/%s", team.Organization.ID, team.ID, u.Login), "role": "member", "state": team.members[u.ID]})
}
