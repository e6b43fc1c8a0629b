package githubapp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v50/github"
	"golang.org/x/sync/singleflight"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	mintTimeout = 30 * time.Second
	// A token is renewed this long before it expires (they live for an hour), so that one in hand outlives the call.
	tokenMargin = 5 * time.Minute
	// A token is used at least this long, whatever its expiry says: clocks may differ, and minting too often is limited.
	tokenLeast = 30 * time.Second
)

// A tokenSource holds the token of one repository of an installation, for one scope. GitHub has two formats, of 40 characters and of
// several hundred; nothing here depends on which.
type tokenSource struct {
	mint func(context.Context) (token string, expires time.Time, err error)
	now  func() time.Time

	flight singleflight.Group
	mu     sync.Mutex
	value  string
	renew  time.Time
}

// token returns a valid token. Callers share one request for a new one, which is not given up because the first of them
// gave up.
func (s *tokenSource) token(ctx context.Context) (string, error) {
	if token, ok := s.held(); ok {
		return token, nil
	}
	answer := s.flight.DoChan("", func() (any, error) {
		if token, ok := s.held(); ok {
			return token, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mintTimeout)
		defer cancel()
		token, expires, err := s.mint(ctx)
		if err != nil {
			return "", err
		}
		s.keep(token, expires)
		return token, nil
	})
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case got := <-answer:
		if got.Err != nil {
			return "", got.Err
		}
		return got.Val.(string), nil
	}
}

func (s *tokenSource) held() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, s.value != "" && s.now().Before(s.renew)
}

func (s *tokenSource) keep(token string, expires time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value, s.renew = token, expires.Add(-tokenMargin)
	if least := s.now().Add(tokenLeast); s.renew.Before(least) {
		s.renew = least
	}
}

// forget drops a token that GitHub refused, unless it was replaced already.
func (s *tokenSource) forget(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.value == token {
		s.value = ""
	}
}

// A scope is what a token is for. Each token is narrowed to its scope, beside its one repository, so that what shows checks can't
// start workflows.
type scope int

const (
	scopeRuns    scope = iota // files, pull requests, checks, and what is shown beside them
	scopeActions              // workflows and their runs
	scopeReview               // letting a workflow's job into an environment
	scopeOthers               // what other Apps say about commits
	scopes                    // how many there are
)

// A reach lists the permissions of a scope's tokens: needed ones must be granted, wanted ones are asked for as far as they are.
type reach struct{ needed, wanted map[string]string }

var reaches = [scopes]reach{
	scopeRuns: {
		needed: map[string]string{"metadata": "read", "contents": "read", "pull_requests": "read", "checks": "write"},
		wanted: map[string]string{"pull_requests": "write", "deployments": "write", "members": "read"},
	},
	scopeActions: {needed: map[string]string{"metadata": "read", "contents": "read", "checks": "read", "actions": "write"}},
	scopeReview:  {needed: map[string]string{"metadata": "read", "deployments": "write"}},
	scopeOthers: {
		needed: map[string]string{"metadata": "read", "checks": "read"},
		wanted: map[string]string{"statuses": "read", "actions": "read"},
	},
}

// permissions are those to ask of an installation that grants the given ones; nil stands for all that is wanted.
func (s scope) permissions(granted map[string]string) map[string]string {
	ask := maps.Clone(reaches[s].needed)
	for name, level := range reaches[s].wanted {
		if granted == nil || covers(granted[name], level) {
			ask[name] = level
		}
	}
	return ask
}

// lacking lists what is needed and not granted, as people write permissions. Every App has metadata.
func (s scope) lacking(granted map[string]string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(reaches[s].needed)) {
		if want := reaches[s].needed[name]; name != "metadata" && !covers(granted[name], want) {
			list = append(list, strings.ReplaceAll(name, "_", " ")+": "+want)
		}
	}
	return list
}

// A tokenRequest says what a token is to reach: repositories by their ID or by their name.
type tokenRequest struct {
	RepositoryIDs []int64           `json:"repository_ids,omitempty"`
	Repositories  []string          `json:"repositories,omitempty"`
	Permissions   map[string]string `json:"permissions"`
}

