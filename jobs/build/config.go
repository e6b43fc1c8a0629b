package build

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// Limits and defaults of Config.
const (
	DefaultConcurrency = 2
	MaxConcurrency     = 64
	DefaultTimeout     = 30 * time.Minute
	MaxTimeout         = 6 * time.Hour
	maxBuilders        = 32
)

// Config is the operator's `builds:` block together with the parts of `registries:` that builds need.
type Config struct {
	// BuildKit lists the addresses of buildkitd: unix:///run/buildkit/buildkitd.sock or tcp://host:port. A repository
	// keeps to one of them while it can, for its cache.
	BuildKit []string `yaml:"buildkit"`
	// Concurrency is how many builds run at the same time on each address; default 2.
	Concurrency int `yaml:"concurrency"`
	// Timeout ends a build that takes longer; default 30m, at most 6h. Waiting for a free BuildKit doesn't count.
	Timeout time.Duration `yaml:"timeout"`
	// TLS secures tcp addresses. Without it a tcp address is spoken to in the clear.
	TLS TLS `yaml:"tls"`

	// Registries by host[:port], "docker.io" for Docker Hub.
	Registries map[string]Registry `yaml:"-"`
	// Allows reports whether a list of a grant's patterns, in GitHub's filter dialect, allows a name.
	Allows func(patterns []string, name string) bool `yaml:"-"`
	// Outgoing prepares the transport to each registry: proxy, authorities to trust. A registry's own CAFile goes before.
	// Default: the proxy that the environment says.
	Outgoing func(*http.Transport) `yaml:"-"`
}

// TLS names the files for mutual TLS with buildkitd.
type TLS struct {
	CAFile   string `yaml:"ca_file"`   // PEM; the CA that signed buildkitd's certificate
	CertFile string `yaml:"cert_file"` // PEM; our certificate
	KeyFile  string `yaml:"key_file"`  // PEM; our key
	Server   string `yaml:"server"`    // name in buildkitd's certificate; default: the address's host
}

// Registry is what builds need to know of one entry of `registries:`.
type Registry struct {
	// Username and PasswordFile log in. The file is read anew for every build, so a password can be rotated; white
	// space at its end doesn't count.
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
	// Pull lists patterns of repository names that every build may pull with these credentials, such as "base/**".
	// Besides them a build reads with them only what its repository may push; all other pulls are anonymous.
	Pull []string `yaml:"pull"`
	// Insecure speaks plain HTTP with the registry. BuildKit must be told the same for pulls (buildkitd.toml).
	Insecure bool `yaml:"insecure"`
	// CAFile is the CA of the registry's certificate, PEM. BuildKit must be told the same (buildkitd.toml).
	CAFile string `yaml:"ca_file"`
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return c
}

// Validate reports everything that is wrong, all at once. Files are looked at too.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.BuildKit) > maxBuilders {
		fault("builds.buildkit: %d addresses, at most %d", len(c.BuildKit), maxBuilders)
	}
	seen := map[string]bool{}
	for _, a := range c.BuildKit {
		if err := checkAddress(a); err != nil {
			fault("builds.buildkit: %w", err)
		}
		if seen[a] {
			fault("builds.buildkit: %s is listed twice", a)
		}
		seen[a] = true
	}
	if c.Concurrency < 0 || c.Concurrency > MaxConcurrency {
		fault("builds.concurrency: %d, must be from 1 to %d", c.Concurrency, MaxConcurrency)
	}
	if c.Timeout < 0 || c.Timeout > MaxTimeout {
		fault("builds.timeout: %s, must be above 0 and at most %s", c.Timeout, MaxTimeout)
	}
	if err := c.TLS.validate(); err != nil {
		fault("builds.tls: %w", err)
	}
	for host, r := range c.Registries {
		for _, err := range r.validate(host) {
			fault("registries.%s: %w", host, err)
		}
	}
	return errors.Join(faults...)
}

func checkAddress(a string) error {
	u, err := url.Parse(a)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an address: %w", a, err)
	case u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path):
		return nil
	case u.Scheme == "tcp" && u.Hostname() != "" && u.Port() != "" && u.Path == "" && u.User == nil:
		return nil
	}
	return fmt.Errorf("%q: want unix:///path/to/buildkitd.sock or tcp://host:port", a)
}

func (t TLS) validate() error {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return errors.New("cert_file and key_file come together")
	}
	if t.CAFile != "" {
		if _, err := readCA(t.CAFile); err != nil {
			return fmt.Errorf("ca_file: %w", err)
		}
	}
	if t.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
			return fmt.Errorf("cert_file, key_file: %w", err)
		}
	}
	return nil
}

func (r Registry) validate(host string) []error {
	var faults []error
	if ref, err := reference.ParseNamed(host + "/a/x"); host != canonicalHost(host) || err != nil || reference.Domain(ref) != host {
		faults = append(faults, errors.New("not a registry's host[:port] (Docker Hub is docker.io)"))
	}
	if (r.Username == "") != (r.PasswordFile == "") {
		faults = append(faults, errors.New("username and password_file come together"))
	}
	if r.PasswordFile != "" {
		if _, err := r.password(); err != nil {
			faults = append(faults, fmt.Errorf("password_file: %w", err))
		}
	}
	if r.Insecure && r.CAFile != "" {
		faults = append(faults, errors.New("insecure means plain HTTP: ca_file has no use then"))
	}
	if r.CAFile != "" {
		if _, err := readCA(r.CAFile); err != nil {
			faults = append(faults, fmt.Errorf("ca_file: %w", err))
		}
	}
	return faults
}

// password reads the password as it is now. Its errors never quote the content.
func (r Registry) password() (string, error) {
	b, err := os.ReadFile(r.PasswordFile)
	if err != nil {
		return "", err
	}
	p := strings.TrimRight(string(b), " \t\r\n")
	if p == "" || len(p) > 16<<10 {
		return "", fmt.Errorf("%s holds no password (empty, or above 16 KiB)", r.PasswordFile)
	}
	return p, nil
}

// readCA returns the system's CAs and those of a PEM file.
func readCA(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return pool, nil
}

// canonicalHost gives Docker Hub's API hosts the name that images and configuration use for it.
func canonicalHost(host string) string {
	host = strings.ToLower(host)
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return host
}
