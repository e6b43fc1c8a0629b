package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// What a token may do: its kinds. The first three are kinds of jobs. A token may start jobs of its kinds only, and a run that would have
// jobs of others is refused; jobs of the kind await need none.
const (
	MayDispatch = string(jobs.KindDispatch)
	MayBuild    = string(jobs.KindBuild)
	MayDeploy   = string(jobs.KindDeploy)
	MayCommand  = "command" // give commands that the pipeline declares; their jobs, too, must be of the token's kinds
	MayRead     = "read"    // read also what the token did not start
)

var tokenKinds = []string{MayDispatch, MayBuild, MayDeploy, MayCommand, MayRead}

// Bounds of tokens.
const (
	MaxTokenLife  = 366 * 24 * time.Hour
	maxTokens     = 1000
	maxTokenScope = 50                  // patterns, and commands
	tokensKept    = 90 * 24 * time.Hour // after they stopped working, for the list
	usedEvery     = time.Hour           // how exactly it is known when a token was used last
)

// TokenInfo is what may be told about a token.
type TokenInfo struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Repositories []string `json:"repositories"` // patterns of owner/name
	Kinds        []string `json:"kinds"`
	// Commands are the commands that it may give; none for all that the operator does not keep for some people.
	Commands []string  `json:"commands,omitempty"`
	Created  time.Time `json:"created"`
	By       string    `json:"by,omitempty"`
	Expires  time.Time `json:"expires"`
	Revoked  time.Time `json:"revoked,omitzero"`
	Used     time.Time `json:"used,omitzero"` // last, to the hour
}

// State is active, expired or revoked.
func (t TokenInfo) State(now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked"
	case !now.Before(t.Expires):
		return "expired"
	}
	return "active"
}

// A Token is the record of a token: what it may do, and how it is recognized. The token itself is not kept.
type Token struct {
	TokenInfo
	Hash string `json:"hash"` // SHA-256 of the secret, in hex
	// Callback is what callbacks are signed with. It is the one secret that is stored, since it has to be used; it is erased when the
	// token is revoked.
	Callback string `json:"callback,omitempty"`
}

// scope is what a run that the token asks for may consist of.
func (t Token) scope() *jobs.Scope {
	s := &jobs.Scope{Commands: t.Commands}
	for _, kind := range t.Kinds {
		if kind == MayBuild || kind == MayDeploy || kind == MayDispatch {
			s.Kinds = append(s.Kinds, jobs.KindName(kind))
		}
	}
	return s
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name         string    `json:"name"`
	Repositories []string  `json:"repositories"`
	Kinds        []string  `json:"kinds"`
	Commands     []string  `json:"commands,omitempty"` // see TokenInfo
	Expires      time.Time `json:"expires"`
	By           string    `json:"by"`
	// Callback is what callbacks shall be signed with; default: a secret made here.
	Callback string `json:"callback,omitempty"`
}

// NewToken is a token just made: the one time that its secrets are shown.
type NewToken struct {
	TokenInfo
	Token    string `json:"token"`
	Callback string `json:"callback_secret"`
}

// Tokens are the API's tokens.
type Tokens struct {
	Records jobs.Set[Token]
	// Match reports whether a name passes a list of patterns in GitHub's dialect, and which of them decided.
	Match func(patterns []string, name string) (ok bool, pattern string)
	Now   func() time.Time
}

var (
	tokenName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}$`)
	commandName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`) // as pipelines declare them
)

// Create makes a token. The error is a *jobs.Refusal when the request asks for one that can't be.
func (t Tokens) Create(ctx context.Context, r TokenRequest) (NewToken, error) {
	now := t.Now().UTC()
	if err := r.check(now); err != nil {
		return NewToken{}, err
	}
	if err := t.makeRoom(ctx, now); err != nil {
		return NewToken{}, err
	}
	info := TokenInfo{
		ID: strings.ToLower(rand.Text()[:12]), Name: r.Name, Repositories: r.Repositories, Kinds: r.Kinds, Commands: r.Commands,
		Created: now, By: jobs.Cut(r.By, 100), Expires: r.Expires.UTC(),
	}
	secret := newSecret()
	made := NewToken{TokenInfo: info, Token: "slp_" + info.ID + "_" + secret, Callback: cmp.Or(r.Callback, "slp_callback_"+newSecret())}
	if _, err := t.Records.Create(ctx, info.ID, Token{TokenInfo: info, Hash: hash(secret), Callback: made.Callback}); err != nil {
		return NewToken{}, fmt.Errorf("store token %s: %w", info.ID, err)
	}
	return made, nil
}

