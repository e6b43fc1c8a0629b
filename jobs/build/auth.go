package build

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/buildkit/session/auth"
	"golang.org/x/crypto/nacl/sign"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// keyring is what a build's session answers when BuildKit asks for credentials. It lives as long as the build.
//
// Registries with token authentication: tokens are fetched here and narrowed here, BuildKit never sees the password.
// A token pushes the one image that this build makes, pulls what the repository may push and what the operator lets
// every build pull; for any other name it is an anonymous one.
//
// Registries with basic authentication know no scopes: BuildKit gets the password, for that host only. That it is
// used for granted names only is kept by the source policy (policy.go) and by what we ask BuildKit to push.
type keyring struct {
	auth.UnimplementedAuthServer
	recipe     recipe
	registries *registries
	allows     func(patterns []string, name string) bool
	secrets    *masker
	log        *slog.Logger
	checked    atomic.Bool // BuildKit asks checkSource
	seed       [32]byte    // makes this session's token authority, so that no other session can use its tokens
}

func newKeyring(r recipe, rs *registries, allows func(patterns []string, name string) bool, secrets *masker, log *slog.Logger) *keyring {
	k := &keyring{recipe: r, registries: rs, allows: allows, secrets: secrets, log: log}
	rand.Read(k.seed[:]) // never fails
	return k
}

// Register makes it a session.Attachable.
func (k *keyring) Register(server *grpc.Server) { auth.RegisterAuthServer(server, k) }

// registry returns a host's registry when this build may use the operator's credentials there at all; else nil.
func (k *keyring) registry(host string) (*registry, error) {
	host = canonicalHost(host)
	if !k.recipe.push || !k.registries.configured(host) {
		return nil, nil
	}
	return k.registries.get(host)
}

// GetTokenAuthority says whether this session fetches tokens for a host itself. Unavailable means no; BuildKit then
// asks for Credentials.
func (k *keyring) GetTokenAuthority(ctx context.Context, req *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	key, err := k.authority(ctx, req.Host, req.Salt)
	if err != nil {
		return nil, err
	}
	return &auth.GetTokenAuthorityResponse{PublicKey: key[32:]}, nil
}

// VerifyTokenAuthority proves to BuildKit that a kept token is this session's.
func (k *keyring) VerifyTokenAuthority(ctx context.Context, req *auth.VerifyTokenAuthorityRequest) (*auth.VerifyTokenAuthorityResponse, error) {
	key, err := k.authority(ctx, req.Host, req.Salt)
	if err != nil {
		return nil, err
	}
	return &auth.VerifyTokenAuthorityResponse{Signed: sign.Sign(nil, req.Payload, (*[64]byte)(key))}, nil
}

func (k *keyring) authority(ctx context.Context, host string, salt []byte) (ed25519.PrivateKey, error) {
	r, err := k.registry(host)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, status.Error(codes.Unavailable, "this session issues no tokens for this registry")
	}
	c, err := r.challenge(ctx)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if !isScheme(c, "bearer") {
		return nil, status.Error(codes.Unavailable, "this session issues no tokens for this registry")
	}
	mac := hmac.New(sha256.New, k.seed[:])
	mac.Write([]byte(canonicalHost(host)))
	mac.Write([]byte{0})
	mac.Write(salt)
	return ed25519.NewKeyFromSeed(mac.Sum(nil)), nil
}

// FetchToken fetches a token that holds what was asked for, as far as this build may have it.
func (k *keyring) FetchToken(ctx context.Context, req *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	r, err := k.registry(req.Host)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, status.Error(codes.Unavailable, "this session issues no tokens for this registry")
	}
	scopes, named := k.narrow(r, req.Scopes)
	login := authn.AuthConfig{}
	if named {
		if login, err = r.login(); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		k.secrets.add(login.Password)
	}
	t, err := r.token(ctx, login, scopes)
	if err != nil {
		return nil, status.Error(codes.Internal, k.secrets.clean(err.Error()))
	}
	k.secrets.add(t.Token)
	k.log.Debug("registry token fetched", "registry", r.host, "scopes", scopes, "anonymous", !named)
	return &auth.FetchTokenResponse{Token: t.Token, ExpiresIn: int64(t.ExpiresIn)}, nil
}

// narrow cuts the scopes that BuildKit asks for to those this build may have with the operator's credentials (named),
// or, when none is left, to pulls without credentials.
func (k *keyring) narrow(r *registry, asked []string) (scopes []string, named bool) {
	var anonymous []string
	for _, s := range strings.Fields(strings.Join(asked, " ")) {
		// distribution's token scope grammar: type ":" name ":" actions
		kind, rest, ok := strings.Cut(s, ":")
		i := strings.LastIndexByte(rest, ':')
		if !ok || kind != "repository" || i < 0 {
			continue
		}
		repo, actions := rest[:i], strings.Split(rest[i+1:], ",")
		pull, push := slices.Contains(actions, "pull"), slices.Contains(actions, "push")
		switch a := k.recipe.access(r.host, repo, r.conf, k.allows); {
		case a == accessPush && push:
			scopes = append(scopes, "repository:"+repo+":pull,push")
		case a >= accessPull && (pull || push):
			scopes = append(scopes, "repository:"+repo+":pull")
		case pull:
			anonymous = append(anonymous, "repository:"+repo+":pull")
		}
	}
	if len(scopes) > 0 {
		return scopes, true
	}
	return anonymous, false
}

// Credentials hands out the password of a registry that knows only basic authentication.
func (k *keyring) Credentials(ctx context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	r, err := k.registry(req.Host)
	if err != nil {
		return nil, err
	}
	if r == nil || (r.host != k.recipe.host && len(r.conf.Pull) == 0 && !k.grantedAt(r.host)) {
		return &auth.CredentialsResponse{}, nil
	}
	c, err := r.challenge(ctx)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if !isScheme(c, "basic") {
		return &auth.CredentialsResponse{}, nil
	}
	if !k.checked.Load() {
		// Every build has a source that comes before: its Dockerfile. This BuildKit knows no source policies.
		return nil, status.Error(codes.Internal, "this BuildKit is too old for registries with basic authentication: whoever runs Slipway must update it")
	}
	login, err := r.login()
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	k.secrets.add(login.Password)
	k.secrets.add(base64.StdEncoding.EncodeToString([]byte(login.Username + ":" + login.Password)))
	return &auth.CredentialsResponse{Username: login.Username, Secret: login.Password}, nil
}

func (k *keyring) grantedAt(host string) bool {
	for _, g := range k.recipe.grants {
		if canonicalHost(g.Registry) == host {
			return true
		}
	}
	return false
}

// masker blanks the credentials that this build holds, wherever text leaves it.
type masker struct {
	mu      sync.Mutex
	secrets []string // the longest first, so that none is hidden in part because another begins alike
}

func (m *masker) add(secret string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(secret) >= 4 && !slices.Contains(m.secrets, secret) {
		m.secrets = append(m.secrets, secret)
		slices.SortFunc(m.secrets, func(a, b string) int { return len(b) - len(a) })
	}
}

func (m *masker) clean(s string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, secret := range m.secrets {
		s = strings.ReplaceAll(s, secret, "***")
	}
	return s
}
