package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
)

func TestHeaders(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	server := s.server(t)
	pages := server.Pages()
	for _, path := range []string{"/", "/runs/" + s.green.ID, "/runs/none", "/nowhere", "/api/v1/runs", "/deliveries", "/favicon.ico", "/assets/" + server.assets.hashed["app.js"]} {
		h := ask(t, pages, path).Header()
		for name, want := range map[string]string{
			"Content-Security-Policy":    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
			"X-Content-Type-Options":     "nosniff",
			"Referrer-Policy":            "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if h.Get("Content-Type") == "" || h.Get("Cache-Control") == "" {
			t.Errorf("%s: Content-Type %q, Cache-Control %q", path, h.Get("Content-Type"), h.Get("Cache-Control"))
		}
	}
}

func TestMethods(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	server := s.server(t)
	for name, h := range map[string]http.Handler{"pages": server.Pages(), "API": server.API(), "metrics": server.Metrics()} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodTrace, "CONNECT", "BREW"} {
			w := ask(t, h, "/api/v1/runs", func(r *http.Request) { r.Method = method })
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s: %s gives %d, Allow %q", name, method, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	ts := httptest.NewServer(server.Pages())
	defer ts.Close()
	for _, path := range []string{"/", "/runs/" + s.running.ID + "/live", "/runs/" + s.running.ID + "/jobs/image/log/live", "/runs/" + s.running.ID + "/jobs/image/log.txt", "/live"} {
		res, err := http.Head(ts.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("HEAD %s: %d", path, res.StatusCode)
		}
	}
}

func TestHost(t *testing.T) {
	w := newWorld()
	h := w.server(t, func(o *Options) { o.Hosts = []string{"ci.internal:8081", "0.0.0.0:8081", ""} }).Pages()
	local := func(r *http.Request, address string) *http.Request {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, a))
	}
	for _, tt := range []struct {
		host, local string
		want        int
	}{
		{"localhost", "", 200}, {"LocalHost:8081", "", 200}, {"localhost.:8081", "", 200}, {"127.0.0.1:8081", "", 200}, {"127.8.9.1", "", 200},
		{"[::1]:8081", "", 200}, {"[::1]", "", 200}, {"slipway.example.com", "", 200}, {"Slipway.Example.com:443", "", 200}, {"ci.internal:8081", "", 200},
		{"10.0.0.7:8081", "10.0.0.7:8081", 200}, {"[fd00::7]:8081", "[fd00::7]:8081", 200},
		{"10.0.0.8:8081", "10.0.0.7:8081", 421}, {"10.0.0.7:8081", "", 421}, {"evil.example", "127.0.0.1:8081", 421}, {"slipway.example.com.evil.example", "", 421},
		{"localhost.evil.example", "", 421}, {"", "", 421}, {"127.0.0.1.nip.io", "", 421}, {"0x7f000001", "", 421}, {"localhost@evil.example", "", 421},
	} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host, r.RemoteAddr = tt.host, "127.0.0.1:1"
		if tt.local != "" {
			r = local(r, tt.local)
		}
		h.ServeHTTP(rec, r)
		if rec.Code != tt.want {
			t.Errorf("Host %q at %q: %d, want %d", tt.host, tt.local, rec.Code, tt.want)
		}
	}
}

// Without sign-in the pages are for this machine, unless the operator says otherwise.
func TestOnlyFromHere(t *testing.T) {
	w := newWorld()
	for _, tt := range []struct {
		remote string
		public bool
		want   int
	}{
		{"127.0.0.1:4000", false, 200}, {"[::1]:4000", false, 200}, {"[::ffff:127.0.0.1]:4000", false, 200}, {"10.1.2.3:4000", false, 403}, {"nonsense", false, 403}, {"10.1.2.3:4000", true, 200},
	} {
		h := w.server(t, func(o *Options) { o.Public = tt.public }).Pages()
		if got := ask(t, h, "/", func(r *http.Request) { r.RemoteAddr = tt.remote }).Code; got != tt.want {
			t.Errorf("from %s, public %v: %d, want %d", tt.remote, tt.public, got, tt.want)
		}
	}
}

