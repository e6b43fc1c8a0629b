package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/webhook"
)

// store is an Acceptor that remembers, or fails.
type store struct {
	mu   sync.Mutex
	got  map[string]jobs.Delivery
	fail error
}

func (s *store) Accept(_ context.Context, d jobs.Delivery) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return false, s.fail
	}
	if _, ok := s.got[d.GUID]; ok {
		return false, nil
	}
	d.Body = bytes.Clone(d.Body)
	s.got[d.GUID] = d
	return true, nil
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

const (
	secret = "It's a Secret to Everybody"
	guid   = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
)

func sign(secret string, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(body)
	return "sha256=" + hex.EncodeToString(h.Sum(nil))
}

func handler(t testing.TB, change func(*webhook.Options)) (*webhook.Handler, *store) {
	t.Helper()
	s := &store{got: map[string]jobs.Delivery{}}
	o := webhook.Options{
		AppID: 7, Secrets: [][]byte{[]byte("the old one"), []byte(secret)}, Accept: s,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&o)
	}
	h, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h, s
}

func request(t testing.TB, url string, body io.Reader, signature string, change func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": guid,
		"X-GitHub-Hook-ID": "1", "X-GitHub-Hook-Installation-Target-ID": "7",
		"X-GitHub-Hook-Installation-Target-Type": "integration", "X-Hub-Signature-256": signature,
	} {
		r.Header.Set(name, value)
	}
	if change != nil {
		change(r)
	}
	return r
}

func TestAccept(t *testing.T) {
	body := []byte("Hello, World!")
	// GitHub's own test vector (docs.github.com, "Validating webhook deliveries").
	const vector = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"GitHub's test vector", nil, 202},
		{"signed with the other secret", set("X-Hub-Signature-256", sign("the old one", body)), 202},
		{"signed with no secret of ours", set("X-Hub-Signature-256", sign("guess", body)), 401},
		{"unsigned", set("X-Hub-Signature-256", ""), 401},
		{"signed by SHA-1 only", func(r *http.Request) {
			r.Header.Set("X-Hub-Signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59")
			r.Header.Del("X-Hub-Signature-256")
		}, 401},
		{"half a signature", set("X-Hub-Signature-256", vector[:40]), 401},
		{"a signature that is not hex", set("X-Hub-Signature-256", "sha256="+strings.Repeat("z", 64)), 401},
		{"another App's", set("X-GitHub-Hook-Installation-Target-ID", "8"), 403},
		{"a repository's own webhook", set("X-GitHub-Hook-Installation-Target-Type", "repository"), 403},
		{"no GUID", set("X-GitHub-Delivery", ""), 400},
		{"a GUID with a wildcard", set("X-GitHub-Delivery", "72d3162e.>"), 400},
		{"an event name out of form", set("X-GitHub-Event", "push; rm"), 400},
		{"a form", set("Content-Type", "application/x-www-form-urlencoded"), 415},
		{"by GET", func(r *http.Request) { r.Method = http.MethodGet }, 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, s := handler(t, nil)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(t, "/webhook", bytes.NewReader(body), vector, c.change))
			if w.Code != c.status {
				t.Errorf("answered %d, want %d: %s", w.Code, c.status, w.Body)
			}
			if stored := s.count(); (stored == 1) != (c.status == 202) {
				t.Errorf("%d deliveries are stored after a %d", stored, w.Code)
			}
		})
	}
}

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestAcceptStoresWhatCame(t *testing.T) {
	h, s := handler(t, nil)
	body := []byte(`{"zen": "Keep it logically awesome."}`)
	for i, want := range []string{"accepted", "duplicate"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(t, "/webhook", bytes.NewReader(body), sign(secret, body), nil))
		if w.Code != 202 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("try %d answered %d %s, want %s", i, w.Code, w.Body, want)
		}
	}
	d := s.got[guid]
	if !bytes.Equal(d.Body, body) || d.Event != "push" || d.TargetID != 7 || d.Received.IsZero() {
		t.Errorf("stored %+v", d)
	}
}

func TestAcceptSays503WhenTheQueueCant(t *testing.T) {
	h, s := handler(t, nil)
	s.fail = errors.New("stream is full")
	body := []byte("{}")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(t, "/webhook", bytes.NewReader(body), sign(secret, body), nil))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d with Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if strings.Contains(w.Body.String(), "stream is full") {
		t.Error("the answer tells strangers of our insides")
	}
	if got := w.Body.String(); strings.Contains(got, "stored") || !strings.Contains(got, "send it again") { // nobody knows whether it was
		t.Errorf("answered %s", got)
	}
}

