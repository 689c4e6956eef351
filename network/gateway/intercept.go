package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	// secureOfGuest and secureInAll bound the connections whose TLS the gateway ends. Each takes some 120 KiB of memory
	// while it is idle (60 connections in a test), and may hold the windows of HTTP/2 in both directions and headers of
	// requests besides. Below secureInAll a guest may have as many as are left to all.
	secureOfGuest, secureInAll = 64, 1024
	// streamWindow and connWindow bound what is on its way in one stream of HTTP/2, and in all of a connection, and
	// frame what is read at once. A stream gets 5 MB a second from a server that is 50 ms away.
	streamWindow, connWindow, frame = 256 << 10, 512 << 10, 16 << 10
	// mostHeaders bounds the headers of all requests of a connection that are under way, with perField for what a field
	// takes beside its text.
	mostHeaders, perField = 512 << 10, 64
	// streams is how many requests a connection with HTTP/2 has at a time, and mostToHost how many connections to the host
	// one of the guest may have: one is enough, and another takes its place when the host is about to close it.
	streams, mostToHost = 100, 2
	// pingTime is after which silence a host is asked whether it is there.
	pingTime = 30 * time.Second
)

// secureConn is a connection of a guest whose TLS the gateway ends. What net/http has is a *tls.Conn over it.
type secureConn struct {
	*lean
	served
	name     string // The host.
	protocol string // That both connections speak; "" for HTTP/1.1.

	mu      sync.Mutex
	toHost  map[*counted]struct{} // All connections to the host.
	over    bool                  // There will be no other.
	ready   net.Conn              // The first, until a request takes it.
	problem error                 // Why there is none.
	held    int                   // Bytes in the headers of requests under way.
}

// intercept ends the TLS of a connection to the host, and passes on its requests.
func (c *conn) intercept(guest *lean, host string, protocols []string) {
	if !c.gw.admitSecure(c) {
		return
	}
	leaf, err := c.gw.Certify(host)
	if err != nil {
		c.gw.OnError(fmt.Errorf("certificate for %s: %w", host, err))
		return
	}
	s := &secureConn{
		lean: guest, served: served{conn: c, done: make(chan struct{})}, name: host, toHost: map[*counted]struct{}{},
	}
	defer s.end()
	s.transport = http.Transport{
		DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return s.connection() },
		ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConns: 1, MaxResponseHeaderBytes: largest,
		ExpectContinueTimeout: continueTime,
		HTTP2: &http.HTTP2Config{
			StrictMaxConcurrentRequests: true, MaxReceiveBufferPerConnection: connWindow,
			MaxReceiveBufferPerStream: streamWindow, MaxReadFrameSize: frame, SendPingTimeout: pingTime,
		},
	}
	s.connect(protocols)
	config := &tls.Config{Certificates: []tls.Certificate{*leaf}, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}
	if s.protocol != "" {
		config.NextProtos = []string{s.protocol}
	}
	_ = c.raw.SetReadDeadline(time.Time{})
	t := tls.Server(s, config)
	ctx, cancel := context.WithTimeout(c.ctx, headTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return // A guest that does not trust the certificate says so to its user.
	}
	c.decided()
	s.hand(c.gw.secured, t)
}

// connect opens the first connection to the host, so that the guest speaks what the host does.
func (s *secureConn) connect(protocols []string) {
	var both []string
	for _, p := range []string{"h2", "http/1.1"} {
		if slices.Contains(protocols, p) {
			both = append(both, p)
		}
	}
	t, err := s.dialTLS(both)
	if s.problem = err; err == nil {
		s.ready, s.protocol = t, t.(*tls.Conn).ConnectionState().NegotiatedProtocol
	}
	if s.protocol == "" && len(both) > 0 { // The host did not say: HTTP/1.1 is right if the guest speaks it.
		s.protocol = both[len(both)-1]
	}
}

// connection returns a connection to the host, which speaks the protocol of the guest's if it can.
func (s *secureConn) connection() (net.Conn, error) {
	s.mu.Lock()
	ready, problem := s.ready, s.problem
	s.ready, s.problem = nil, nil // The next request tries again.
	s.mu.Unlock()
	switch {
	case problem != nil:
		return nil, problem
	case ready != nil:
		return ready, nil
	case s.protocol == "":
		return s.dialTLS(nil)
	}
	return s.dialTLS([]string{s.protocol})
}

