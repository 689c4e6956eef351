package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/internal/halfclose"
)

// continueTime is how long a server may take to ask for a body (100-continue) before it gets it anyway.
const continueTime = time.Second

// served is a connection of a guest whose requests net/http reads.
type served struct {
	*conn
	transport http.Transport // Its connections are this guest connection's.
	hijacked  bool
	done      chan struct{} // Closed when no request will come.
}

// hand gives the connection to a server, and returns when no request will come.
func (s *served) hand(to chan<- net.Conn, c net.Conn) {
	defer s.transport.CloseIdleConnections() // Also those that are still being dialed.
	select {
	case to <- c:
		<-s.done
	case <-s.ctx.Done():
	}
}

// httpConn is a connection of a guest that speaks HTTP/1.x, as the server sees it.
type httpConn struct {
	*lean
	served
	state atomic.Int32
	lost  atomic.Bool // The guest has left, or takes too long.
	last  string      // Where the last request went: a host, or the address that the guest has chosen.
}

// The states of an httpConn. Only what a host answers may be written: what net/http has to say about a request that it
// cannot read must not look like that.
const (
	reading   = iota // A request; to end now is to break off.
	answering        // The request is allowed.
	idle             // To end now is regular.
)

// connKey is the key of the httpConn in the context of a request.
type connKey struct{}

// passPlain passes on a connection without TLS. open is whether it may go where the guest wants anyway; then only requests
// with headers are looked at, if the first is such a one.
func (c *conn) passPlain(guest *lean, open bool) {
	if !open {
		c.passHTTP(guest)
		return
	}
	host, sent, lost := c.readHead(guest)
	if lost {
		return
	}
	guest.first = sent
	if c.headers(host) != nil {
		c.head = 0 // It is counted again.
		c.passHTTP(guest)
	} else {
		c.join(guest, "")
	}
}

// readHead reads the header of a request, as long as it can be one. It returns the host that the request may be sent to, if
// there is one, and all that was read. lost: the guest has left.
func (c *conn) readHead(guest *lean) (host string, read []byte, lost bool) {
	r := &recorder{Conn: guest, count: c.undecided}
	buffered := bufio.NewReader(r)
	if b, err := buffered.Peek(1); err != nil || b[0] < 'A' || b[0] > 'Z' {
		return "", r.read, err != nil
	}
	req, err := http.ReadRequest(buffered)
	switch {
	case err == nil:
		if name, right := hostOf(req, c.to.Port()); right {
			host = name
		}
	case r.lost && !errors.Is(r.err, os.ErrDeadlineExceeded):
		return "", nil, true
	}
	return host, r.read, false
}

// passHTTP passes on the requests of a connection until it ends.
func (c *conn) passHTTP(guest *lean) {
	h := &httpConn{lean: guest, served: served{conn: c, done: make(chan struct{})}}
	h.transport = http.Transport{
		DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(addr)
			if host == c.to.Addr().String() {
				host = ""
			}
			return c.dial(host)
		},
		DisableCompression: true, MaxIdleConns: 1, MaxResponseHeaderBytes: largest, ExpectContinueTimeout: continueTime,
	}
	h.hand(c.gw.requests, h)
}

// server returns the server of all connections with HTTP.
func (g *Gateway) server() *http.Server {
	return &http.Server{
		Handler:                      http.HandlerFunc(g.pass),
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headTime,
		IdleTimeout:                  idleTime,
		MaxHeaderBytes:               largest - 4<<10, // It allows as much more.
		ErrorLog:                     log.New(panics(g.OnError), "", 0),
		ConnState:                    func(h net.Conn, s http.ConnState) { h.(*httpConn).enter(s) },
		ConnContext: func(ctx context.Context, h net.Conn) context.Context {
			own := context.WithValue(h.(*httpConn).ctx, http.ServerContextKey, ctx.Value(http.ServerContextKey))
			return context.WithValue(own, connKey{}, h)
		},
	}
}

// panics takes what net/http logs. It passes on panics of handlers only: a line about what a guest has sent would let the guest
// fill the log.
type panics func(error)

func (p panics) Write(b []byte) (int, error) {
	if !bytes.HasPrefix(b, []byte("http: panic ")) && !bytes.HasPrefix(b, []byte("http2: panic ")) {
		return len(b), nil
	}
	p(errors.New(strings.TrimSpace(string(b))))
	return len(b), nil
}

// handover is the listener of the server.
type handover struct {
	*Gateway
	conns <-chan net.Conn
}

func (h handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (h handover) Addr() net.Addr { return h.Listener.Addr() }

func (h handover) Close() error { return nil }

// enter is called between requests, and at the end.
func (h *httpConn) enter(s http.ConnState) {
	switch s {
	case http.StateActive:
		h.state.Store(reading)
	case http.StateIdle:
		h.state.Store(idle)
		h.decided()
	case http.StateHijacked:
		h.hijacked = true
	case http.StateClosed:
		close(h.done)
	}
}

func (h *httpConn) Read(b []byte) (int, error) {
	n, err := h.lean.Read(b)
	if n > 0 {
		h.state.CompareAndSwap(idle, reading) // net/http reports it only after it has read more.
	}
	if err == nil && h.state.Load() != answering {
		err = h.undecided(n)
	}
	if err != nil {
		h.lost.Store(true)
	}
	return n, err
}

func (h *httpConn) Write(b []byte) (int, error) {
	if h.state.Load() != answering {
		if !h.lost.Load() {
			h.gw.Guests.Refused(h.guest, "", h.to)
		}
		h.cut()
		return 0, net.ErrClosed
	}
	return h.raw.Write(b)
}

func (h *httpConn) Close() error {
	if h.state.Load() == reading {
		halfclose.Break(h.raw)
	}
	return h.raw.Close()
}

// pass is the handler of all requests.
func (g *Gateway) pass(w http.ResponseWriter, r *http.Request) {
	h := r.Context().Value(connKey{}).(*httpConn)
	whole := false
	defer func() {
		if !whole { // It panics. What was answered must not look whole.
			halfclose.Break(h.raw)
		}
		if h.hijacked {
			close(h.done)
		}
	}()
	host, right := hostOf(r, h.to.Port())
	headers, to := h.headers(host), host
	if h.open() && headers == nil {
		to = h.to.Addr().String()
	}
	if to != h.last {
		h.transport.CloseIdleConnections() // So that Recheck knows of all.
	}
	if host == "" || !right || r.ProtoMajor != 1 || !h.allowed(host) && !h.open() || headers != nil && r.Method == http.MethodTrace {
		g.Guests.Refused(h.guest, host, h.to)
		panic(http.ErrAbortHandler)
	}
	h.last = to
	h.state.Store(answering)
	onlyWebSocket(r)
	h.proxy(w, r, &url.URL{Scheme: "http", Host: to}, headers)
	whole = true
}

// onlyWebSocket takes other upgrades out of a request: to HTTP/2, for one, whose requests would not be seen. A server may
// ignore one, too.
func onlyWebSocket(r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		r.Header.Del("Upgrade")
	}
}