func TestSecretsAreNeverEmpty(t *testing.T) {
	for name, secrets := range map[string][][]byte{"none": nil, "an empty one": {[]byte("x"), {}}} {
		if _, err := webhook.New(webhook.Options{AppID: 7, Secrets: secrets}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// endless is a body that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestOversizeIsRefusedWithFlatMemory(t *testing.T) {
	h, s := handler(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for name, length := range map[string]int64{"announced": jobs.MaxBody + 1, "not announced": -1} {
		r := request(t, "/webhook", endless{}, sign(secret, nil), nil)
		r.ContentLength = length
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 413 {
			t.Errorf("%s: answered %d, want 413", name, w.Code)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap kept %d bytes", grown)
	}
	if s.count() != 0 {
		t.Error("something was stored")
	}
}

func TestLargestBodyIsAccepted(t *testing.T) {
	h, s := handler(t, nil)
	body := bytes.Repeat([]byte("x"), jobs.MaxBody)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(t, "/webhook", bytes.NewReader(body), sign(secret, body), nil))
	if w.Code != 202 || len(s.got[guid].Body) != jobs.MaxBody {
		t.Errorf("answered %d and stored %d bytes", w.Code, len(s.got[guid].Body))
	}
}

// held is a body whose second half comes only when it is let go.
type held struct {
	first   io.Reader
	arrived chan struct{}
	rest    <-chan struct{}
	once    sync.Once
}

func (b *held) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	b.once.Do(func() { close(b.arrived) })
	<-b.rest
	return 0, io.EOF
}

func TestBytesInFlightAreBounded(t *testing.T) {
	h, s := handler(t, func(o *webhook.Options) { o.InFlight = 1 << 20 })
	body := bytes.Repeat([]byte("x"), 400<<10)
	release := make(chan struct{})
	slow := &held{first: bytes.NewReader(body), arrived: make(chan struct{}), rest: release}
	r := request(t, "/webhook", slow, sign(secret, body), nil)
	r.ContentLength = int64(len(body))
	first := httptest.NewRecorder()
	var wg sync.WaitGroup
	wg.Go(func() { h.ServeHTTP(first, r) })
	<-slow.arrived

	second := httptest.NewRecorder()
	bigger := bytes.Repeat([]byte("y"), 900<<10)
	h.ServeHTTP(second, request(t, "/webhook", bytes.NewReader(bigger), sign(secret, bigger), nil))
	if second.Code != 503 {
		t.Errorf("a body beyond the budget was answered %d, want 503", second.Code)
	}
	close(release)
	wg.Wait()
	if first.Code != 202 || s.count() != 1 {
		t.Errorf("the one within the budget was answered %d", first.Code)
	}
	third := httptest.NewRecorder()
	h.ServeHTTP(third, request(t, "/webhook", bytes.NewReader(bigger), sign(secret, bigger), set("X-GitHub-Delivery", "another-guid")))
	if third.Code != 202 {
		t.Errorf("with the budget free again: answered %d, want 202", third.Code)
	}
}

// TestWire sends what no HTTP client would: bodies that break off, and ones that never come.
func TestWire(t *testing.T) {
	h, s := handler(t, func(o *webhook.Options) { o.ReadTimeout = 200 * time.Millisecond })
	server := httptest.NewServer(h)
	defer server.Close()
	head := func(length int) string {
		return fmt.Sprintf("POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
			"X-GitHub-Event: push\r\nX-GitHub-Delivery: %s\r\nX-GitHub-Hook-Installation-Target-ID: 7\r\n"+
			"X-GitHub-Hook-Installation-Target-Type: integration\r\nX-Hub-Signature-256: %s\r\n\r\n", length, guid, sign(secret, []byte("abc")))
	}
	for name, c := range map[string]struct {
		send   string
		hangUp bool
		want   string
	}{
		"slow":      {head(100) + "abc", false, "408"},
		"truncated": {head(100) + "abc", true, "400"},
		"whole":     {head(3) + "abc", false, "202"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.send); err != nil {
				t.Fatal(err)
			}
			if c.hangUp {
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			answer := make([]byte, 12)
			if _, err := io.ReadFull(conn, answer); err != nil {
				t.Fatal(err)
			}
			if got := string(answer[9:]); got != c.want {
				t.Errorf("answered %s, want %s", got, c.want)
			}
		})
	}
	if s.count() != 1 {
		t.Errorf("%d deliveries are stored, want the whole one only", s.count())
	}
}

func FuzzAccept(f *testing.F) {
	f.Add("sha256=00", guid, "push", []byte("{}"))
	f.Add(sign(secret, []byte("{}")), guid, "push", []byte("{}"))
	f.Fuzz(func(t *testing.T, signature, guid, event string, body []byte) {
		h, s := handler(t, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(t, "/webhook", bytes.NewReader(body), "", func(r *http.Request) {
			r.Header["X-Hub-Signature-256"] = []string{signature}
			r.Header["X-Github-Delivery"] = []string{guid}
			r.Header["X-Github-Event"] = []string{event}
		}))
		if signed := signature == sign(secret, body) || signature == sign("the old one", body); w.Code == 202 != (s.count() == 1) || w.Code == 202 && !signed && !strings.EqualFold(signature, sign(secret, body)) && !strings.EqualFold(signature, sign("the old one", body)) {
			t.Errorf("answered %d with %d stored", w.Code, s.count())
		}
	})
}
