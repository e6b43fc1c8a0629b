package githubtest_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// jwt signs claims as an App does.
func (w *world) jwt(header string, claims map[string]any) string {
	w.t.Helper()
	block, _ := pem.Decode(w.app.PrivateKeyPEM)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	check(w.t, err)
	body, err := json.Marshal(claims)
	check(w.t, err)
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	check(w.t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestJWT(t *testing.T) {
	w := newWorld(t)
	const rs256 = `{"alg":"RS256","typ":"JWT"}`
	now := w.clock.Now().Unix()
	good := map[string]any{"iat": now - 60, "exp": now + 540, "iss": "4711"}
	but := func(name string, value any) map[string]any {
		claims := map[string]any{}
		for k, v := range good {
			claims[k] = v
		}
		claims[name] = value
		return claims
	}
	valid := w.jwt(rs256, good)
	for name, test := range map[string]struct {
		jwt, message string
	}{
		"good":            {valid, ""},
		"client ID":       {w.jwt(rs256, but("iss", w.app.ClientID)), ""},
		"number":          {w.jwt(rs256, but("iss", 4711)), ""},
		"other App":       {w.jwt(rs256, but("iss", "4712")), "'Issuer' claim"},
		"from the future": {w.jwt(rs256, but("iat", now+60)), "'Issued at' claim"},
		"expired":         {w.jwt(rs256, but("exp", now-1)), "'Expiration time' claim"},
		"too long":        {w.jwt(rs256, but("exp", now+700)), "too far in the future"},
		"no signature":    {w.jwt(`{"alg":"none"}`, good), "could not be decoded"},
		"other signature": {valid[:len(valid)-8] + "AAAAAAAA", "could not be decoded"},
		"garbage":         {"a.b.c", "could not be decoded"},
		"no token":        {"x", "could not be decoded"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := w.tokenClient(test.jwt).Apps.Get(t.Context(), "")
			if test.message == "" {
				check(t, err)
				return
			}
			refused(t, err, http.StatusUnauthorized, test.message)
		})
	}
	_, _, err := w.tokenClient(valid).Repositories.Get(t.Context(), "acme", "shop")
	refused(t, err, http.StatusUnauthorized, "")
	_, _, err = w.tokenClient(w.inst.Token()).Apps.Get(t.Context(), "")
	refused(t, err, http.StatusUnauthorized, "")
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	ctx, app := t.Context(), w.appClient()
	other, err := w.CreateRepository("acme/other", githubtest.RepositoryOptions{Private: true})
	check(t, err)
	mint := func(o *github.InstallationTokenOptions) *github.InstallationToken {
		t.Helper()
		token, _, err := app.Apps.CreateInstallationToken(ctx, w.inst.ID, o)
		check(t, err)
		return token
	}
	short, long := false, false
	for range 4 {
		value := mint(&github.InstallationTokenOptions{}).GetToken()
		short = short || len(value) == 40
		long = long || strings.HasPrefix(value, "ghs_4711_") && strings.Count(value, ".") == 2 && len(value) > 100
		_, _, err := w.tokenClient(value).Repositories.Get(ctx, "acme", "shop")
		check(t, err)
	}
	if !short || !long {
		t.Errorf("both formats of tokens should occur: short %v, long %v", short, long)
	}

	scoped := mint(&github.InstallationTokenOptions{RepositoryIDs: []int64{w.repo.ID}, Permissions: &github.InstallationPermissions{Contents: github.String("read"), Checks: github.String("read")}})
	if len(scoped.Repositories) != 1 || scoped.GetPermissions().GetContents() != "read" || scoped.GetPermissions().GetMetadata() != "read" || scoped.GetPermissions().Issues != nil {
		t.Errorf("the token is %v", scoped)
	}
	client := w.tokenClient(scoped.GetToken())
	_, _, err = client.Git.GetRef(ctx, "acme", "shop", "heads/main")
	check(t, err)
	_, _, err = client.Repositories.Get(ctx, "acme", "other")
	refused(t, err, http.StatusNotFound, "Not Found")
	_, _, err = client.Checks.CreateCheckRun(ctx, "acme", "shop", github.CreateCheckRunOptions{Name: "x", HeadSHA: w.first})
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
	_, _, err = client.Issues.CreateComment(ctx, "acme", "shop", 1, &github.IssueComment{Body: github.String("x")})
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")

	byName := mint(&github.InstallationTokenOptions{Repositories: []string{"other"}})
	_, _, err = w.tokenClient(byName.GetToken()).Repositories.Get(ctx, "acme", "shop")
	refused(t, err, http.StatusNotFound, "Not Found")
	_, _, err = w.tokenClient(byName.GetToken()).Repositories.Get(ctx, "acme", other.Name)
	check(t, err)

	_, _, err = app.Apps.CreateInstallationToken(ctx, w.inst.ID, &github.InstallationTokenOptions{Repositories: []string{"nothing"}})
	refused(t, err, http.StatusUnprocessableEntity, "does not exist or is not accessible")
	_, _, err = app.Apps.CreateInstallationToken(ctx, w.inst.ID, &github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Contents: github.String("write")}})
	refused(t, err, http.StatusUnprocessableEntity, "not granted to this installation")
	_, _, err = app.Apps.CreateInstallationToken(ctx, 1, &github.InstallationTokenOptions{})
	refused(t, err, http.StatusNotFound, "Not Found")
	// go-github posts null when it gets no options, which the description doesn't allow.
	_, _, _ = app.Apps.CreateInstallationToken(ctx, w.inst.ID, nil)
	w.broke("apps/create-installation-access-token request")

	w.clock.advance(59 * time.Minute)
	_, _, err = client.Repositories.Get(ctx, "acme", "shop")
	check(t, err)
	w.clock.advance(time.Minute)
	_, _, err = client.Repositories.Get(ctx, "acme", "shop")
	refused(t, err, http.StatusUnauthorized, "Bad credentials")

	fresh := w.tokenClient(w.inst.Token())
	_, err = fresh.Apps.RevokeInstallationToken(ctx)
	check(t, err)
	_, _, err = fresh.Repositories.Get(ctx, "acme", "shop")
	refused(t, err, http.StatusUnauthorized, "Bad credentials")
}

