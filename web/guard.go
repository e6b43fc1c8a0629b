package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/slipway-ci/slipway/jobs"
)

// policy is the Content-Security-Policy of every answer: only our own files, nothing inline, no frames.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// A Problem is how the API says that something went wrong: application/problem+json (RFC 9457).
type Problem struct {
	Type     string `json:"type"` // always about:blank: Status says it all
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`   // a sentence for people
	Instance string `json:"instance,omitempty"` // path of the request
	// Reference is set when the trouble is the server's own: the line about it in the server's log has the same.
	Reference string `json:"reference,omitempty"`
}

// refusal is an error whose sentence is for whoever asked.
type refusal struct {
	status int
	detail string
}

func (r *refusal) Error() string { return r.detail }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

func (s *Server) echo() *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = s.fail
	e.Use(recovered, s.bounded, middleware.GzipWithConfig(middleware.GzipConfig{Level: 2, MinLength: 1400, Skipper: streams}))
	return e
}

// guard wraps a handler with what holds for every request: deadlines, headers and allowed methods. With browsers set, for handlers that
// browsers reach, the Host header, and where the request comes from, are checked.
func (s *Server) guard(e *echo.Echo, browsers bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.bound(w)
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "private, no-cache")
		answer := func(err error) { s.fail(err, e.NewContext(r, w)) }
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead && (r.Method != http.MethodPost || !s.acceptsPost(r.URL.Path, browsers)):
			allow := "GET, HEAD"
			if s.acceptsPost(r.URL.Path, browsers) {
				allow += ", POST"
			}
			h.Set("Allow", allow)
			answer(refuse(http.StatusMethodNotAllowed, "This address answers %s only.", allow))
		case browsers && !s.o.Public && !fromHere(r):
			answer(refuse(http.StatusForbidden, "These pages are for this machine only. To open them to others set pages_public: true in config.yaml."))
		case browsers && !s.hostAllowed(r):
			answer(refuse(http.StatusMisdirectedRequest, "This server is not known by the name in the request. Use the address in server.url of config.yaml."))
		default:
			e.ServeHTTP(w, r)
		}
	})
}

// fromHere reports whether the request came over loopback: from this machine, or from a proxy on it.
func fromHere(r *http.Request) bool {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// fromElsewhere reports whether somebody on another machine may have made the request. One that a proxy on this machine passes on comes
// over loopback, too, but says so by a header, or asks for the name that the server has outside.
func fromElsewhere(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"} {
		if len(r.Header.Values(name)) > 0 {
			return true
		}
	}
	return !fromHere(r) || !loopback(hostName(r.Host))
}

// hostName is the name or address in a Host header, without the port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return hostKey(host)
}

// loopback reports whether a host is this machine for whoever asks.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// hostAllowed checks the Host header. It keeps out pages of other sites whose names were made to resolve to this server
// (DNS rebinding): their requests carry the other name. Addresses can't be abused so; of them, the one that the request
// came to is allowed.
func (s *Server) hostAllowed(r *http.Request) bool {
	host := hostName(r.Host)
	if s.hosts[host] || loopback(host) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == ip.Unmap()
}

func hostKey(host string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// panicked is the error that a handler's panic becomes.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

// recovered turns a panic into an error.
func recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = &panicked{p, debug.Stack()}
			}
		}()
		return next(c)
	}
}

// bound limits how long the client may take to read the answer, so that one who asks and never reads keeps nothing here. A stream
// sets the deadline anew with every write. A connection that has no deadlines is a test's.
func (s *Server) bound(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.pace.answer))
}

// bounded limits how long an answer that is no stream may take to make.
func (s *Server) bounded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if streams(c) {
			return next(c)
		}
		ctx, cancel := context.WithTimeout(c.Request().Context(), pageTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// streams reports whether the answer may take as long as a job does.
func streams(c echo.Context) bool {
	path := c.Path()
	return strings.HasSuffix(path, "/live") || strings.HasSuffix(path, "/log.txt") || path == apiLogPath ||
		path == apiRunPath && c.QueryParam("wait") != ""
}

// param is a parameter of the path, unescaped.
func param(c echo.Context, name string) string {
	v := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return v
	}
	if u, err := url.PathUnescape(v); err == nil {
		return u
	}
	return v
}

// fail answers an error, as a page or as a Problem, and logs it when it is ours.
func (s *Server) fail(err error, c echo.Context) {
	r := c.Request()
	var detail, reference string
	status := http.StatusServiceUnavailable
	var theirs *refusal
	var routing *echo.HTTPError
	switch {
	case errors.As(err, &theirs):
		status, detail = theirs.status, theirs.detail
	case errors.As(err, &routing):
		status, detail = routing.Code, "There is nothing at this address."
	case errors.Is(err, jobs.ErrNotFound):
		status, detail = http.StatusNotFound, "There is no such record, or it is no longer kept."
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		return // the client left
	default:
		var defect *panicked
		if errors.As(err, &defect) {
			status = http.StatusInternalServerError
		}
		reference = strings.ToLower(rand.Text()[:8])
		detail = "Something is wrong on this server, not with your repository. It is logged as " + reference + "; trying again in a moment may help."
		s.o.Log.Error("answer a request", "path", r.URL.Path, "status", status, "reference", reference, "error", err)
	}
	if c.Response().Committed {
		panic(http.ErrAbortHandler) // too late for another answer, but the client must see that this one broke off
	}
	s.bound(c.Response()) // it may have taken long to get here
	c.Response().Header().Del("Content-Encoding")
	if status == http.StatusServiceUnavailable {
		c.Response().Header().Set("Retry-After", "5")
	}
	if wantsPage(c) {
		body := errorPage{Status: status, Title: http.StatusText(status), Detail: detail}
		if err := s.render(c, status, "error", page{Title: body.Title, Body: body}); err != nil {
			s.o.Log.Error("render the error page", "error", err)
		}
		return
	}
	text, _ := json.Marshal(Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Instance: r.URL.Path, Reference: reference,
	})
	_ = c.Blob(status, "application/problem+json", text)
}

// wantsPage reports whether an error is to be shown to a person.
func wantsPage(c echo.Context) bool {
	r := c.Request()
	return !strings.HasPrefix(r.URL.Path, "/api/") && strings.Contains(r.Header.Get("Accept"), "text/html")
}

type errorPage struct {
	Status        int
	Title, Detail string
}
