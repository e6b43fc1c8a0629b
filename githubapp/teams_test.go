package githubapp

import (
	"testing"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

func TestInTeam(t *testing.T) {
	w := newWorld(t)
	bob := w.CreateUser("bob")
	team := w.CreateTeam("acme", "sre", w.alice)
	ask := func(team string, who *githubtest.User) (bool, error) {
		t.Helper()
		in, err := w.app.InTeam(t.Context(), w.inst.ID, described(w.repo), team, jobs.Actor{ID: who.ID, Login: who.Login})
		clean(t, err)
		return in, err
	}
	expect := func(what, team string, who *githubtest.User, want bool) {
		t.Helper()
		if in, err := ask(team, who); err != nil || in != want {
			t.Errorf("%s: got %v, %v, want %v", what, in, err, want)
		}
	}
	expect("a member", "acme/sre", w.alice, true)
	expect("a member, in capitals", "ACME/sre", w.alice, true)
	expect("not a member", "acme/sre", bob, false)
	expect("no such team", "acme/nobody", w.alice, false)
	team.Invite(bob)
	expect("only invited", "acme/sre", bob, false)
	team.Remove(w.alice)
	expect("never cached", "acme/sre", w.alice, false)
	w.CreateTeam("evil", "sre", bob)
	expect("a team of another organization", "evil/sre", bob, false)
	for _, name := range []string{"sre", "acme/", "/sre", "acme/a/b", "acme/a?b", ""} {
		if in, err := ask(name, bob); err == nil || in {
			t.Errorf("%q: got %v, %v", name, in, err)
		}
	}
	w.Fail(githubtest.Failure{Operation: "teams/get-membership-for-user-in-org", Status: 502})
	if in, err := ask("acme/sre", bob); err == nil || in {
		t.Errorf("GitHub is away: got %v, %v", in, err)
	}
}
