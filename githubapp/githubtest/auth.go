package githubtest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// token is an installation access token.
type token struct {
	installation *Installation
	repositories map[int64]bool // nil: all of the installation
	permissions  map[string]string
	expires      time.Time
}

// tokenLifetime is one hour, from GitHub's page "Generating an installation access token".
const tokenLifetime = time.Hour

// caller is who sent a request: nobody, an App by JWT, or an installation by token.
type caller struct {
	app   *App
	token *token
}

func (c caller) ids() (installation, app int64) {
	switch {
	case c.token != nil:
		return c.token.installation.ID, c.token.installation.App.ID
	case c.app != nil:
		return 0, c.app.ID
	}
	return 0, 0
}

func (c caller) budgetKey() string {
	switch {
	case c.token != nil:
		return c.token.installation.budgetKey()
	case c.app != nil:
		return fmt.Sprintf("app %d", c.app.ID)
	}
	return "anonymous"
}

// authenticate finds out who sends a request. Authorization may be "Bearer …" or "token …".
func (s *Server) authenticate(authorization string) (caller, *answer) {
	scheme, credential, _ := strings.Cut(authorization, " ")
	if authorization == "" {
		return caller{}, nil
	}
	if !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "token") {
		return caller{}, unauthorized("Bad credentials")
	}
	if strings.HasPrefix(credential, "ghs_") {
		t := s.tokens[credential]
		if t == nil || !s.now().Before(t.expires) || t.installation.deleted {
			return caller{}, unauthorized("Bad credentials")
		}
		if t.installation.suspended {
			a := refuse(http.StatusForbidden, "This installation has been suspended")
			return caller{}, &a
		}
		return caller{token: t}, nil
	}
	app, problem := s.verifyJWT(credential)
	if problem != "" {
		return caller{}, unauthorized(problem)
	}
	return caller{app: app}, nil
}

func unauthorized(message string) *answer {
	a := refuse(http.StatusUnauthorized, message)
	return &a
}

// verifyJWT checks an App's JSON web token by GitHub's rules: RS256, signed by the App's key, issued by its ID or client
// ID, not issued in the future, not expired, and valid for at most ten minutes.
func (s *Server) verifyJWT(jwt string) (*App, string) {
	const garbled = "A JSON web token could not be decoded"
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil, garbled
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var claims struct {
		Issued  *float64 `json:"iat"`
		Expires *float64 `json:"exp"`
		Issuer  any      `json:"iss"`
	}
	for i, into := range []any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return nil, garbled
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || header.Algorithm != "RS256" {
		return nil, garbled
	}
	var app *App
	issuer := fmt.Sprint(claims.Issuer)
	if n, isNumber := claims.Issuer.(float64); isNumber {
		issuer = strconv.FormatInt(int64(n), 10)
	}
	for _, candidate := range s.apps {
		if issuer == strconv.FormatInt(candidate.ID, 10) || issuer == candidate.ClientID {
			app = candidate
		}
	}
	if app == nil {
		return nil, "'Issuer' claim ('iss') must be an Integer"
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(&app.key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return nil, garbled
	}
	now := float64(s.now().Unix())
	switch {
	case claims.Issued == nil || *claims.Issued > now:
		return nil, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
	case claims.Expires == nil || *claims.Expires <= now:
		return nil, "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
	case *claims.Expires > now+600:
		return nil, "'Expiration time' claim ('exp') is too far in the future"
	}
	return app, ""
}

// authorize checks that the caller may do an operation, and finds the repository that the path names. A repository that a
// token doesn't cover doesn't exist for it.
func (s *Server) authorize(c *call, permission string) *answer {
	refused := func(a answer) *answer { return &a }
	switch {
	case permission == "":
	case permission == "jwt":
		if c.caller.app == nil {
			return unauthorized("A JSON web token could not be decoded")
		}
		if c.params["owner"] == "" {
			return nil
		}
	case c.caller.token == nil:
		return unauthorized("Requires authentication")
	}
	if owner := c.params["owner"]; owner != "" {
		c.repo = s.repository(owner + "/" + c.params["repo"])
		if to := s.movedTo(owner + "/" + c.params["repo"]); c.repo == nil && to != nil && (c.caller.token == nil || c.caller.token.sees(to)) {
			return refused(c.redirect(to))
		}
		if c.repo == nil || c.caller.token != nil && !c.caller.token.sees(c.repo) {
			return refused(notFound())
		}
	}
	if !strings.Contains(permission, ":") {
		return nil
	}
	covered := c.repo == nil || c.caller.token.covers(c.repo)
	for choice := range strings.SplitSeq(permission, "|") {
		name, level, _ := strings.Cut(choice, ":")
		if covered && c.caller.token.allows(name, level) || !covered && level == "read" { // public, and only read
			return nil
		}
	}
	return refused(refuse(http.StatusForbidden, "Resource not accessible by integration"))
}

// archivedRefusal is GitHub's answer to a write to an archived repository.
func (c *call) archivedRefusal() *answer {
	if c.repo == nil || !c.repo.archived || c.r.Method == http.MethodGet {
		return nil
	}
	a := refuse(http.StatusForbidden, "Repository was archived so is read-only.")
	return &a
}

// sees reports whether a token covers a repository. Public repositories can be read by every token.
func (t *token) sees(r *Repository) bool {
	return t.covers(r) || !r.private
}

func (t *token) covers(r *Repository) bool {
	return t.installation.covers(r) && (t.repositories == nil || t.repositories[r.ID])
}

func (t *token) allows(name, level string) bool {
	return permits(t.permissions[name], level)
}

var levels = []string{"", "read", "write", "admin"}

func permits(have, want string) bool {
	return slices.Index(levels, have) >= slices.Index(levels, want)
}

// mint makes an installation token. Both of GitHub's formats are given out in turn: the 40 characters of old, and the long
// one that carries the App's ID and a JSON web token.
func (s *Server) mint(installation *Installation, repositories map[int64]bool, permissions map[string]string) (string, *token) {
	var secret [18]byte
	_, _ = rand.Read(secret[:])
	value := "ghs_" + hex.EncodeToString(secret[:])
	if len(s.tokens)%2 == 1 {
		head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))
		claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"installation":%d,"exp":%d,"jti":"%x"}`, installation.ID, s.now().Add(tokenLifetime).Unix(), secret[:8]))
		mac := hmac.New(sha256.New, secret[:])
		mac.Write([]byte(head + "." + claims))
		value = fmt.Sprintf("ghs_%d_%s.%s.%s", installation.App.ID, head, claims, base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
	}
	t := &token{installation: installation, repositories: repositories, permissions: permissions, expires: s.now().Add(tokenLifetime)}
	s.tokens[value] = t
	return value, t
}
