// Package gateway passes on TCP connections of guests that may reach hosts by name only. The first bytes of a connection
// say which host it is for: the server name of TLS, or the Host of each HTTP/1.x request. The gateway asks the policy
// about the host, resolves and dials it, and joins the two connections, so that what was checked is what is connected.
// The address that the guest has chosen counts for nothing but its port.
//
// A connection that is not for an allowed host is reset. In TLS an alert comes before. Nothing is answered in HTTP, since
// an answer would look like one of the host.
//
// What is in a TLS stream, and what follows an upgrade to WebSocket, is between the guest and the allowed host: a server
// that serves other hosts over it, too, is not noticed. A server name that is encrypted (ECH) would be such a case for
// every large provider, so it is refused. Chromium pretends to encrypt the name (GREASE), which cannot be distinguished,
// unless its managed policy EncryptedClientHelloEnabled is false.
//
// It knows no slot and no policy. It imports the standard library and internal/halfclose, and only package network
// imports it.
package gateway

import (
	"context"
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
	// Allowed reports whether the policy that is in force now allows the host. It must not block for long.
	Allowed(guest netip.Addr, host string) bool
	// Dial resolves the host and connects to it. The caller owns the connection, for which a *net.TCPConn is best.
	Dial(ctx context.Context, guest netip.Addr, host string, port uint16) (net.Conn, error)
	// Refused records that a connection to an address was refused by policy. The host is empty if none was named, or
	// an address or something unreadable instead. A failed dial is not reported. It must not block.
	Refused(guest netip.Addr, host string, to netip.AddrPort)
}

// Config is what a Gateway needs. OnError may be nil.
type Config struct {
	// Listener accepts the connections of guests, from the guest's address. The Gateway closes it.
	Listener net.Listener
	// Original returns where the guest wanted to connect to.
	Original func(net.Conn) (netip.AddrPort, error)
	Guests   Guests
	// Most bounds the connections of all guests; 0 is InAll. Each takes up to three file descriptors.
	Most int
	// OnError receives errors of the listener, which are retried ten times a second, and of the program. It must not block.
	OnError func(error)
}

// Gateway passes on connections until it is closed. Safe for concurrent use.
//
// A connection takes two file descriptors. While it is idle it also takes 12 KiB of the daemon's memory if it is TLS, and
// 46 KiB if it is HTTP/1.x, a WebSocket or not (heap and stacks of 1,000 connections each). What is under way takes one
// or two buffers of 32 KiB more: see lean.
type Gateway struct {
	Config
	ofGuest, inAll int
	ctx            context.Context // Ends with the Gateway.
	end            context.CancelFunc
	http           *http.Server
	requests       chan net.Conn  // Connections for http.
	running        sync.WaitGroup // Goroutines, one of which is that of each connection.

	mu     sync.Mutex
	shares map[netip.Addr]*share // By guest; none is empty.
	total  int                   // Connections of all shares.
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
	g := &Gateway{Config: c, ofGuest: ofGuest, inAll: inAll, requests: make(chan net.Conn), shares: map[netip.Addr]*share{}}
	g.ctx, g.end = context.WithCancel(context.Background())
	g.http = g.server()
	g.running.Go(g.accept)
	g.running.Go(func() { _ = g.http.Serve(handover{g}) })
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
	_ = g.http.Close()
	g.running.Wait()
}

// Recheck breaks off the connections of a guest whose host, for HTTP that of the last request, is not allowed any more.
// The new policy must be in force before.
func (g *Gateway) Recheck(guest netip.Addr) {
	for _, c := range g.of(guest) {
		if host := c.asked(); host != "" && !g.Guests.Allowed(guest, host) {
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
