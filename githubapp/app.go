package githubapp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v50/github"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/slipway-ci/slipway/jobs"
)

// App talks to GitHub as the App. Its methods may be called at the same time.
type App struct {
	id      int64
	api     *url.URL
	base    http.RoundTripper
	now     func() time.Time
	observe func(Call)
	log     *slog.Logger
	asApp   *github.Client         // signs as the App itself; all else is said as an installation
	login   atomic.Pointer[string] // of our bot, once GitHub was asked
	naming  chan struct{}          // semaphore of BotLogin: held while GitHub is asked
	own     *budget                // of what is said as the App itself

	mu        sync.Mutex // guards finding or making an entry; the caches lock themselves
	clients   *lru.Cache[clientKey, *client]
	budgets   *lru.Cache[int64, *budget]
	files     *lru.Cache[fileKey, file]
	locations *lru.Cache[string, repositoryLocation] // by full name, in lower case
}

var (
	_ jobs.Pulls            = (*App)(nil)
	_ jobs.Commits          = (*App)(nil)
	_ jobs.RepositoryFinder = (*App)(nil)
	_ jobs.Actions          = (*App)(nil)
)

// Options are what New needs beside the configuration; the zero value will do.
type Options struct {
	Log       *slog.Logger
	Now       func() time.Time  // default time.Now
	Transport http.RoundTripper // what carries requests; default: NewTransport
	Observe   func(Call)        // is told of every call, at the same time from several goroutines
}

const (
	maxClients = 2048 // repositories and scopes whose client and token are kept
	maxBudgets = 4096 // installations whose limits are remembered
)

// New reads the App's key and prepares its clients. It makes no call.
func New(config Config, options Options) (*App, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(config.PrivateKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the App's private key: %w", err)
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM(pem)
	if err != nil {
		return nil, fmt.Errorf("read the App's private key: %s holds no RSA private key in PEM form", config.PrivateKeyFile)
	}
	a := &App{id: config.AppID, now: options.Now, observe: options.Observe, log: options.Log, base: options.Transport, naming: make(chan struct{}, 1)}
	if a.api, err = config.apiURL(); err != nil {
		return nil, err
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.observe == nil {
		a.observe = func(Call) {}
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.base == nil {
		a.base = NewTransport()
	}
	if a.clients, err = lru.New[clientKey, *client](maxClients); err != nil {
		return nil, err
	}
	if a.budgets, err = lru.New[int64, *budget](maxBudgets); err != nil {
		return nil, err
	}
	if a.files, err = lru.New[fileKey, file](maxFiles); err != nil {
		return nil, err
	}
	if a.locations, err = lru.New[string, repositoryLocation](maxLocations); err != nil {
		return nil, err
	}
	a.own = newBudget(a.now)
	a.own.ownApp = true
	own := &limiter{next: a.base, budget: a.own, now: a.now, observe: a.observe}
	signed, err := ghinstallation.NewAppsTransportWithOptions(own, config.AppID,
		ghinstallation.WithSigner(signer{ghinstallation.NewRSASigner(jwt.SigningMethodRS256, key), a.now}))
	if err != nil {
		return nil, fmt.Errorf("prepare the App's transport: %w", err)
	}
	a.asApp = a.newClient(signed)
	return a, nil
}

// NewTransport returns the transport used when Options.Transport is nil, for callers that change its proxy or its trusted CAs.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = maxConcurrent
	t.ResponseHeaderTimeout = callTimeout
	return t
}

func (a *App) newClient(transport http.RoundTripper) *github.Client {
	c := github.NewClient(&http.Client{Transport: transport, Timeout: callTimeout, CheckRedirect: a.stay})
	c.BaseURL = a.api
	c.UserAgent = "slipway"
	return c
}

// stay follows GitHub's redirects of renamed repositories and nothing that leaves the API's host.
func (a *App) stay(req *http.Request, via []*http.Request) error {
	if len(via) > 3 {
		return errors.New("too many redirects")
	}
	if !sameOrigin(req.URL, a.api) {
		return http.ErrUseLastResponse
	}
	return nil
}

type clientKey struct {
	installation, repository int64
	scope                    scope
}

// A client speaks as one installation, about one repository, with a token of one scope. It is never shared more widely:
// go-github keeps rate-limit state in the client, and the token reaches this repository only.
type client struct {
	*github.Client
	budget *budget
}

// client returns the client that shows runs (scopeRuns) on a repository.
func (a *App) client(installation int64, repo jobs.Repository) (*client, error) {
	return a.clientFor(installation, repo, scopeRuns)
}

// clientFor returns the client for a repository and a scope. All of an installation's clients share its budget.
func (a *App) clientFor(installation int64, repo jobs.Repository, s scope) (*client, error) {
	if installation <= 0 || repo.ID <= 0 {
		return nil, fmt.Errorf("installation %d, repository %d: not IDs of GitHub's", installation, repo.ID)
	}
	if !validName(repo.Owner) || !validName(repo.Name) {
		return nil, fmt.Errorf("%q is not the name of a repository", repo.FullName())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := clientKey{installation, repo.ID, s}
	if c, ok := a.clients.Get(key); ok {
		a.budgets.Get(installation) // in use
		return c, nil
	}
	c := a.speaker(installation, func(ctx context.Context) (string, time.Time, error) {
		return a.mint(ctx, installation, repo.ID, s)
	})
	c.budget.of(repo.Owner)
	a.clients.Add(key, c)
	return c, nil
}

// speaker makes a client that speaks as an installation, with tokens as they are minted and by the installation's budget. a.mu is
// held.
func (a *App) speaker(installation int64, mint func(context.Context) (string, time.Time, error)) *client {
	b, ok := a.budgets.Get(installation)
	if !ok {
		b = newBudget(a.now)
		a.budgets.Add(installation, b)
	}
	return &client{budget: b, Client: a.newClient(&authorizer{
		api: a.api, tokens: &tokenSource{now: a.now, mint: mint}, next: &limiter{next: a.base, budget: b, now: a.now, observe: a.observe},
	})}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// validName reports whether s can be an owner's or repository's name: go-github puts them into addresses as they are.
func validName(s string) bool { return nameForm.MatchString(s) && strings.Trim(s, ".") != "" }

var shaForm = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// ValidSHA reports whether s is a full commit SHA, of either of Git's hash functions.
func ValidSHA(s string) bool { return shaForm.MatchString(s) }

// CloseIdle closes connections that are not in use.
func (a *App) CloseIdle() {
	if c, ok := a.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
