// Package gateway passes on TCP connections of guests that may reach hosts by name only. The first bytes of a connection
// say which host it is for: the server name of TLS, or the Host of each HTTP/1.x request. The gateway asks the policy
// about the host, resolves and dials it, and joins the two connections, so that what was checked is what is connected.
// The address that the guest has chosen counts for nothing but its port.
//
// A connection that is not for an allowed host is reset. In TLS an alert comes before. Nothing is answered in HTTP, since
// an answer would look like one of the host.
//
// Requests to some hosts get headers that the guest never sees. For those the gateway ends TLS with a certificate that it
// has made for the host, and opens TLS to the host, whose certificate must be right. If a connection may go to the address that
// the guest has chosen, whatever its host is, it comes here only for such headers, and is joined to that address if
// its host has none.
//
// On other ports nothing says which host a connection is for: there the address counts, or the names that it was given for.
// Such connections come here only if all of a guest's go another way, such as through a proxy.
//
// What is in another TLS stream, and what follows an upgrade to WebSocket, is between the guest and the allowed host: a server
// that serves other hosts over it, too, is not noticed. A server name that is encrypted (ECH) would be such a case for
// every large provider, so it is refused. Chromium pretends to encrypt the name (GREASE), which cannot be distinguished,
// unless its managed policy EncryptedClientHelloEnabled is false.
//
// It knows no slot and no policy. It imports the standard library and internal/halfclose, and only package network
// imports it.
package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// OfGuest and InAll bound the connections that are open at the same time. A guest may also have only as many as are
	// left to all, so that some are left however many guests take what they can.
	OfGuest, InAll = 256, 4096
	// headTime is how long a guest may take until it has said which host it wants, and for the header of each
	// request; idleTime how long it may send none. dialTime bounds the resolution and the dial of a host.
	headTime, idleTime, dialTime = 10 * time.Second, 2 * time.Minute, 10 * time.Second
)

// Guests are the policies of guests, and their way to hosts. Safe for concurrent use. Hosts are in lower case, without
// a port and a last dot; they are never addresses.
type Guests interface {
	// Allowed reports whether the policy that is in force now allows the host on the port. It must not block for long.
	Allowed(guest netip.Addr, host string, port uint16) bool
	// Reaches reports whether the policy that is in force now allows the address, whatever the host is. It must not block
	// for long.
	Reaches(guest netip.Addr, to netip.AddrPort) bool
	// Headers are what is set in requests to the host, by the canonical name of the header; nil if nothing is. They
	// permit nothing. It must not block for long. The map is not changed.
	Headers(guest netip.Addr, host string) map[string]string
	// Rewrites reports whether any host has Headers. It must not block for long.
	Rewrites(guest netip.Addr) bool
	// NamesOf are the hosts that the address was given for, and which the guest may reach there now.
	NamesOf(guest netip.Addr, to netip.AddrPort) []string
	// Way is how connections of the guest go now. It can be compared, and is not nil: if it is another one afterwards, those that
	// went that way, or are being dialed, are broken off. It must not block for long.
	Way(guest netip.Addr) any
	// Dial connects to the host, that way. If the host is not allowed, it connects only to addresses that are
	// reached. The caller owns the connection, for which a *net.TCPConn is best. via is the host's address, if it is known.
	Dial(ctx context.Context, guest netip.Addr, way any, host string, port uint16) (c net.Conn, via netip.Addr, err error)
	// DialAddr connects to an address, which is reached, that way.
	DialAddr(ctx context.Context, guest netip.Addr, way any, to netip.AddrPort) (net.Conn, error)
	// Refused records that a connection to an address was refused by policy. The host is empty if none was named, or
	// an address or something unreadable instead. A failed dial is not reported. It must not block.
	Refused(guest netip.Addr, host string, to netip.AddrPort)
}

// Config is what a Gateway needs. OnError may be nil, and so may Certify and Roots.
type Config struct {
	// Listener accepts the connections of guests, from the guest's address. The Gateway closes it.
	Listener net.Listener
	// Original returns where the guest wanted to connect to.
	Original func(net.Conn) (netip.AddrPort, error)
	Guests   Guests
	// Ports are those where the first bytes say which host a connection is for.
	Ports []uint16
	// Certify makes a certificate for a host, which guests trust. Nil: no connection gets headers.
	Certify func(host string) (*tls.Certificate, error)
	// Roots are the authorities of hosts that get headers; nil is those of this machine.
	Roots *x509.CertPool
	// Most bounds the connections of all guests; 0 is InAll. Each takes up to three file descriptors.
	Most int
	// OnError receives errors of the listener, which are retried ten times a second, and of the program. It must not block.
	OnError func(error)
}

// Gateway passes on connections until it is closed. Safe for concurrent use.
//
// A connection takes two file descriptors. While it is idle it also takes 12 KiB of the daemon's memory if it is TLS, and
// 46 KiB if it is HTTP/1.x, a WebSocket or not (heap and stacks of 1,000 connections each). What is under way takes one
// or two buffers of 32 KiB more: see lean. For one with headers in TLS see secureOfGuest.
type Gateway struct {
	Config
	ofGuest, inAll int
	ctx            context.Context // Ends with the Gateway.
	end            context.CancelFunc
	http, https    *http.Server
	requests       chan net.Conn  // Connections for http.
	secured        chan net.Conn  // Connections for https.
	running        sync.WaitGroup // Goroutines, one of which is that of each connection.

	mu     sync.Mutex
	shares map[netip.Addr]*share // By guest; none is empty.
	total  int                   // Connections of all shares.
	secure int                   // Those of them whose TLS the gateway ends.
	closed bool
}

// Serve begins to pass on connections. The caller ends that with Close.
func Serve(c Config) *Gateway {
	if c.Most <= 0 {
		c.Most = InAll
	}
	return serve(c, OfGuest, c.Most)
}

func serve(c Config, ofGuest, inAll int) *Gateway {
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	g := &Gateway{Config: c, ofGuest: ofGuest, inAll: inAll, requests: make(chan net.Conn), secured: make(chan net.Conn), shares: map[netip.Addr]*share{}}
	g.ctx, g.end = context.WithCancel(context.Background())
	g.http, g.https = g.server(), g.secureServer()
	g.running.Go(g.accept)
	g.running.Go(func() { _ = g.http.Serve(handover{g, g.requests}) })
	g.running.Go(func() { _ = g.https.Serve(handover{g, g.secured}) })
	return g
}

// Close breaks off all connections at once, and returns when nothing uses them any more.
func (g *Gateway) Close() {
	g.mu.Lock()
	g.closed = true
	var all []*conn
	for _, s := range g.shares {
		all = slices.AppendSeq(all, maps.Keys(s.conns))
	}
	g.mu.Unlock()
	g.end()
	_ = g.Listener.Close()
	for _, c := range all {
		c.cut()
	}
	_, _ = g.http.Close(), g.https.Close()
	g.running.Wait()
}

// Recheck breaks off the connections of a guest whose host, for HTTP that of the last request, is not allowed any more,
// and whose address is not either; and those that do not go the way that they are to go now. The new policy must be in force before.
func (g *Gateway) Recheck(guest netip.Addr) {
	for _, c := range g.of(guest) {
		if !c.may() {
			c.cut()
		}
	}
}

// Forget breaks off all connections of a guest, whose address may be another's afterwards.
func (g *Gateway) Forget(guest netip.Addr) {
	for _, c := range g.of(guest) {
		c.cut()
	}
}

func (g *Gateway) of(guest netip.Addr) []*conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.shares[guest]; s != nil {
		return slices.Collect(maps.Keys(s.conns))
	}
	return nil
}
