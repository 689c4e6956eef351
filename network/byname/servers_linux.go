package byname

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/network/gateway"
	"github.com/rundlet/rundlet/network/names"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/socks"
)

// mostName is how much of a refused name is kept.
const mostName = 255

// Guests are the slots, by their addresses. Safe for concurrent use.
type Guests interface {
	// Allowed reports whether a guest may reach a host name by its policy in force, on a port or, for 0, on any.
	Allowed(guest netip.Addr, name string, port uint16) bool
	// Known reports whether the policy of a guest is known.
	Known(guest netip.Addr) bool
	// Reaches reports whether a guest may reach an address by its policy in force, whatever its name is.
	Reaches(guest netip.Addr, to netip.AddrPort) bool
	// Headers are what is set in a guest's requests to a host, by the canonical name of the header; nil if nothing is.
	Headers(guest netip.Addr, host string) map[string]string
	// Rewrites reports whether any host has Headers, and NamesOf the names that an address was given for, if the guest reaches
	// it by them. Proxy is what its connections go through; the zero value is nothing.
	Rewrites(guest netip.Addr) bool
	NamesOf(guest netip.Addr, to netip.AddrPort) []string
	Proxy(guest netip.Addr) socks.Proxy
	// Bind lets a guest reach the addresses of a name, on those of its ports that the gateway does not check, for a time.
	Bind(guest netip.Addr, name string, addrs []netip.Addr, life time.Duration) error
	// Answered records that a guest got an answer to a query for a name, and Opened that a connection to a port of a host was
	// opened by its name. Both are in lower case without a last dot.
	Answered(guest netip.Addr, name string)
	Opened(guest netip.Addr, host string, port uint16)
	// Refused records what a guest was refused: proto is "dns", without an address, or "tcp". The name is printable.
	Refused(guest netip.Addr, proto, name string, to netip.AddrPort)
}

// Config is the constant part of Servers.
type Config struct {
	NS          *os.File // The namespace, which the caller owns.
	Nameservers []netip.Addr
	// Denied are addresses that no name leads to.
	Denied []netip.Prefix
	// Connections bounds those of the gateway; 0 is its default.
	Connections int
	// Certify makes a certificate for a host that guests trust, and Roots are the authorities of hosts: see gateway.Config.
	Certify func(host string) (*tls.Certificate, error)
	Roots   *x509.CertPool
	Guests  Guests
	OnError func(error)
}

// Servers are the resolver and the gateway. Close ends them.
type Servers struct {
	cfg      Config
	resolver *names.Resolver
	server   *names.Server
	gateway  *gateway.Gateway
}

// Serve begins to serve.
func Serve(cfg Config) (*Servers, error) {
	packets, err := namespace.ListenUDP(cfg.NS, resolverPort)
	if err != nil {
		return nil, err
	}
	queries, err := namespace.Listen(cfg.NS, resolverPort)
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	connections, err := namespace.Listen(cfg.NS, gatewayPort)
	if err != nil {
		return nil, errors.Join(err, packets.Close(), queries.Close())
	}
	var servers []netip.AddrPort
	for _, a := range cfg.Nameservers {
		servers = append(servers, netip.AddrPortFrom(a, 53))
	}
	s := &Servers{cfg: cfg}
	s.resolver = names.New(names.Config{
		Servers: servers,
		Dial: func(ctx context.Context, guest netip.Addr, network string, addr netip.AddrPort) (net.Conn, error) {
			return namespace.Dial(ctx, cfg.NS, network, addr, markOf(guest))
		},
		Usable: func(a netip.Addr) bool { return a.Is4() && !s.denied(a) },
	})
	s.server = names.Serve(names.ServerConfig{Packets: packets, Stream: queries, Resolver: s.resolver, Guests: queried{cfg.Guests}})
	s.gateway = gateway.Serve(gateway.Config{
		Listener: connections, Original: namespace.OriginalDestination, Ports: checkedPorts, Guests: passed{cfg.Guests, s}, Most: cfg.Connections,
		Certify: cfg.Certify, Roots: cfg.Roots,
		OnError: func(err error) { cfg.OnError(fmt.Errorf("pass on connections by name: %w", err)) },
	})
	return s, nil
}

// Close ends the servers and everything that they pass on.
func (s *Servers) Close() {
	s.gateway.Close()
	_ = s.server.Close()
	s.resolver.Close()
}

// Recheck breaks off the connections of a guest that it may not have any more.
func (s *Servers) Recheck(guest netip.Addr) { s.gateway.Recheck(guest) }

// Forget breaks off all connections of a guest that has ended.
func (s *Servers) Forget(guest netip.Addr) { s.gateway.Forget(guest) }

// queried is what the resolver knows of guests, and passed what the gateway does.
type (
	queried struct{ Guests }
	passed  struct {
		Guests
		servers *Servers
	}
)

// Allowed reports whether a guest may reach a name on any port.
func (g queried) Allowed(guest netip.Addr, name string) bool { return g.Guests.Allowed(guest, name, 0) }

func (g queried) Refused(guest netip.Addr, name string) {
	g.Guests.Refused(guest, "dns", printable(name), netip.AddrPort{})
}

