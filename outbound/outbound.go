// Package outbound carries requests to addresses that others than the operator chose, such as callbacks, and keeps them outside: no
// private, loopback, link-local or otherwise special address is reached unless the operator allows it, whatever names resolve to.
package outbound

import (
	"context"
	"crypto/tls"
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

// Options are what a Client is made of. All of them may be left out.
type Options struct {
	// Allow lists addresses inside our own network that may be reached all the same, also by plain http: networks such as 10.1.0.0/16,
	// single addresses, host names. A host name that is listed may resolve to any address.
	Allow []string
	// Proxy says which proxy a request goes through, like http.Transport.Proxy. The proxy then resolves the host name and connects: only
	// the name is checked here, and what the name may lead to must be a rule of the proxy.
	Proxy func(*http.Request) (*url.URL, error)
	// TLS says which certificates are trusted. Default: those that the system trusts.
	TLS *tls.Config
}

// A Client sends requests outside. It is safe for concurrent use.
type Client struct {
	hosts    map[string]bool
	networks []netip.Prefix
	proxy    func(*http.Request) (*url.URL, error)
	direct   *http.Client // checks every address before it connects
	proxied  *http.Client // connects to the proxy, wherever that is
}

// New makes a Client. It fails on an entry of Allow that is neither a network nor an address nor a host name.
func New(o Options) (*Client, error) {
	c := &Client{hosts: map[string]bool{}, proxy: o.Proxy}
	for i, entry := range o.Allow {
		if err := c.allow(entry); err != nil {
			return nil, fmt.Errorf("allow[%d]: %w", i, err)
		}
	}
	client := func(dial func(context.Context, string, string) (net.Conn, error), proxy func(*http.Request) (*url.URL, error)) *http.Client {
		t := &http.Transport{
			Proxy: proxy, DialContext: dial, TLSClientConfig: o.TLS.Clone(),
			// Connections are not kept: the address is checked again for every request.
			DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader, TLSHandshakeTimeout: timeout,
		}
		return &http.Client{
			Transport: t, Timeout: timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it leads where nothing was checked
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

// Check says what is wrong with the text of an address, as a *jobs.Refusal. It looks nothing up: what the host name resolves to is
// checked when a request is sent.
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

// inside reports whether a host name means something only within a network (RFC 6761, RFC 6762, RFC 8375, RFC 9476).
func inside(host string) bool {
	for _, end := range []string{".localhost", ".local", ".internal", ".home.arpa", ".intranet", ".lan", ".svc"} {
		if strings.HasSuffix(host, end) {
			return true
		}
	}
	return false
}

// Do sends a request, within 10 seconds and without following redirects. The error is a *jobs.Refusal when the address may not be
// reached. The caller bounds what it reads of the answer.
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

// dial checks each address that it connects to, after the name was resolved: a name that resolves to another address the next time
// gets nowhere.
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

// outside refuses an address inside our own network that the operator does not allow.
func (c *Client) outside(ip netip.Addr) error {
	if c.allowed(ip) || public(ip) {
		return nil
	}
	// The address is for the operator alone, as the cause: from the sentence, whoever chooses host names could learn which there are
	// inside, and where.
	return &jobs.Refusal{
		Sentence: "The address leads inside this network, which the operator does not allow (api.callbacks.allow).", Cause: fmt.Errorf("%s is inside", ip),
	}
}

// special are the networks that belong to nobody on the Internet: those of IANA's registries of special-purpose addresses, multicast,
// and those whose addresses contain another address, such as 6to4.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("224.0.0.0/3"), // multicast, reserved, broadcast
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"),
}

// global is the only part of IPv6 with public addresses (RFC 4291, section 2.4, and IANA's allocations).
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
