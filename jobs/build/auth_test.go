package build

import (
	"context"
	"slices"
	"strings"
	"testing"

	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/sourcepolicy/policysession"
	"golang.org/x/crypto/nacl/sign"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/jobs"
)

// ringFor is the keyring of a build that pushes acme/shop/api at a registry, and may push acme/shop and below.
func ringFor(t testing.TB, g *guarded, change ...func(*jobs.Task)) *keyring {
	t.Helper()
	task, _ := newTask(t, nil, g.host(), jobs.BuildSpec{Image: g.host() + "/acme/shop/api"})
	for _, c := range change {
		c(&task)
	}
	r, err := newRecipe(task, allows)
	if err != nil {
		t.Fatal(err)
	}
	rs := newRegistries(map[string]Registry{g.host(): g.conf(t, "base/*")})
	return newKeyring(r, rs, allows, &masker{}, testLog(t))
}

func untrusted(task *jobs.Task) { task.Run.Trust.Level = jobs.Untrusted }

func TestFetchTokenNarrows(t *testing.T) {
	for _, c := range []struct {
		name  string
		asked []string
		want  []string // what the token server saw
	}{
		{"the image itself", []string{"repository:acme/shop/api:pull,push"}, []string{"bot repository:acme/shop/api:pull,push"}},
		{"nothing beyond push", []string{"repository:acme/shop/api:*,delete,push"}, []string{"bot repository:acme/shop/api:pull,push"}},
		{"another granted image is read only", []string{"repository:acme/shop/web:pull,push"}, []string{"bot repository:acme/shop/web:pull"}},
		{"images for everyone", []string{"repository:base/go:pull"}, []string{"bot repository:base/go:pull"}},
		{"another team's, without login", []string{"repository:acme/pay:pull"}, []string{"- repository:acme/pay:pull"}},
		{"another team's push, not at all", []string{"repository:acme/pay:push"}, nil},
		{"a mount from another team's, left out", []string{"repository:acme/shop/api:pull,push repository:acme/pay:pull"}, []string{"bot repository:acme/shop/api:pull,push"}},
		{"a look-alike", []string{"repository:acme/shopping:pull,push"}, []string{"- repository:acme/shopping:pull"}},
		{"the catalog", []string{"registry:catalog:*"}, nil},
		{"garbage", []string{"repository", "repository:", "repository:x", ":::", ""}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuarded(t, "bearer")
			k := ringFor(t, g)
			resp, err := k.FetchToken(t.Context(), &auth.FetchTokenRequest{
				Host: g.host(), Scopes: c.asked,
				Realm: "http://127.0.0.1:1/steals-passwords", Service: "steals", // never believed
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := g.seen(); !slices.Equal(got, c.want) {
				t.Errorf("the token server was asked for %q, want %q", got, c.want)
			}
			if k.secrets.clean(resp.Token) != "***" {
				t.Error("the token would show in the log")
			}
		})
	}
}

func TestTokenAuthority(t *testing.T) {
	g := newGuarded(t, "bearer")
	a, b := ringFor(t, g), ringFor(t, g)
	salt, payload := []byte("salt"), []byte("payload")
	key, err := a.GetTokenAuthority(t.Context(), &auth.GetTokenAuthorityRequest{Host: g.host(), Salt: salt})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		ring *keyring
		want bool
	}{{"the same session", a, true}, {"another build's session", b, false}} {
		signed, err := c.ring.VerifyTokenAuthority(t.Context(), &auth.VerifyTokenAuthorityRequest{Host: g.host(), Salt: salt, Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := sign.Open(nil, signed.Signed, (*[32]byte)(key.PublicKey)); ok != c.want {
			t.Errorf("%s: its claim on the token holds: %v, want %v", c.name, ok, c.want)
		}
	}
	if creds, err := a.Credentials(t.Context(), &auth.CredentialsRequest{Host: g.host()}); err != nil || creds.Secret != "" {
		t.Errorf("the password of a registry with tokens was handed out (%v)", err)
	}
}

func TestKeyringGivesNothing(t *testing.T) {
	bearer, basic := newGuarded(t, "bearer"), newGuarded(t, "basic")
	for _, c := range []struct {
		name string
		ring *keyring
		host string
	}{
		{"another host, basic", ringFor(t, basic), "evil.example.com"},
		{"another host", ringFor(t, bearer), "evil.example.com"},
		{"the host on another port", ringFor(t, bearer), "127.0.0.1:1"},
		{"untrusted, tokens", ringFor(t, bearer, untrusted), bearer.host()},
		{"untrusted, basic", ringFor(t, basic, untrusted), basic.host()},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.ring.checked.Store(true)
			if _, err := c.ring.GetTokenAuthority(t.Context(), &auth.GetTokenAuthorityRequest{Host: c.host}); status.Code(err) != codes.Unavailable {
				t.Errorf("token authority: %v", err)
			}
			if _, err := c.ring.FetchToken(t.Context(), &auth.FetchTokenRequest{Host: c.host, Realm: bearer.URL + "/token", Scopes: []string{"repository:acme/shop/api:push"}}); err == nil {
				t.Error("a token was handed out")
			}
			if creds, err := c.ring.Credentials(t.Context(), &auth.CredentialsRequest{Host: c.host}); err != nil || creds.Username+creds.Secret != "" {
				t.Errorf("credentials were handed out (%v)", err)
			}
		})
	}
	if got := append(bearer.seen(), basic.seen()...); len(got) > 0 {
		t.Errorf("token servers were asked: %q", got)
	}
}

