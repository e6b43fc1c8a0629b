package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/slipway-ci/slipway/githubapp"
)

// OutgoingConfig is how this process reaches others by HTTP: GitHub and registries. Clusters have kubeconfigs of their own
// for that, and BuildKit pulls and pushes by its own network.
type OutgoingConfig struct {
	// Proxy is an HTTP proxy, such as http://proxy.example.com:3128, that everything goes through. Empty: what the
	// environment says (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), where a proxy with a password belongs.
	Proxy string `yaml:"proxy"`
	// NoProxy lists what is reached without Proxy: hosts, .domains, addresses, networks such as 10.0.0.0/8. Loopback always is.
	NoProxy []string `yaml:"no_proxy"`
	// CAFile holds certificates, in PEM, of authorities that are trusted besides the machine's own.
	CAFile string `yaml:"ca_file"`
}

// validate reports everything that is wrong with the block. It reads the file.
func (o OutgoingConfig) validate() error {
	var faults []error
	if o.Proxy != "" {
		u, err := url.Parse(o.Proxy)
		switch {
		case err != nil:
			faults = append(faults, errors.New("outgoing.proxy: is not a URL such as http://proxy.example.com:3128"))
		case u.User != nil:
			faults = append(faults, errors.New("outgoing.proxy: holds a password; leave it out and set HTTPS_PROXY in the server's environment"))
		case u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			faults = append(faults, fmt.Errorf("outgoing.proxy: %q is not a URL such as http://proxy.example.com:3128", o.Proxy))
		}
	} else if len(o.NoProxy) > 0 {
		faults = append(faults, errors.New("outgoing.no_proxy: only used together with proxy; without it the environment's NO_PROXY counts"))
	}
	for i, host := range o.NoProxy {
		if host == "" || strings.ContainsAny(host, ", \t\n") {
			faults = append(faults, fmt.Errorf("outgoing.no_proxy[%d]: %q is not a host, .domain, address or network", i, host))
		}
	}
	if _, err := o.authorities(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// authorities are whom to trust: nil for the machine's own alone.
func (o OutgoingConfig) authorities() (*x509.CertPool, error) {
	if o.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("outgoing.ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("outgoing.ca_file: %s holds no certificate in PEM", o.CAFile)
	}
	return pool, nil
}

// apply makes transports go by the configuration. What a transport trusts already stays as it is.
func (o OutgoingConfig) apply() (func(*http.Transport), error) {
	pool, err := o.authorities()
	if err != nil {
		return nil, err
	}
	proxy := http.ProxyFromEnvironment
	if o.Proxy != "" {
		of := (&httpproxy.Config{HTTPProxy: o.Proxy, HTTPSProxy: o.Proxy, NoProxy: strings.Join(o.NoProxy, ",")}).ProxyFunc()
		proxy = func(r *http.Request) (*url.URL, error) { return of(r.URL) }
	}
	return func(t *http.Transport) {
		t.Proxy = proxy
		if pool == nil {
			return
		}
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if t.TLSClientConfig.RootCAs == nil {
			t.TLSClientConfig.RootCAs = pool
		}
	}, nil
}

// github is what carries requests to GitHub.
func (o OutgoingConfig) github() (*http.Transport, error) {
	apply, err := o.apply()
	if err != nil {
		return nil, err
	}
	t := githubapp.NewTransport()
	apply(t)
	return t, nil
}
