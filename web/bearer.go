package web

import (
	"errors"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/slipway-ci/slipway/jobs"
)

// Limits of failed authentication, by address: failBurst at once, then one more every failEvery.
const (
	failBurst     = 10
	failEvery     = 6 * time.Second
	failAddresses = 4096 // remembered at a time
)

// A throttle limits how often each of many does something, in bounded memory.
type throttle[K comparable] struct {
	burst int           // so often at once
	every time.Duration // then once in this time

	mu   sync.Mutex
	seen *lru.Cache[K, *rate.Limiter]
}

// newThrottle makes a throttle that remembers the last size of those it saw.
func newThrottle[K comparable](size, burst int, every time.Duration) *throttle[K] {
	seen, err := lru.New[K, *rate.Limiter](size)
	if err != nil {
		panic(err) // the size is a constant above 0
	}
	return &throttle[K]{burst: burst, every: every, seen: seen}
}

// take counts one more time for who. When it was too often it returns how long to wait instead.
func (t *throttle[K]) take(who K, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit, ok := t.seen.Get(who)
	if !ok {
		limit = rate.NewLimiter(rate.Every(t.every), t.burst)
		t.seen.Add(who, limit)
	}
	if limit.AllowN(now, 1) {
		return 0
	}
	return time.Duration((1 - limit.TokensAt(now)) * float64(t.every))
}

// tooMany refuses with 429, and tells how long to wait.
func tooMany(c echo.Context, wait time.Duration, format string, args ...any) error {
	c.Response().Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	return refuse(http.StatusTooManyRequests, format, args...)
}

// remote is who asks: the address that the connection comes from or, through a proxy on this machine, the one that the proxy names. Of an
// IPv6 address it is the first 64 bits: one machine may use any address of such a network.
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

// bearer returns the token that a request brings, or nil for one that needs none to read: it comes from this machine, or by the admin
// socket. Only failures are limited: whoever shares an address with somebody who fails, such as all behind one proxy, is let in by a
// token that works. A secret has 256 bits, so nobody finds one by trying.
func (a api) bearer(c echo.Context) (*Token, error) {
	r := c.Request()
	header := r.Header.Get("Authorization")
	switch {
	case a.operator, header == "" && !fromElsewhere(r):
		return nil, nil
	case header == "":
		return nil, unauthorized(c, "From elsewhere than the server's own machine, this takes a token: `slipway token create` makes one. Send it as Authorization: Bearer.")
	case a.o.Submissions == nil:
		return nil, refuse(http.StatusUnauthorized, "This server knows no tokens.")
	}
	scheme, text, _ := strings.Cut(header, " ")
	token, err := Token{}, errInvalidToken
	if strings.EqualFold(scheme, "Bearer") {
		token, err = a.tokens().Authenticate(r.Context(), strings.TrimSpace(text))
	}
	if err == nil {
		return &token, nil
	}
	if !errors.Is(err, errInvalidToken) {
		return nil, err
	}
	if wait := a.failures.take(remote(r), a.o.Now()); wait > 0 {
		return nil, tooMany(c, wait, "Too many requests with tokens that do not work came from this address.")
	}
	return nil, unauthorized(c, "This is no token that works: it is not known, has expired or was revoked.")
}

// unauthorized refuses a request for want of a token.
func unauthorized(c echo.Context, detail string) error {
	c.Response().Header().Set("WWW-Authenticate", `Bearer realm="slipway"`)
	return refuse(http.StatusUnauthorized, "%s", detail)
}

func (a api) tokens() Tokens {
	return Tokens{Records: a.o.Submissions.Tokens, Match: a.o.Submissions.Match, Now: a.o.Now}
}

// may refuses what a token is not allowed to do. kind is one of the May constants.
func (a api) may(token Token, kind, repository string) error {
	switch {
	case !slices.Contains(token.Kinds, kind):
		return refuse(http.StatusForbidden, "The token %s lacks the kind %s; it has %s.", token.Name, kind, strings.Join(token.Kinds, ", "))
	case repository == "":
		return refuse(http.StatusForbidden, "With a token, name a repository that it is for: ?repository=owner/name.")
	case !a.tokens().covers(token, repository):
		return refuse(http.StatusForbidden, "The token %s is not for %s, but for %s.", token.Name, jobs.Cut(repository, 140), strings.Join(token.Repositories, ", "))
	}
	return nil
}

// mayRead refuses a request that may not read about a repository, "" for about all. See bearer for what needs no token.
func (a api) mayRead(c echo.Context, repository string) error {
	token, err := a.bearer(c)
	if err != nil || token == nil {
		return err
	}
	return a.may(*token, MayRead, repository)
}

// ofRun lets a token read about a run that it started, or that is of a repository that it may read. The request counts as waiting for
// as long as the answer takes.
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
			record, _, err := a.o.Submissions.Requests.Get(ctx, id)
			if err != nil && !errors.Is(err, jobs.ErrNotFound) {
				return err
			}
			if err := a.mayReadRun(*token, record, run.Repository.FullName()); err != nil {
				return err
			}
		}
		leave, err := a.wait(c, token)
		if err != nil {
			return err
		}
		defer leave()
		return answer(c)
	}
}

// mayReadRun refuses a run that the token neither started nor may read. record is zero for a run that no request started.
func (a api) mayReadRun(token Token, record RequestRecord, repository string) error {
	if record.Token == token.ID {
		return nil
	}
	return a.may(token, MayRead, repository)
}
