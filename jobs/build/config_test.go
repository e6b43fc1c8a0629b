package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	pw, empty := file("pw", "secret\n"), file("empty", " \n")
	good := Config{
		BuildKit: []string{"unix:///run/buildkit/buildkitd.sock", "tcp://buildkit.example.com:1234"}, Concurrency: 4, Timeout: time.Hour,
		Registries: map[string]Registry{"registry.example.com:5000": {Username: "bot", PasswordFile: pw}, "docker.io": {}, "127.0.0.1:5000": {Insecure: true}},
	}
	if err := good.Validate(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	if c := (Config{}).withDefaults(); c.Concurrency != DefaultConcurrency || c.Timeout != DefaultTimeout {
		t.Errorf("defaults: %+v", c)
	}
	reg := func(host string, r Registry) Config { return Config{Registries: map[string]Registry{host: r}} }
	for _, c := range []struct {
		name string
		conf Config
		says string
	}{
		{"a path for an address", Config{BuildKit: []string{"/run/buildkitd.sock"}}, "want unix:///path"},
		{"a relative socket", Config{BuildKit: []string{"unix://run/buildkitd.sock"}}, "want unix:///path"},
		{"http", Config{BuildKit: []string{"http://x:1"}}, "want unix:///path"},
		{"no port", Config{BuildKit: []string{"tcp://x"}}, "want unix:///path"},
		{"twice", Config{BuildKit: []string{"tcp://x:1", "tcp://x:1"}}, "listed twice"},
		{"concurrency", Config{Concurrency: -1}, "from 1 to 64"},
		{"timeout", Config{Timeout: 7 * time.Hour}, "at most 6h"},
		{"half a key pair", Config{TLS: TLS{CertFile: pw}}, "come together"},
		{"no certificate", Config{TLS: TLS{CAFile: pw}}, "holds no PEM certificate"},
		{"a URL for a host", reg("https://r.example.com", Registry{}), "not a registry's host"},
		{"a path in the host", reg("r.example.com/x", Registry{}), "not a registry's host"},
		{"Docker Hub's API", reg("registry-1.docker.io", Registry{}), "Docker Hub is docker.io"},
		{"a user alone", reg("r.example.com", Registry{Username: "x"}), "come together"},
		{"no password file", reg("r.example.com", Registry{Username: "x", PasswordFile: filepath.Join(dir, "nope")}), "no such file"},
		{"an empty password", reg("r.example.com", Registry{Username: "x", PasswordFile: empty}), "holds no password"},
		{"plain HTTP with a CA", reg("r.example.com", Registry{Insecure: true, CAFile: pw}), "ca_file has no use"},
	} {
		if err := c.conf.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.says)
		}
	}
	bad := Config{BuildKit: []string{"x"}, Concurrency: 65, Registries: map[string]Registry{"r.example.com": {Username: "x"}}}
	if err := bad.Validate(); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not all faults at once: %v", err)
	}
	if _, err := New(Config{}, testLog(t)); err == nil || !strings.Contains(err.Error(), "Allows") {
		t.Errorf("without Allows: %v", err)
	}
}