// mint asks GitHub for a token of a scope that reaches one repository of an installation.
func (a *App) mint(ctx context.Context, installation, repository int64, s scope) (string, time.Time, error) {
	request := tokenRequest{RepositoryIDs: []int64{repository}, Permissions: s.permissions(nil)}
	token, expires, err := a.requestToken(ctx, installation, request)
	if status(err) == http.StatusUnprocessableEntity && mentionsPermission(err) {
		// One permission that is not granted costs the whole token, so only those that are get asked for.
		granted, askErr := a.granted(ctx, installation)
		if askErr != nil {
			return "", time.Time{}, askErr
		}
		if lacking := s.lacking(granted); len(lacking) > 0 {
			return "", time.Time{}, fmt.Errorf("%w: it needs %s", ErrDenied, strings.Join(lacking, ", "))
		}
		request.Permissions = s.permissions(granted)
		token, expires, err = a.requestToken(ctx, installation, request)
	}
	if err == nil {
		return token, expires, nil
	}
	switch status(err) {
	case http.StatusUnauthorized:
		return "", time.Time{}, fmt.Errorf("%w (check github.app_id, github.private_key_file and this machine's clock)", err)
	case http.StatusNotFound:
		return "", time.Time{}, removed(installation)
	case http.StatusUnprocessableEntity:
		// GitHub says 422 both for a repository that the installation does not reach and for a permission it lacks.
		if mentionsPermission(err) {
			return "", time.Time{}, fmt.Errorf("%w: %w", ErrDenied, err)
		}
		return "", time.Time{}, &jobs.Gone{Reason: fmt.Sprintf("the App's installation %d no longer reaches the repository: it was deleted, moved or taken out", installation)}
	}
	return "", time.Time{}, err
}

func removed(installation int64) error {
	return &jobs.Gone{Reason: fmt.Sprintf("the App's installation %d is gone: it was removed", installation)}
}

// requestToken sends one request for a token.
func (a *App) requestToken(ctx context.Context, installation int64, request tokenRequest) (string, time.Time, error) {
	attempt := fmt.Sprintf("get a token for installation %d", installation)
	req, err := a.asApp.NewRequest(http.MethodPost, fmt.Sprintf("app/installations/%d/access_tokens", installation), request)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%s: %w", attempt, err)
	}
	var answer github.InstallationToken
	if _, err := a.asApp.Do(operation(ctx, "apps/create-installation-access-token"), req, &answer); err != nil {
		return "", time.Time{}, explain(ctx, attempt, err)
	}
	if answer.GetToken() == "" {
		return "", time.Time{}, errors.New("GitHub answered without a token")
	}
	return answer.GetToken(), answer.GetExpiresAt().Time, nil
}

// granted asks what an installation lets the App do.
func (a *App) granted(ctx context.Context, installation int64) (map[string]string, error) {
	attempt := fmt.Sprintf("ask what installation %d grants", installation)
	req, err := a.asApp.NewRequest(http.MethodGet, fmt.Sprintf("app/installations/%d", installation), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attempt, err)
	}
	var answer struct {
		Permissions map[string]string `json:"permissions"`
	}
	if _, err := a.asApp.Do(operation(ctx, "apps/get-installation"), req, &answer); err != nil {
		if err = explain(ctx, attempt, err); status(err) == http.StatusNotFound {
			return nil, removed(installation)
		}
		return nil, err
	}
	if answer.Permissions == nil {
		answer.Permissions = map[string]string{}
	}
	return answer.Permissions, nil
}

// A signer gives the App's JWT the times that GitHub advises, by our clock: issued a minute ago, so that clocks may
// differ, and valid for at most ten minutes ("Generating a JSON Web Token for a GitHub App").
type signer struct {
	ghinstallation.Signer
	now func() time.Time
}

func (s signer) Sign(claims jwt.Claims) (string, error) {
	registered, ok := claims.(*jwt.RegisteredClaims)
	if !ok {
		return "", fmt.Errorf("sign the App's token: unexpected claims %T", claims)
	}
	now := s.now().Truncate(time.Second)
	registered.IssuedAt = jwt.NewNumericDate(now.Add(-time.Minute))
	registered.ExpiresAt = jwt.NewNumericDate(now.Add(8 * time.Minute))
	return s.Signer.Sign(registered)
}
