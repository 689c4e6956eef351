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
)

// mostName is how much of a refused name is kept.
const mostName = 255

// Guests are the slots, by their addresses. Safe for concurrent use.
type Guests interface {
	// Allowed reports whether a guest may reach a host name by its policy in force.
	Allowed(guest netip.Addr, name string) bool
	// Known reports whether the policy of a guest is known.
	Known(guest netip.Addr) bool
	// Reaches reports whether a guest may reach an address by its policy in force, whatever its name is.
	Reaches(guest, to netip.Addr) bool
	// Headers are what is set in a guest's requests to a host, by the canonical name of the header; nil if nothing is.
	Headers(guest netip.Addr, host string) map[string]string
	// Bind lets a guest reach the addresses of a name, on the ports that the gateway does not check, for a time.
	Bind(guest netip.Addr, name string, addrs []netip.Addr, life time.Duration) error
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
		Usable: func(a netip.Addr) bool {
			return a.Is4() && !slices.ContainsFunc(cfg.Denied, func(p netip.Prefix) bool { return p.Contains(a) })
		},
	})
	s.server = names.Serve(names.ServerConfig{Packets: packets, Stream: queries, Resolver: s.resolver, Guests: queried{cfg.Guests}})
	s.gateway = gateway.Serve(gateway.Config{
		Listener: connections, Original: namespace.OriginalDestination, Guests: passed{cfg.Guests, s}, Most: cfg.Connections,
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

// Dial connects to a host, address by address.
func (g passed) Dial(ctx context.Context, guest netip.Addr, host string, port uint16) (net.Conn, error) {
	found, err := g.servers.resolver.Lookup(ctx, guest, host)
	if err != nil {
		return nil, err
	}
	addrs := found.Addrs
	if !g.Allowed(guest, host) {
		addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return !g.Reaches(guest, a) })
	}
	err = fmt.Errorf("%s has no address that is allowed", host)
	for i, a := range addrs {
		var conn net.Conn
		conn, err = dialWithin(ctx, len(addrs)-i, func(ctx context.Context) (net.Conn, error) {
			return g.DialAddr(ctx, guest, netip.AddrPortFrom(a, port))
		})
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// DialAddr connects to an address.
func (g passed) DialAddr(ctx context.Context, guest netip.Addr, to netip.AddrPort) (net.Conn, error) {
	return namespace.Dial(ctx, g.servers.cfg.NS, "tcp", to, markOf(guest))
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
