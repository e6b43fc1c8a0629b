package githubtest_test

import (
	"net/http"
	"testing"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func TestTeamMembership(t *testing.T) {
	w := newWorld(t)
	bob, carol := w.CreateUser("bob"), w.CreateUser("carol")
	sre := w.CreateTeam("acme", "sre", w.alice)
	sre.Invite(bob)
	if w.CreateTeam("acme", "sre") != sre {
		t.Error("the team was made twice")
	}
	client := w.client()
	for login, want := range map[string]string{"alice": "active", "Bob": "pending"} {
		membership, _, err := client.Teams.GetTeamMembershipBySlug(t.Context(), "acme", "sre", login)
		check(t, err)
		if membership.GetState() != want || membership.GetRole() != "member" {
			t.Errorf("%s is %v", login, membership)
		}
	}
	sre.Remove(w.alice)
	for _, who := range [][2]string{{"sre", "alice"}, {"sre", carol.Login}, {"nothing", "bob"}} {
		_, _, err := client.Teams.GetTeamMembershipBySlug(t.Context(), "acme", who[0], who[1])
		refused(t, err, http.StatusNotFound, "Not Found")
	}
	w.CreateTeam("other", "sre", w.alice)
	_, _, err := client.Teams.GetTeamMembershipBySlug(t.Context(), "other", "sre", "alice")
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
	blind, err := w.CreateApp(githubtest.AppOptions{Slug: "blind", Permissions: map[string]string{"metadata": "read"}})
	check(t, err)
	_, _, err = w.tokenClient(blind.Install("acme").Token()).Teams.GetTeamMembershipBySlug(t.Context(), "acme", "sre", "bob")
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
}
