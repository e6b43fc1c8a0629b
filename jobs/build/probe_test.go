package build

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// A registry is asked as builds ask it: it must be there and take the login. The password is never told.
func TestPingRegistry(t *testing.T) {
	for _, scheme := range []string{"", "basic", "bearer"} {
		g := newGuarded(t, scheme)
		good, wrong := g.conf(t), g.conf(t)
		if err := os.WriteFile(wrong.PasswordFile, []byte("another-password"), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			conf Registry
			want string
		}{
			"the right login": {good, ""},
			"no login":        {Registry{Insecure: true}, ""},
			"a wrong login":   {wrong, "401"},
			"no file":         {Registry{Username: "bot", PasswordFile: "/nowhere", Insecure: true}, "password_file"},
			"no plain HTTP":   {Registry{}, "plain HTTP is not allowed"},
		} {
			k := &Kind{registries: newRegistries(map[string]Registry{g.host(): tt.conf})}
			err := k.PingRegistry(t.Context(), g.host())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%q, %s: %v", scheme, name, err)
			}
			if err != nil && (strings.Contains(err.Error(), testPassword) || strings.Contains(err.Error(), "another-password")) {
				t.Errorf("%q, %s: the error tells the password: %v", scheme, name, err)
			}
		}
	}
	k := &Kind{registries: newRegistries(nil)}
	if err := k.PingRegistry(t.Context(), "127.0.0.1:1"); err == nil {
		t.Error("a registry that is not there answers")
	}
}

// What the operator says about outgoing connections counts for registries, and a registry's own authority before it.
func TestRegistriesGoOut(t *testing.T) {
	proxied := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // of plain HTTP
		proxied <- r.URL.Host
		w.WriteHeader(http.StatusOK)
	}))
	defer proxy.Close()
	rs := newRegistries(map[string]Registry{"registry.example.test": {Insecure: true}})
	rs.outgoing = func(tr *http.Transport) {
		tr.Proxy = func(r *http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	}
	if err := (&Kind{registries: rs}).PingRegistry(t.Context(), "registry.example.test"); err != nil {
		t.Fatal(err)
	}
	if host := <-proxied; !strings.HasPrefix(host, "registry.example.test") {
		t.Errorf("the proxy was asked for %s", host)
	}
}

func TestPingBuildKit(t *testing.T) {
	conf := Config{BuildKit: []string{"unix:///nowhere/buildkitd.sock"}, Allows: slices.Contains[[]string]}
	k, err := New(conf, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for _, address := range []string{conf.BuildKit[0], "unix:///other.sock"} {
		if err := k.PingBuildKit(t.Context(), address); err == nil {
			t.Errorf("%s answers", address)
		}
	}
}
