package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/build"
	"github.com/slipway-ci/slipway/pipeline"
)

// A company is a network that can be left by a proxy only, with authorities of its own: https://github.example is an
// Enterprise Server (the stand-in's API below /api/v3/, archives at codeload.github.example), registry.example a registry.
type company struct {
	proxy *httptest.Server
	ca    []byte // PEM

	mu    sync.Mutex
	asked []string // hosts that the proxy was asked for
}

func newCompany(t testing.TB, github string) *company {
	t.Helper()
	to, err := url.Parse(github)
	if err != nil {
		t.Fatal(err)
	}
	c := &company{}
	inside := httptest.NewUnstartedServer(c.site(to))
	ca, leaf := authority(t, "github.example", "codeload.github.example", "registry.example")
	c.ca = ca
	inside.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}}
	inside.Config.ErrorLog = log.New(io.Discard, "", 0)
	inside.StartTLS()
	t.Cleanup(inside.Close)
	c.proxy = httptest.NewServer(c.tunnel(inside.Listener.Addr().String()))
	t.Cleanup(c.proxy.Close)
	return c
}

// site is what lies behind the proxy.
func (c *company) site(github *url.URL) http.Handler {
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(github) },
		ModifyResponse: func(r *http.Response) error { // the stand-in knows itself by another address
			if at := r.Header.Get("Location"); at != "" {
				r.Header.Set("Location", strings.Replace(at, github.String(), "https://codeload.github.example/", 1))
			}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Host == "registry.example" && r.URL.Path == "/v2/":
			w.WriteHeader(http.StatusOK)
		case r.Host == "github.example" && strings.HasPrefix(r.URL.Path, "/api/v3/"), r.Host == "codeload.github.example":
			pass.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}

// tunnel is the proxy: it connects whoever asks to the one inside.
func (c *company) tunnel(inside string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
			return
		}
		c.mu.Lock()
		c.asked = append(c.asked, r.Host)
		c.mu.Unlock()
		target, err := net.Dial("tcp", inside)
		if err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		defer target.Close()
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(target, buffered)
			_ = target.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(conn, target)
		conn.Close()
		<-done
	})
}

// hosts are those the proxy was asked for, each once.
func (c *company) hosts() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Clone(c.asked)
	slices.Sort(list)
	return slices.Compact(list)
}

// authority makes a private authority and a certificate of its for the names.
func authority(t testing.TB, names ...string) (ca []byte, leaf tls.Certificate) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "A company"}, NotBefore: from, NotAfter: to, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, NotBefore: from, NotAfter: to, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	rootDER := sign(root, root, keys[0], keys[0])
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}),
		tls.Certificate{Certificate: [][]byte{sign(server, root, keys[1], keys[0])}, PrivateKey: keys[1]}
}

// proxy: a company's network. $PROXY is the way out, $CA the file of its authority; https://github.example/api/v3/ is the
// script's GitHub as an Enterprise Server.
func cmdProxy(ts *testscript.TestScript, _ bool, _ []string) {
	w := worldOf(ts)
	c := newCompany(w.t, w.github.URL)
	file := filepath.Join(w.dir, "company-ca.pem")
	must(ts, os.WriteFile(file, c.ca, 0o600))
	ts.Setenv("PROXY", c.proxy.URL)
	ts.Setenv("CA", file)
	companies.Store(w, c)
}

// companies are the networks of the scripts that play.
var companies sync.Map

// proxied HOST:PORT: the proxy was asked for that host.
func cmdProxied(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, 1, "proxied HOST:PORT")
	c, ok := companies.Load(worldOf(ts))
	if !ok {
		ts.Fatalf("there is no proxy")
	}
	if hosts := c.(*company).hosts(); slices.Contains(hosts, args[0]) == neg {
		ts.Fatalf("the proxy was asked for %v", hosts)
	}
}