func (g passed) Refused(guest netip.Addr, host string, to netip.AddrPort) {
	g.Guests.Refused(guest, "tcp", printable(host), to)
}

// printable is a name that a terminal can show.
func printable(name string) string {
	name = name[:min(len(name), mostName)]
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return strconv.QuoteToASCII(name)
	}
	return name
}

// markOf is the mark of what is sent for a guest: its address.
func markOf(guest netip.Addr) uint32 {
	a := guest.As4()
	return binary.NativeEndian.Uint32(a[:])
}

// Way is how connections of a guest go: through a proxy, or through none.
func (g passed) Way(guest netip.Addr) any { return g.Proxy(guest) }

// Dial connects to a host, and records that.
func (g passed) Dial(ctx context.Context, guest netip.Addr, way any, host string, port uint16) (net.Conn, netip.Addr, error) {
	c, a, err := g.dialName(ctx, guest, way, host, port)
	if err == nil {
		g.Opened(guest, host, port)
	}
	return c, a, err
}

// dialName connects to a host. A proxy looks for the host itself; else it is connected to address by address.
func (g passed) dialName(ctx context.Context, guest netip.Addr, way any, host string, port uint16) (net.Conn, netip.Addr, error) {
	allowed := g.Allowed(guest, host, port)
	if p := way.(socks.Proxy); p != (socks.Proxy{}) && allowed {
		c, err := g.through(ctx, guest, p, net.JoinHostPort(host, strconv.Itoa(int(port))))
		return c, netip.Addr{}, err
	}
	usable := func(a netip.Addr) bool { return allowed || g.Reaches(guest, netip.AddrPortFrom(a, port)) }
	return g.dialHost(ctx, guest, host, usable, func(ctx context.Context, a netip.Addr) (net.Conn, error) {
		return g.DialAddr(ctx, guest, way, netip.AddrPortFrom(a, port))
	})
}

// dialHost looks a host up, and dials its usable addresses until one answers.
func (g passed) dialHost(ctx context.Context, guest netip.Addr, host string, usable func(netip.Addr) bool, dial func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, netip.Addr, error) {
	found, err := g.servers.resolver.Lookup(ctx, guest, host)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	addrs := slices.DeleteFunc(found.Addrs, func(a netip.Addr) bool { return !usable(a) })
	err = fmt.Errorf("%s has no address that is allowed", host)
	for i, a := range addrs {
		var conn net.Conn
		conn, err = dialWithin(ctx, len(addrs)-i, func(ctx context.Context) (net.Conn, error) { return dial(ctx, a) })
		if err == nil {
			return conn, a, nil
		}
	}
	return nil, netip.Addr{}, err
}

// DialAddr connects to an address.
func (g passed) DialAddr(ctx context.Context, guest netip.Addr, way any, to netip.AddrPort) (net.Conn, error) {
	if p := way.(socks.Proxy); p != (socks.Proxy{}) {
		return g.through(ctx, guest, p, to.String())
	}
	return g.servers.dial(ctx, guest, to)
}

// errNoWay is all that is said of a dial through a proxy that fails: a guest may get the error in an answer, and does not see the proxy.
var errNoWay = errors.New("no connection")

// through connects to a target, HOST:PORT, through a proxy. The proxy is reached as any server of the internet.
func (g passed) through(ctx context.Context, guest netip.Addr, p socks.Proxy, target string) (net.Conn, error) {
	dial := func(ctx context.Context, a netip.Addr) (net.Conn, error) {
		return g.servers.dial(ctx, guest, netip.AddrPortFrom(a, p.Port))
	}
	var raw net.Conn
	var err error
	if a, ok := p.Addr(); ok {
		raw, err = dial(ctx, a)
	} else {
		raw, _, err = g.dialHost(ctx, guest, p.Host, func(netip.Addr) bool { return true }, dial)
	}
	if err != nil {
		return nil, errNoWay
	}
	c, err := p.Through(ctx, raw, g.servers.cfg.Roots, target)
	if err != nil {
		return nil, errNoWay
	}
	return c, nil
}

// CheckProxy reports why no guest can reach a proxy: its address is denied, or its name has no other. The name is looked up for
// no guest.
func (s *Servers) CheckProxy(ctx context.Context, p socks.Proxy) error {
	if a, ok := p.Addr(); ok {
		if s.denied(a) {
			return fmt.Errorf("sandboxes do not reach %s", a)
		}
		return nil
	}
	found, err := s.resolver.Lookup(ctx, netip.IPv4Unspecified(), p.Host)
	if err == nil && len(found.Addrs) == 0 {
		err = fmt.Errorf("%s has no address", p.Host)
	}
	return err
}

func (s *Servers) denied(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.Denied, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (s *Servers) dial(ctx context.Context, guest netip.Addr, to netip.AddrPort) (net.Conn, error) {
	return namespace.Dial(ctx, s.cfg.NS, "tcp", to, markOf(guest))
}

// dialWithin gives a dial its part of the time that is left for several.
func dialWithin(ctx context.Context, parts int, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok {
		part, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(parts))
		defer cancel()
		ctx = part
	}
	return dial(ctx)
}
