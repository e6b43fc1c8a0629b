// Package outbound carries requests to addresses that others than the operator chose, such as callbacks, and keeps them outside: no
// private, loopback, link-local or otherwise special address is reached unless the operator allows it, whatever names resolve to.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// Limits of every request.
const (
	MaxAddress = 2000 // bytes of a URL
	timeout    = 10 * time.Second
	maxHeader  = 16 << 10 // bytes of an answer's header
)

// Options are what a Client is made of.
type Options struct {
	// Allow lists what may be reached although it lies inside, and by http also: networks such as 10.1.0.0/16, addresses, host
	// names. A name that is listed may resolve to anything.
	Allow []string
	// Proxy says by which proxy a request goes, as http.Transport.Proxy does. Behind a proxy it is the proxy that resolves names, so
	// only the name is looked at here: what it may reach must be the proxy's own rule. May be nil.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport is given every transport that is made, to set whom it trusts. May be nil.
	Transport func(*http.Transport)
}

// A Client sends requests outside. It is safe for concurrent use.
type Client struct {
	hosts    map[string]bool
	networks []netip.Prefix
	proxy    func(*http.Request) (*url.URL, error)
	direct   *http.Client // what is dialled is looked at
	proxied  *http.Client // what is dialled is the proxy
}

// New makes a Client. It fails on an entry of Allow that is none.
func New(o Options) (*Client, error) {
	c := &Client{hosts: map[string]bool{}, proxy: o.Proxy}
	for i, entry := range o.Allow {
		if err := c.allow(entry); err != nil {
			return nil, fmt.Errorf("allow[%d]: %w", i, err)
		}
	}
	client := func(dial func(context.Context, string, string) (net.Conn, error), proxy func(*http.Request) (*url.URL, error)) *http.Client {
		t := &http.Transport{
			// Connections are not kept: each request's address is looked at anew.
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader, TLSHandshakeTimeout: timeout,
		}
		if o.Transport != nil {
			o.Transport(t)
		}
		t.Proxy, t.DialContext = proxy, dial
		return &http.Client{
			Transport: t, Timeout: timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // to where nobody checked
		}
	}
	c.direct = client(c.dial, nil)
	c.proxied = client(new(net.Dialer).DialContext, func(r *http.Request) (*url.URL, error) { return c.proxy(r) })
	return c, nil
}

func (c *Client) allow(entry string) error {
	if network, err := netip.ParsePrefix(entry); err == nil {
		c.networks = append(c.networks, network.Masked())
		return nil
	}
	if address, err := netip.ParseAddr(entry); err == nil {
		address = address.Unmap()
		c.networks = append(c.networks, netip.PrefixFrom(address, address.BitLen()))
		return nil
	}
	if entry == "" || strings.ContainsAny(entry, "/:@*?# \t\n") {
		return fmt.Errorf("%q is not a network such as 10.1.0.0/16, an address or a host name", entry)
	}
	c.hosts[canonical(entry)] = true
	return nil
}

func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

func refuse(format string, args ...any) error {
	return &jobs.Refusal{Sentence: fmt.Sprintf(format, args...)}
}

// Check says what is wrong with an address by itself, as a *jobs.Refusal. What its name resolves to is looked at when it is dialled.
func (c *Client) Check(address string) error {
	if len(address) > MaxAddress {
		return refuse("The address has more than %d bytes.", MaxAddress)
	}
	u, err := url.Parse(address)
	if err != nil {
		return refuse("The address is no URL.")
	}
	return c.check(u)
}

func (c *Client) check(u *url.URL) error {
	host := canonical(u.Hostname())
	ip, err := netip.ParseAddr(host)
	literal := err == nil
	trusted := c.hosts[host] || literal && c.allowed(ip)
	switch {
	case host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return refuse("The address must be like https://host/path.")
	case u.User != nil || u.Fragment != "":
		return refuse("The address may have no user and no fragment.")
	case u.Scheme == "http" && !trusted:
		return refuse("The address must begin with https://; http is for hosts that the operator allows.")
	case trusted:
		return nil
	case literal:
		return c.outside(ip)
	case !strings.Contains(host, ".") || inside(host):
		return refuse("%s is a name inside this network, which the operator does not allow.", jobs.Cut(host, 100))
	}
	return nil
}

// inside are names that mean something only where they are asked (RFC 6761, RFC 6762, RFC 8375, RFC 9476).
func inside(host string) bool {
	for _, end := range []string{".localhost", ".local", ".internal", ".home.arpa", ".intranet", ".lan", ".svc"} {
		if strings.HasSuffix(host, end) {
			return true
		}
	}
	return false
}

// Do sends a request, within 10 seconds and without following redirects. What may not be reached is a *jobs.Refusal. The caller
// bounds what it reads of the answer.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	if err := c.check(r.URL); err != nil {
		return nil, err
	}
	if c.proxy != nil {
		via, err := c.proxy(r)
		if err != nil {
			return nil, fmt.Errorf("find the proxy: %w", err)
		}
		if via != nil {
			return c.proxied.Do(r)
		}
	}
	return c.direct.Do(r)
}

// dial connects to what lies outside, and looks at the very address that is connected to: a name that resolves differently a second
// time gains nothing.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: timeout}
	if !c.hosts[canonical(host)] {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return errors.New("the name resolves to no address")
			}
			return c.outside(to.Addr())
		}
	}
	return d.DialContext(ctx, network, address)
}

func (c *Client) allowed(ip netip.Addr) bool {
	ip = ip.WithZone("").Unmap()
	for _, network := range c.networks {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// outside refuses an address that lies inside and is not allowed.
func (c *Client) outside(ip netip.Addr) error {
	if c.allowed(ip) || public(ip) {
		return nil
	}
	// Which address that is, is the operator's to know: else whoever may name addresses could list the names there are inside.
	return &jobs.Refusal{
		Sentence: "The address leads inside this network, which the operator does not allow (api.callbacks.allow).", Cause: fmt.Errorf("%s is inside", ip),
	}
}

// special are the networks that are not anybody's on the Internet: IANA's registries of special-purpose addresses, multicast, and
// those whose addresses stand for others.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("224.0.0.0/3"), // multicast, reserved, broadcast
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"),
}

// global is the only part of IPv6 that is given to anybody (RFC 4291, section 2.4, and IANA's allocations).
var global = netip.MustParsePrefix("2000::/3")

func public(ip netip.Addr) bool {
	if ip.Zone() != "" {
		return false
	}
	ip = ip.Unmap()
	if ip.Is6() && !global.Contains(ip) {
		return false
	}
	for _, network := range special {
		if network.Contains(ip) {
			return false
		}
	}
	return true
}