// The admin socket has neither a Host nor an address of its own.
func TestAPIOnSocket(t *testing.T) {
	h := newWorld().server(t).API()
	w := ask(t, h, "/api/v1/runs", func(r *http.Request) { r.Host, r.RemoteAddr = "slipway", "@" })
	if w.Code != http.StatusOK {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if w := ask(t, h, "/"); w.Code != http.StatusNotFound {
		t.Errorf("the socket serves pages: %d", w.Code)
	}
}

func TestErrorsHaveTwoForms(t *testing.T) {
	h := newWorld().server(t).Pages()
	w := ask(t, h, "/api/v1/runs/r-none")
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if w.Code != 404 || w.Header().Get("Content-Type") != "application/problem+json" || p.Status != 404 || p.Title != "Not Found" || p.Type != "about:blank" || p.Detail == "" || p.Instance != "/api/v1/runs/r-none" {
		t.Errorf("%d %s %+v", w.Code, w.Header().Get("Content-Type"), p)
	}
	w = ask(t, h, "/runs/r-none")
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(w.Body.String(), "<h1>Not Found</h1>") {
		t.Errorf("%s: %s", w.Header().Get("Content-Type"), w.Body)
	}
	w = ask(t, h, "/runs/r-none", func(r *http.Request) { r.Header.Set("Accept", "*/*") })
	if w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("curl gets %s", w.Header().Get("Content-Type"))
	}
}

// A panic is answered and logged, and ends one request only.
func TestPanic(t *testing.T) {
	w := newWorld()
	h := w.server(t, func(o *Options) { o.Index = panicking{} }).Pages()
	rec := ask(t, h, "/")
	if rec.Code != http.StatusInternalServerError || strings.Contains(rec.Body.String(), "boom") {
		t.Errorf("%d: %s", rec.Code, rec.Body)
	}
	body(t, h, "/deliveries", http.StatusOK)
}

func TestAssets(t *testing.T) {
	s := newWorld().server(t)
	h := s.Pages()
	for name, limit := range map[string]int{"style.css": 15 << 10, "app.js": 7 << 10, "favicon.svg": 1 << 10} {
		w := ask(t, h, "/assets/"+s.assets.hashed[name])
		if w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %s", name, w.Code, w.Header().Get("Cache-Control"))
		}
		if n := len(s.assets.content[s.assets.hashed[name]]); n == 0 || n > limit {
			t.Errorf("%s has %d bytes, at most %d are allowed", name, n, limit)
		}
	}
	body(t, h, "/assets/app.js", http.StatusNotFound)
	body(t, h, "/assets/..%2f..%2fweb.go", http.StatusNotFound)
}

func TestCompression(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	w := ask(t, s.server(t).Pages(), "/runs/"+s.matrix.ID, func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
	if w.Code != 200 || w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > 8<<10 {
		t.Errorf("%d, %q, %d bytes", w.Code, w.Header().Get("Content-Encoding"), w.Body.Len())
	}
	w = ask(t, s.server(t).Pages(), "/runs/none", func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
	if w.Code != 404 || w.Header().Get("Content-Encoding") == "gzip" && !strings.HasPrefix(w.Body.String(), "\x1f\x8b") {
		t.Errorf("an error page says it is compressed and isn't")
	}
}

// TestWhoNeverReadsIsLetGo: the answer to somebody who asks and never reads ends in time, whatever it is; and somebody who asked for
// something long before, on the same connection, has the whole time again.
func TestWhoNeverReadsIsLetGo(t *testing.T) {
	server := newWorld().server(t)
	server.pace.answer = 100 * time.Millisecond
	e := server.echo()
	ended := make(chan error, 1)
	e.GET("/endless", func(c echo.Context) error {
		c.Response().WriteHeader(http.StatusOK)
		for piece := make([]byte, 1<<20); ; {
			if _, err := c.Response().Write(piece); err != nil {
				ended <- err
				return nil
			}
		}
	})
	e.GET("/short", func(c echo.Context) error { return c.String(http.StatusOK, "short") })
	ts := httptest.NewServer(server.guard(e, true))
	t.Cleanup(ts.Close)
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	lines := bufio.NewReader(conn)
	for range 3 {
		fmt.Fprint(conn, "GET /short HTTP/1.1\r\nHost: localhost\r\n\r\n")
		answer, err := http.ReadResponse(lines, nil)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(answer.Body); err != nil || string(text) != "short" {
			t.Fatalf("%q, %v", text, err)
		}
		_ = answer.Body.Close()
		time.Sleep(server.pace.answer) //nolint:forbidigo // the deadline of this answer passes
	}
	fmt.Fprint(conn, "GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("ended by %v", err)
		}
	case <-time.After(soon):
		t.Error("the answer is still being written")
	}
}