func (r TokenRequest) check(now time.Time) error {
	fault := func(format string, args ...any) error { return &jobs.Refusal{Sentence: fmt.Sprintf(format, args...)} }
	switch {
	case !tokenName.MatchString(r.Name):
		return fault("A token's name has up to 60 letters, digits, blanks and . _ -, such as nightly or argo-staging.")
	case len(r.Repositories) == 0 || len(r.Repositories) > maxTokenScope:
		return fault("Name the repositories the token is for, in up to %d patterns such as acme/*.", maxTokenScope)
	case len(r.Kinds) == 0:
		return fault("Say what the token may do: some of %s.", strings.Join(tokenKinds, ", "))
	case !r.Expires.After(now):
		return fault("A token must end to work in the future, not at %s.", r.Expires.UTC().Format(time.RFC3339))
	case r.Expires.After(now.Add(MaxTokenLife)):
		return fault("A token works for at most a year.")
	case r.Callback != "" && (len(r.Callback) < 16 || len(r.Callback) > 200):
		return fault("The secret for callbacks must have from 16 to 200 characters.")
	}
	positive := false
	for _, pattern := range r.Repositories {
		positive = positive || !strings.HasPrefix(pattern, "!")
		if len(pattern) > 200 || !strings.Contains(pattern, "/") && pattern != "**" || strings.ContainsAny(pattern, " ,\t\n") {
			return fault("%q is not a pattern of repositories such as acme/* or acme/shop.", jobs.Cut(pattern, 60))
		}
	}
	if !positive {
		return fault("Patterns that begin with ! only take away: put one without ! before them.")
	}
	for _, kind := range r.Kinds {
		if !slices.Contains(tokenKinds, kind) {
			return fault("A token can't have the kind %q: there are %s.", jobs.Cut(kind, 40), strings.Join(tokenKinds, ", "))
		}
	}
	switch {
	case len(r.Commands) > 0 && !slices.Contains(r.Kinds, MayCommand):
		return fault("A token gives commands when it has the kind %s.", MayCommand)
	case len(r.Commands) > maxTokenScope:
		return fault("Name up to %d commands.", maxTokenScope)
	}
	for _, name := range r.Commands {
		if !commandName.MatchString(name) {
			return fault("%q can't be a command: write its name in lower case, without the slash.", jobs.Cut(name, 40))
		}
	}
	return nil
}

// makeRoom removes tokens that stopped working long ago, and refuses more than there may be.
func (t Tokens) makeRoom(ctx context.Context, now time.Time) error {
	n, old := 0, map[string]uint64{}
	err := t.Records.All(ctx, func(key string, token Token, revision uint64) error {
		n++
		end := token.Expires
		if !token.Revoked.IsZero() {
			end = token.Revoked
		}
		if now.Sub(end) > tokensKept {
			old[key] = revision
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	for key, revision := range old {
		if err := t.Records.Delete(ctx, key, revision); err != nil && !errors.Is(err, jobs.ErrConflict) {
			return fmt.Errorf("remove token %s: %w", key, err)
		}
	}
	if n-len(old) >= maxTokens {
		return &jobs.Refusal{Sentence: fmt.Sprintf("There are %d tokens already, and there may be no more.", n-len(old))}
	}
	return nil
}

// List returns all tokens, the newest first.
func (t Tokens) List(ctx context.Context) ([]TokenInfo, error) {
	list := []TokenInfo{}
	err := t.Records.All(ctx, func(_ string, token Token, _ uint64) error {
		list = append(list, token.TokenInfo)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	slices.SortFunc(list, func(a, b TokenInfo) int { return b.Created.Compare(a.Created) })
	return list, nil
}

// Revoke ends a token at once. One that is revoked already stays as it is. The error is jobs.ErrNotFound when there is no such token.
func (t Tokens) Revoke(ctx context.Context, id string) (TokenInfo, error) {
	if !validKey(id) {
		return TokenInfo{}, jobs.ErrNotFound
	}
	token, err := jobs.Change(ctx, t.Records, id, func(token *Token) error {
		if !token.Revoked.IsZero() {
			return jobs.ErrUnchanged
		}
		token.Revoked, token.Callback = t.Now().UTC(), ""
		return nil
	})
	if err != nil {
		return TokenInfo{}, fmt.Errorf("revoke token %s: %w", id, err)
	}
	return token.TokenInfo, nil
}

// newSecret is 256 random bits.
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// tokenText is what a token looks like: its ID, and the secret.
var tokenText = regexp.MustCompile(`^slp_([a-z0-9]{8,20})_([0-9a-f]{64})$`)

// errInvalidToken is returned for every token that does not work; the reason is not told.
var errInvalidToken = errors.New("no token that works")

// Authenticate returns the token that text belongs to, or errInvalidToken.
func (t Tokens) Authenticate(ctx context.Context, text string) (Token, error) {
	parts := tokenText.FindStringSubmatch(text)
	if parts == nil {
		return Token{}, errInvalidToken
	}
	token, _, err := t.Records.Get(ctx, parts[1])
	if err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return Token{}, fmt.Errorf("look up token %s: %w", parts[1], err)
	}
	same := subtle.ConstantTimeCompare([]byte(hash(parts[2])), []byte(token.Hash)) == 1 // never with the empty hash of a missing one
	now := t.Now()
	if !same || token.State(now) != "active" {
		return Token{}, errInvalidToken
	}
	if now.Sub(token.Used) >= usedEvery {
		// The token works even when this can't be noted.
		_, _ = jobs.Change(ctx, t.Records, token.ID, func(token *Token) error {
			if now.Sub(token.Used) < usedEvery {
				return jobs.ErrUnchanged
			}
			token.Used = now.UTC()
			return nil
		})
	}
	return token, nil
}

// covers reports whether a repository is among those a token is for. GitHub's names have no case.
func (t Tokens) covers(token Token, repository string) bool {
	patterns := make([]string, len(token.Repositories))
	for i, p := range token.Repositories {
		patterns[i] = strings.ToLower(p)
	}
	ok, _ := t.Match(patterns, strings.ToLower(repository))
	return ok && repository != ""
}