func TestBasicCredentials(t *testing.T) {
	g := newGuarded(t, "basic")
	k := ringFor(t, g)
	if _, err := k.GetTokenAuthority(t.Context(), &auth.GetTokenAuthorityRequest{Host: g.host()}); status.Code(err) != codes.Unavailable {
		t.Errorf("token authority without tokens: %v", err)
	}
	if creds, err := k.Credentials(t.Context(), &auth.CredentialsRequest{Host: g.host()}); err == nil {
		t.Errorf("a BuildKit that checks no sources got %v", creds)
	}
	k.checked.Store(true)
	creds, err := k.Credentials(t.Context(), &auth.CredentialsRequest{Host: g.host()})
	if err != nil || creds.Username != testUser || creds.Secret != testPassword {
		t.Fatalf("got %v, %v", creds, err)
	}
	if got := k.secrets.clean("x " + testPassword); got != "x ***" {
		t.Errorf("the password would show in the log: %q", got)
	}
}

func TestCheckSource(t *testing.T) {
	bearer, basic := newGuarded(t, "bearer"), newGuarded(t, "basic")
	for _, c := range []struct {
		name, source string
		g            *guarded
		untrusted    bool
		want         spb.PolicyAction
	}{
		{"own image", "docker-image://HOST/acme/shop/api:1", basic, false, spb.PolicyAction_ALLOW},
		{"granted image", "docker-image://HOST/acme/shop:1@sha256:" + strings.Repeat("a", 64), basic, false, spb.PolicyAction_ALLOW},
		{"image for everyone", "docker-image://HOST/base/go:1", basic, false, spb.PolicyAction_ALLOW},
		{"another team's", "docker-image://HOST/acme/pay:1", basic, false, spb.PolicyAction_DENY},
		{"another team's blob", "docker-image+blob://HOST/acme/pay@sha256:" + strings.Repeat("a", 64), basic, false, spb.PolicyAction_DENY},
		{"another team's, where tokens are narrow", "docker-image://HOST/acme/pay:1", bearer, false, spb.PolicyAction_ALLOW},
		{"another team's, without any credential", "docker-image://HOST/acme/pay:1", basic, true, spb.PolicyAction_ALLOW},
		{"Docker Hub", "docker-image://docker.io/library/alpine:latest", basic, false, spb.PolicyAction_ALLOW},
		{"the build's files", "local://context", basic, false, spb.PolicyAction_ALLOW},
		{"a download", "https://example.com/x", basic, false, spb.PolicyAction_ALLOW},
	} {
		t.Run(c.name, func(t *testing.T) {
			var change []func(*jobs.Task)
			if c.untrusted {
				change = append(change, untrusted)
			}
			k := ringFor(t, c.g, change...)
			got, _, err := k.checkSource(t.Context(), &policysession.CheckPolicyRequest{Source: &gwpb.ResolveSourceMetaResponse{
				Source: &pb.SourceOp{Identifier: strings.Replace(c.source, "HOST", c.g.host(), 1)}}})
			if err != nil {
				t.Fatal(err)
			}
			if got.Action != c.want {
				t.Errorf("got %v, want %v", got.Action, c.want)
			}
			if c.want == spb.PolicyAction_DENY && !strings.Contains(got.DenyMessages[0].Message, "acme/pay") {
				t.Errorf("the message doesn't name the image: %q", got.DenyMessages[0].Message)
			}
		})
	}
}

func TestKeyringWhenRegistryIsDown(t *testing.T) {
	g := newGuarded(t, "bearer")
	k := ringFor(t, g)
	g.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := k.GetTokenAuthority(ctx, &auth.GetTokenAuthorityRequest{Host: g.host()})
	// Not Unavailable: BuildKit would go on without credentials, and the push would look denied.
	if status.Code(err) != codes.Internal || !isOurs(err, err.Error()) {
		t.Errorf("got %v", err)
	}
}

func TestMaskerHidesTheLongerSecret(t *testing.T) {
	m := &masker{}
	m.add("abcdef")
	m.add("abcdef123456") // such as the next password, which begins alike
	if got := m.clean("x abcdef123456 abcdef y"); got != "x *** *** y" {
		t.Errorf("cleaned: %q", got)
	}
}
