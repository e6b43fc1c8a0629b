package build

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/singleflight"
)

const (
	challengeAge    = 10 * time.Minute // how long a registry's way to log in is remembered
	registryTimeout = 30 * time.Second // for one question
)

// A registry is one registry as this process speaks with it: to ask how it wants to be logged in to, for tokens, to
// read back what was pushed, and to set tags.
type registry struct {
	host string // canonical
	conf Registry
	reg  name.Registry
	rt   http.RoundTripper

	flight singleflight.Group // questions for the challenge
	mu     sync.Mutex
	answer *transport.Challenge // the last one
	asked  time.Time            // when it came
}

// registries are those of the configuration, and others as they come up.
type registries struct {
	conf     map[string]Registry
	outgoing func(*http.Transport) // may be nil
	mu       sync.Mutex
	open     map[string]*registry
}

func newRegistries(conf map[string]Registry) *registries {
	return &registries{conf: conf, open: map[string]*registry{}}
}

// get returns a registry. Only hosts that an operator's configuration or grant names may be asked for.
func (rs *registries) get(host string) (*registry, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.open[host]; r != nil {
		return r, nil
	}
	r := &registry{host: host, conf: rs.conf[host]}
	var opts []name.Option
	if r.conf.Insecure {
		opts = append(opts, name.Insecure)
	}
	var err error
	if r.reg, err = name.NewRegistry(host, opts...); err != nil {
		return nil, fmt.Errorf("registry %s: %w", host, err)
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: registryTimeout,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   4,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if r.conf.CAFile != "" {
		if t.TLSClientConfig.RootCAs, err = readCA(r.conf.CAFile); err != nil {
			return nil, fmt.Errorf("registry %s: ca_file: %w", host, err)
		}
	}
	if rs.outgoing != nil {
		rs.outgoing(t)
	}
	r.rt = schemeGuard{t, host, r.conf.Insecure}
	rs.open[host] = r
	return r, nil
}

// configured reports whether the operator has given credentials for a host.
func (rs *registries) configured(host string) bool { return rs.conf[host].Username != "" }

// schemeGuard refuses plain HTTP where it was not asked for: the client library falls back to it by itself for
// loopback and private addresses.
type schemeGuard struct {
	http.RoundTripper
	host     string
	insecure bool
}

func (g schemeGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.insecure {
		return nil, fmt.Errorf("registry %s: plain HTTP is not allowed, unless registries.%s.insecure is set", g.host, g.host)
	}
	return g.RoundTripper.RoundTrip(req)
}

// login returns the operator's credentials as they are now; anonymous when there are none.
func (r *registry) login() (authn.AuthConfig, error) {
	if r.conf.Username == "" {
		return authn.AuthConfig{}, nil
	}
	p, err := r.conf.password()
	if err != nil {
		return authn.AuthConfig{}, fmt.Errorf("registry %s: password_file: %w", r.host, err)
	}
	return authn.AuthConfig{Username: r.conf.Username, Password: p}, nil
}

// errRegistryDown marks that a registry could not be asked. Its text travels through BuildKit and back.
var errRegistryDown = errors.New("the registry can't be reached")

// challenge asks the registry itself how to log in. What BuildKit or an image's host says is never believed: a password goes
// only where the registry sends it. Callers share one question, which is not given up because the first of them gave up.
func (r *registry) challenge(ctx context.Context) (*transport.Challenge, error) {
	if c := r.known(); c != nil {
		return c, nil
	}
	answer := r.flight.DoChan("", func() (any, error) {
		if c := r.known(); c != nil {
			return c, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), registryTimeout)
		defer cancel()
		c, err := transport.Ping(ctx, r.reg, r.rt)
		if err != nil {
			return nil, fmt.Errorf("ask registry %s: %w: %w", r.host, errRegistryDown, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.answer, r.asked = c, time.Now()
		return c, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case got := <-answer:
		if got.Err != nil {
			return nil, got.Err
		}
		return got.Val.(*transport.Challenge), nil
	}
}

// known is the registry's last answer, or nil when there is none or it is too old.
func (r *registry) known() *transport.Challenge {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) >= challengeAge {
		return nil
	}
	return r.answer
}

func isScheme(c *transport.Challenge, scheme string) bool { return strings.EqualFold(c.Scheme, scheme) }

// token asks the registry's token server for scopes, with the given login.
func (r *registry) token(ctx context.Context, login authn.AuthConfig, scopes []string) (*transport.Token, error) {
	c, err := r.challenge(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	t, err := transport.Exchange(ctx, r.reg, authn.FromConfig(login), r.rt, scopes, c)
	if err != nil {
		return nil, fmt.Errorf("get a token for %s from registry %s: %w", strings.Join(scopes, " "), r.host, err)
	}
	if t.Token == "" {
		t.Token = t.AccessToken
	}
	return t, nil
}
