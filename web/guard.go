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
	// Reference names the server's log line about it, for trouble of ours.
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

// guard is what no request gets around. browsers is set for handlers that browsers reach: there the Host header and
// where the request comes from are looked at.
func (s *Server) guard(e *echo.Echo, browsers bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "private, no-cache")
		answer := func(err error) { s.fail(err, e.NewContext(r, w)) }
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead && (r.Method != http.MethodPost || !s.takes(r.URL.Path, browsers)):
			allow := "GET, HEAD"
			if s.takes(r.URL.Path, browsers) {
				allow += ", POST"
			}
			h.Set("Allow", allow)
			answer(refuse(http.StatusMethodNotAllowed, "There is nothing to change here; what is answered: %s.", allow))
		case browsers && !s.o.Public && !fromHere(r):
			answer(refuse(http.StatusForbidden, "These pages are for this machine only. To open them to others set pages_public: true in config.yaml."))
		case browsers && !s.hostAllowed(r):
			answer(refuse(http.StatusMisdirectedRequest, "This server is not known by the name in the request. Use the address in server.url of config.yaml."))
		default:
			e.ServeHTTP(w, r)
		}
	})
}

// fromHere reports whether the request came over loopback.
func fromHere(r *http.Request) bool {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// hostAllowed keeps out pages of other sites whose names were made to resolve to this server (DNS rebinding): they
// carry their own name in the Host header. An IP address can't be rebound, but only ours makes sense.
func (s *Server) hostAllowed(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = hostKey(host)
	if s.hosts[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == ip.Unmap()
}

func hostKey(host string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// panicked is a defect of ours that one request ran into.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

// recovered makes an error of a panic.
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

// bounded gives every request that is no stream an end.
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
		panic(http.ErrAbortHandler) // too late to say anything, but the client must not take it for the whole
	}
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
