package web

import (
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/slipway-ci/slipway/jobs"
)

// Limits of failed authentication: so many at once from one address, then one more each while.
const (
	failBurst     = 10
	failEvery     = 6 * time.Second
	failAddresses = 4096 // remembered at a time
)

// A throttle counts failed attempts by address, in bounded memory.
type throttle struct {
	mu   sync.Mutex
	seen *lru.Cache[netip.Prefix, *rate.Limiter]
}

func newThrottle() *throttle {
	seen, err := lru.New[netip.Prefix, *rate.Limiter](failAddresses)
	if err != nil {
		panic(err) // the size is a constant above 0
	}
	return &throttle{seen: seen}
}

// wait tells for how long an address may not try; 0 when it may.
func (t *throttle) wait(from netip.Prefix, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit, ok := t.seen.Get(from)
	if !ok || limit.TokensAt(now) >= 1 {
		return 0
	}
	return time.Duration((1 - limit.TokensAt(now)) * float64(failEvery))
}

func (t *throttle) failed(from netip.Prefix, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit, ok := t.seen.Get(from)
	if !ok {
		limit = rate.NewLimiter(rate.Every(failEvery), failBurst)
		t.seen.Add(from, limit)
	}
	limit.AllowN(now, 1)
}

// remote is who asks: the address the connection comes from, or what a proxy on this machine says that it got it from. Of IPv6 it
// is the network of 64 bits, in which one machine has addresses as it likes.
func remote(r *http.Request) netip.Prefix {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	address := peer.Addr().Unmap()
	if forwarded := r.Header.Values("X-Forwarded-For"); address.IsLoopback() && len(forwarded) > 0 {
		// The last one is the proxy's own word; what comes before it is the client's.
		list := forwarded[len(forwarded)-1]
		if a, err := netip.ParseAddr(strings.TrimSpace(list[strings.LastIndex(list, ",")+1:])); err == nil {
			address = a.Unmap()
		}
	}
	bits := 64
	if address.Is4() {
		bits = 32
	}
	prefix, _ := address.WithZone("").Prefix(bits)
	return prefix
}

// bearer returns the token that a request brings, or nil when it brings none. On the admin socket there are none.
func (a api) bearer(c echo.Context) (*Token, error) {
	r := c.Request()
	header := r.Header.Get("Authorization")
	if a.operator || header == "" {
		return nil, nil
	}
	if a.o.Writing == nil {
		return nil, refuse(http.StatusUnauthorized, "This server knows no tokens.")
	}
	from, now := remote(r), a.o.Now()
	if wait := a.failures.wait(from, now); wait > 0 {
		c.Response().Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		return nil, refuse(http.StatusTooManyRequests, "Too many requests with tokens that do not work came from this address.")
	}
	scheme, text, _ := strings.Cut(header, " ")
	token, err := Token{}, errToken
	if strings.EqualFold(scheme, "Bearer") {
		token, err = a.tokens().Know(r.Context(), strings.TrimSpace(text))
	}
	switch {
	case errors.Is(err, errToken):
		a.failures.failed(from, now)
		c.Response().Header().Set("WWW-Authenticate", `Bearer realm="slipway"`)
		return nil, refuse(http.StatusUnauthorized, "This is no token that works: it is not known, has expired or was revoked.")
	case err != nil:
		return nil, err
	}
	return &token, nil
}

func (a api) tokens() Tokens {
	return Tokens{Records: a.o.Writing.Tokens, Match: a.o.Writing.Match, Now: a.o.Now}
}

// may refuses what a token's scope does not hold. kind is one of the Mays.
func (a api) may(token Token, kind, repository string) error {
	has := false
	for _, k := range token.Kinds {
		has = has || k == kind
	}
	switch {
	case !has:
		return refuse(http.StatusForbidden, "The token %s lacks the kind %s; it has %s.", token.Name, kind, strings.Join(token.Kinds, ", "))
	case repository == "":
		return refuse(http.StatusForbidden, "With a token, name a repository that it is for: ?repository=owner/name.")
	case !a.tokens().covers(token, repository):
		return refuse(http.StatusForbidden, "The token %s is not for %s, but for %s.", token.Name, jobs.Cut(repository, 140), strings.Join(token.Repositories, ", "))
	}
	return nil
}

// mayRead refuses a request whose token does not let it read about a repository. Who brings no token reads what the pages show.
func (a api) mayRead(c echo.Context, repository string) error {
	token, err := a.bearer(c)
	if err != nil || token == nil {
		return err
	}
	return a.may(*token, MayRead, repository)
}

// ofRepository lets a token read what is narrowed to a repository that it is for.
func (a api) ofRepository(answer echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := a.mayRead(c, c.QueryParam("repository")); err != nil {
			return err
		}
		return answer(c)
	}
}

// ofRun lets a token read about a run that it started, or of a repository that it is for.
func (a api) ofRun(answer echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		token, err := a.bearer(c)
		if err != nil {
			return err
		}
		if token != nil {
			ctx, id := c.Request().Context(), param(c, "id")
			run, _, err := a.findRun(ctx, id)
			if err != nil {
				return err
			}
			record, _, err := a.o.Writing.Requests.Get(ctx, id)
			if err != nil && !errors.Is(err, jobs.ErrNotFound) {
				return err
			}
			if err := a.mayReadRun(*token, record, run.Repository.FullName()); err != nil {
				return err
			}
		}
		return answer(c)
	}
}

// mayReadRun refuses what a token neither started nor may read. record is zero for a run that no request started.
func (a api) mayReadRun(token Token, record RequestRecord, repository string) error {
	if record.Token == token.ID {
		return nil
	}
	return a.may(token, MayRead, repository)
}
