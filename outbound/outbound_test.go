package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "140.82.121.4": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.9.9.9": false, "0.0.0.0": false, "10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "100.127.1.1": false, "198.18.0.1": false, "192.0.2.7": false,
		"224.0.0.1": false, "239.1.1.1": false, "255.255.255.255": false, "240.0.0.1": false, "192.0.0.8": false,
		"::1": false, "::": false, "::127.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "fe80::1": false, "fe80::1%eth0": false,
		"fc00::1": false, "fd12::1": false, "fec0::1": false, "ff02::1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "2001::1": false,
		"2001:db8::1": false, "100::1": false, "2606:4700::1%eth0": false,
	} {
		if got := public(netip.MustParseAddr(address)); got != want {
			t.Errorf("public(%s) = %v", address, got)
		}
	}
}

func TestCheck(t *testing.T) {
	c, err := New(Options{Allow: []string{"10.1.0.0/16", "ci.internal", "127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	for address, part := range map[string]string{
		"https://hooks.example.com/x?y=z": "", "https://hooks.example.com:8443/": "", "https://8.8.8.8/": "",
		"https://10.1.2.3/": "", "http://10.1.2.3/": "", "http://ci.internal/hook": "", "https://CI.Internal./hook": "", "http://127.0.0.1:80/": "",
		"http://hooks.example.com/": "https://", "ftp://hooks.example.com/": "must be like", "hooks.example.com": "must be like",
		"https:///path": "must be like", "https:opaque": "must be like", "https://u:p@hooks.example.com/": "no user", "https://hooks.example.com/#x": "no user",
		"https://10.2.0.1/": "inside", "https://[::1]/": "inside", "https://[::ffff:10.2.0.1]/": "inside", "https://169.254.169.254/latest": "inside",
		"https://localhost/": "inside", "https://kubernetes/": "inside", "https://metadata.google.internal/": "inside", "https://x.svc/": "inside",
		"https://hooks.example.com/" + strings.Repeat("x", 2000): "bytes", "https://a b/": "URL", "https://[fe80::1%25eth0]/": "inside",
	} {
		err := c.Check(address)
		var refusal *jobs.Refusal
		switch {
		case part == "" && err != nil:
			t.Errorf("%.60s: %v", address, err)
		case part != "" && (!errors.As(err, &refusal) || !strings.Contains(refusal.Sentence, part)):
			t.Errorf("%.60s: %v, want %q", address, err, part)
		}
	}
	for _, bad := range []string{"", "http://x", "*.example.com", "10.0.0.0/40", "a b", "host:80"} {
		if _, err := New(Options{Allow: []string{bad}}); err == nil {
			t.Errorf("allow %q was taken", bad)
		}
	}
}

// server is a TLS server on loopback, and what makes clients trust it.
func server(t *testing.T, handle http.HandlerFunc) (*httptest.Server, *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(handle)
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "example.com"}
}

func get(t *testing.T, c *Client, address string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err == nil {
		t.Cleanup(func() { answer.Body.Close() })
	}
	return answer, err
}

// TestANameThatResolvesInside: a harmless name whose address lies inside is refused when it is dialled, and nothing is sent.
func TestANameThatResolvesInside(t *testing.T) {
	asked := false
	s, trust := server(t, func(http.ResponseWriter, *http.Request) { asked = true })
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resolver := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = resolver })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: dns(t, net.IPv4(127, 0, 0, 1))}

	address := "https://hooks.example.com:" + port + "/"
	c, err := New(Options{TLS: trust})
	if err != nil {
		t.Fatal(err)
	}
	var refusal *jobs.Refusal
	if _, err := get(t, c, address); !errors.As(err, &refusal) || strings.Contains(refusal.Sentence, "127.0.0.1") || !strings.Contains(refusal.Cause.Error(), "127.0.0.1") {
		t.Errorf("got %v, want a refusal that tells the address to the operator alone", err)
	}
	if asked {
		t.Error("the server inside was asked")
	}
	for _, allow := range []string{"127.0.0.0/8", "hooks.example.com"} {
		asked = false
		if c, err = New(Options{TLS: trust, Allow: []string{allow}}); err != nil {
			t.Fatal(err)
		}
		if _, err := get(t, c, address); err != nil || !asked {
			t.Errorf("allowed by %s: %v, asked %v", allow, err, asked)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := false
	s, trust := server(t, func(w http.ResponseWriter, r *http.Request) {
		elsewhere = elsewhere || r.URL.Path != "/"
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	c, err := New(Options{TLS: trust, Allow: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := get(t, c, s.URL+"/")
	if err != nil || answer.StatusCode != http.StatusTemporaryRedirect || elsewhere {
		t.Errorf("%v, %v, followed %v", answer, err, elsewhere)
	}
}

// TestThroughAProxy: the proxy is reached wherever it is; what is refused by name never gets to it.
func TestThroughAProxy(t *testing.T) {
	var got []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.Host)
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(proxy.Close)
	via, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Allow: []string{"plain.example.com"}, Proxy: http.ProxyURL(via)})
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := get(t, c, "http://plain.example.com/x"); err != nil || answer.StatusCode != http.StatusTeapot {
		t.Errorf("%v, %v", answer, err)
	}
	if _, err := get(t, c, "https://hooks.example.com/x"); err == nil {
		t.Error("a proxy that refuses CONNECT was taken for an answer")
	}
	if _, err := get(t, c, "https://10.0.0.1/x"); !errors.As(err, new(*jobs.Refusal)) {
		t.Errorf("%v", err)
	}
	if want := "GET plain.example.com,CONNECT hooks.example.com:443"; strings.Join(got, ",") != want {
		t.Errorf("the proxy got %v, want %s", got, want)
	}
}

// dns answers every question for an address with one of IPv4.
func dns(t *testing.T, address net.IP) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		t.Cleanup(func() { client.Close(); server.Close() })
		go func() {
			for {
				var length [2]byte
				if _, err := io.ReadFull(server, length[:]); err != nil {
					return
				}
				question := make([]byte, int(length[0])<<8|int(length[1]))
				if _, err := io.ReadFull(server, question); err != nil {
					return
				}
				end := 12
				for question[end] != 0 {
					end += int(question[end]) + 1
				}
				end += 5
				answer := append([]byte{question[0], question[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question[12:end]...)
				if question[end-3] == 1 { // type A
					answer[7] = 1
					answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4)
					answer = append(answer, address.To4()...)
				}
				if _, err := server.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...)); err != nil {
					return
				}
			}
		}()
		return client, nil
	}
}