// TestOutgoing: the API, archives and registries are reached by the proxy and its private authority alone.
func TestOutgoing(t *testing.T) {
	github, err := githubtest.Start(githubtest.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = github.Close() })
	app, err := github.CreateApp(githubtest.AppOptions{})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := github.CreateRepository("acme/shop", githubtest.RepositoryOptions{Private: true})
	if err != nil {
		t.Fatal(err)
	}
	alice := github.CreateUser("alice")
	repo.SetPermission(alice, "write")
	sha, err := repo.Commit("main", "First", map[string]string{"Dockerfile": "FROM alpine\n"}, alice)
	if err != nil {
		t.Fatal(err)
	}
	inst := app.Install("acme")
	net := newCompany(t, github.URL)
	dir := t.TempDir()
	ca, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "app.pem")
	for file, content := range map[string][]byte{ca: net.ca, key: app.PrivateKeyPEM} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	checkout := func(o OutgoingConfig) error {
		transport, err := o.github()
		if err != nil {
			t.Fatal(err)
		}
		client, err := githubapp.New(githubapp.Config{AppID: app.ID, PrivateKeyFile: key, WebhookSecretFiles: []string{"x"}, APIURL: "https://github.example/api/v3/"},
			githubapp.Options{Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		defer client.CloseIdle()
		archives, err := githubapp.NewArchives(githubapp.ArchivesConfig{App: client, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		files, err := archives.Checkout(t.Context(), jobs.RunInfo{SHA: sha, Installation: inst.ID, Repository: jobs.Repository{ID: repo.ID, Owner: "acme", Name: "shop"}})
		if err != nil {
			return err
		}
		defer files.Close()
		_, err = files.Root.Stat("Dockerfile")
		return err
	}
	registry := func(o OutgoingConfig) error {
		apply, err := o.apply()
		if err != nil {
			t.Fatal(err)
		}
		k, err := build.New(build.Config{Registries: map[string]build.Registry{"registry.example": {}}, Allows: pipeline.Allows, Outgoing: apply}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		return k.PingRegistry(t.Context(), "registry.example")
	}
	right := OutgoingConfig{Proxy: net.proxy.URL, CAFile: ca}
	for name, ask := range map[string]func(OutgoingConfig) error{"archive": checkout, "registry": registry} {
		if err := ask(right); err != nil {
			t.Errorf("%s, by proxy and with its authority: %v", name, err)
		}
		if err := ask(OutgoingConfig{Proxy: net.proxy.URL}); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s, without the authority: %v", name, err)
		}
		if err := ask(OutgoingConfig{CAFile: ca}); err == nil {
			t.Errorf("%s was reached without the proxy", name)
		}
		if err := ask(OutgoingConfig{Proxy: net.proxy.URL, CAFile: ca, NoProxy: []string{".example"}}); err == nil {
			t.Errorf("%s was reached by the proxy, although no_proxy says no", name)
		}
	}
	if got := strings.Join(net.hosts(), " "); got != "codeload.github.example:443 github.example:443 registry.example:443" {
		t.Errorf("the proxy was asked for %s", got)
	}
}

func TestOutgoingValidate(t *testing.T) {
	dir := t.TempDir()
	noPEM := filepath.Join(dir, "no.pem")
	if err := os.WriteFile(noPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]OutgoingConfig{
		"":                                 {Proxy: "http://proxy.example.com:3128", NoProxy: []string{".example.com", "10.0.0.0/8"}},
		"outgoing.proxy: holds a password": {Proxy: "http://u:geheim@proxy:1"},
		`outgoing.proxy: "proxy:3128"`:     {Proxy: "proxy:3128"},
		`outgoing.proxy: "socks5://x"`:     {Proxy: "socks5://x"},
		"outgoing.proxy: is not a URL":     {Proxy: "http://%zz"},
		"outgoing.no_proxy: only used":     {NoProxy: []string{"x"}},
		"outgoing.no_proxy[0]":             {Proxy: "http://p:1", NoProxy: []string{"a, b"}},
		"outgoing.ca_file: open":           {CAFile: filepath.Join(dir, "missing")},
		"holds no certificate":             {CAFile: noPEM},
	} {
		err := o.validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim")) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