// dialTLS opens TLS to the host, whose certificate must be right.
func (s *secureConn) dialTLS(protocols []string) (net.Conn, error) {
	if !s.gw.hold(s.conn) {
		return nil, net.ErrClosed
	}
	defer s.gw.running.Done()
	raw, err := s.dial(s.name)
	if err != nil {
		return nil, err
	}
	c := &counted{Conn: raw, of: s}
	s.mu.Lock()
	room := !s.over && len(s.toHost) < mostToHost
	if room {
		s.toHost[c] = struct{}{}
	}
	s.mu.Unlock()
	if !room {
		_ = raw.Close()
		return nil, errMany
	}
	t := tls.Client(c, &tls.Config{ServerName: s.name, RootCAs: s.gw.Roots, NextProtos: protocols, MinVersion: tls.VersionTLS12})
	ctx, cancel := context.WithTimeout(s.ctx, dialTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

var errMany = errors.New("too many connections to the host")

// end closes all connections to the host: HTTP/2 keeps one that has requests.
func (s *secureConn) end() {
	s.mu.Lock()
	s.over = true
	all := slices.Collect(maps.Keys(s.toHost))
	s.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

// counted is a connection to a host.
type counted struct {
	net.Conn
	of *secureConn
}

func (c *counted) Close() error {
	c.of.mu.Lock()
	delete(c.of.toHost, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// secureServer returns the server of all connections whose TLS has ended here.
func (g *Gateway) secureServer() *http.Server {
	of := func(c net.Conn) *secureConn { return c.(*tls.Conn).NetConn().(*secureConn) }
	return &http.Server{
		Handler:                      http.HandlerFunc(g.passSecure),
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headTime,
		IdleTimeout:                  idleTime,
		MaxHeaderBytes:               largest - 4<<10,
		ErrorLog:                     log.New(panics(g.OnError), "", 0),
		ConnState: func(c net.Conn, state http.ConnState) {
			switch s := of(c); state {
			case http.StateHijacked:
				s.hijacked = true
			case http.StateClosed:
				close(s.done)
			}
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			own := context.WithValue(of(c).ctx, http.ServerContextKey, ctx.Value(http.ServerContextKey))
			return context.WithValue(own, connKey{}, of(c))
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streams, MaxReceiveBufferPerConnection: connWindow, MaxReceiveBufferPerStream: streamWindow,
			MaxReadFrameSize: frame,
		},
	}
}

// passSecure is the handler of all requests in TLS that has ended here.
func (g *Gateway) passSecure(w http.ResponseWriter, r *http.Request) {
	s := r.Context().Value(connKey{}).(*secureConn)
	if !g.hold(s.conn) { // With HTTP/2 a request may begin when its connection has ended.
		panic(http.ErrAbortHandler)
	}
	defer g.running.Done()
	whole := false
	defer func() {
		if !whole && r.ProtoMajor == 1 { // It panics. What was answered must not look whole.
			s.cut()
		}
		if s.hijacked {
			close(s.done)
		}
	}()
	host, right := hostOf(r, s.to.Port())
	size := sizeOf(r)
	if !s.take(size) {
		size = 0
	}
	defer s.take(-size)
	switch {
	case size == 0:
		clear(r.Header) // A guest that reads no answer must not keep them here.
		r.URL, r.RequestURI, r.Host = &url.URL{}, "", ""
		http.Error(w, "The headers of all requests on this connection are too large.", http.StatusRequestHeaderFieldsTooLarge)
	case host != s.name || !right: // The client opens another connection for it (RFC 9110, 15.5.20).
		http.Error(w, "This connection is for another host.", http.StatusMisdirectedRequest)
	case r.Method == http.MethodTrace: // The answer would have the headers.
		http.Error(w, "TRACE is not passed on.", http.StatusMethodNotAllowed)
	case !s.allowed(host) && !s.open():
		g.Guests.Refused(s.guest, host, s.to)
		panic(http.ErrAbortHandler)
	default:
		onlyWebSocket(r)
		s.proxy(w, r, &url.URL{Scheme: "https", Host: host}, s.headers(host))
	}
	whole = true
}

// take counts bytes in headers, until the same is taken off, if there may be so many.
func (s *secureConn) take(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 && s.held+n > mostHeaders {
		return false
	}
	s.held += n
	return true
}

// sizeOf is what the header of a request takes, which is not 0.
func sizeOf(r *http.Request) int {
	n := perField + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			n += len(name) + len(value) + perField
		}
	}
	return n
}
