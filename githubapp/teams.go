package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

var _ jobs.People = (*App)(nil)

// InTeam reports whether an account is a member of ORG/SLUG now; an invitation that is not accepted does not count. Only teams
// of the repository's owner can be looked into: the token is that owner's installation's. Somebody whom a team of another
// organization lists is not a member as far as can be told here, so the answer is no.
//
// GitHub knows members by login here. Whoever asks holds the login against its ID by [App.Permission].
func (a *App) InTeam(ctx context.Context, installation int64, repo jobs.Repository, team string, actor jobs.Actor) (bool, error) {
	attempt := fmt.Sprintf("ask whether %s is in %s", actor.Login, team)
	c, err := a.client(installation, repo)
	if err != nil {
		return false, fmt.Errorf("%s: %w", attempt, err)
	}
	org, slug, _ := strings.Cut(team, "/")
	if !validName(org) || !validName(slug) {
		return false, fmt.Errorf("%s: a team is named ORG/SLUG", attempt)
	}
	if actor.Login == "" {
		return false, fmt.Errorf("%s: the account has no login", attempt)
	}
	if !strings.EqualFold(org, repo.Owner) {
		return false, nil
	}
	got, _, err := c.Teams.GetTeamMembershipBySlug(operation(ctx, "teams/get-membership-for-user-in-org"), org, slug, url.PathEscape(actor.Login))
	if err != nil {
		err = explain(ctx, attempt, err)
		switch {
		case status(err) == http.StatusNotFound: // no such team, or not in it: GitHub doesn't tell which
			return false, nil
		case errors.Is(err, ErrDenied):
			return false, &jobs.Refusal{Sentence: "Slipway may not look into teams here: whoever runs it must grant the App the organization permission Members: read.", Cause: err}
		}
		return false, err
	}
	return got.GetState() == "active", nil
}