func TestSuspendedAndRemovedInstallation(t *testing.T) {
	w := newWorld(t)
	token := w.inst.Token()
	w.inst.Suspend(true)
	_, _, err := w.tokenClient(token).Repositories.Get(t.Context(), "acme", "shop")
	refused(t, err, http.StatusForbidden, "suspended")
	_, err = w.repo.Commit("main", "Unheard", map[string]string{"u": "u"}, w.alice)
	check(t, err)
	w.inst.Suspend(false)
	_, _, err = w.tokenClient(token).Repositories.Get(t.Context(), "acme", "shop")
	check(t, err)
	w.inst.Uninstall()
	_, _, err = w.tokenClient(token).Repositories.Get(t.Context(), "acme", "shop")
	refused(t, err, http.StatusUnauthorized, "Bad credentials")
	wantNames(t, w.names(), "installation.suspend", "installation.unsuspend", "installation.deleted")
	other, err := w.CreateRepository("acme/other", githubtest.RepositoryOptions{Private: true})
	check(t, err)
	inst := w.app.InstallOn(w.repo)
	client := w.tokenClient(inst.Token())
	inst.Add(other)
	_, _, err = client.Repositories.Get(t.Context(), "acme", "other")
	check(t, err)
	inst.Remove(other)
	_, _, err = client.Repositories.Get(t.Context(), "acme", "other")
	refused(t, err, http.StatusNotFound, "Not Found")
	w.app.Ping()
	wantNames(t, w.names(), "installation.created", "installation_repositories.added", "installation_repositories.removed", "ping")
}

// Public repositories can be read with any token, and written only with one that covers them.
func TestPublicRepository(t *testing.T) {
	w := newWorld(t)
	public, err := w.CreateRepository("other/public", githubtest.RepositoryOptions{})
	check(t, err)
	sha, err := public.Commit("main", "First", map[string]string{"f": "f"}, nil)
	check(t, err)
	client := w.client()
	_, _, err = client.Git.GetRef(t.Context(), "other", "public", "heads/main")
	check(t, err)
	_, _, err = client.Checks.CreateCheckRun(t.Context(), "other", "public", github.CreateCheckRunOptions{Name: "x", HeadSHA: sha})
	refused(t, err, http.StatusForbidden, "Resource not accessible by integration")
}
