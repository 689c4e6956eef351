package gateway

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/internal/halfclose"
)

// continueTime is how long a server may take to ask for a body (100-continue) before it gets it anyway.
const continueTime = time.Second

// httpConn is a connection of a guest that speaks HTTP/1.x, as the server sees it.
type httpConn struct {
	*lean
	*conn
	transport http.Transport // Its connections are this guest connection's.
	state     atomic.Int32
	lost      atomic.Bool // The guest has left, or takes too long.
	hijacked  bool
	done      chan struct{} // Closed when no request will come.
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

// passHTTP passes on the requests of a connection until it ends.
func (c *conn) passHTTP(guest *lean) {
	h := &httpConn{lean: guest, conn: c, done: make(chan struct{})}
	h.transport = http.Transport{
		DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			host, _, _ := strings.Cut(addr, ":")
			return c.dial(host)
		},
		DisableCompression: true, MaxIdleConns: 1, MaxResponseHeaderBytes: largest, ExpectContinueTimeout: continueTime,
	}
	defer h.transport.CloseIdleConnections() // Also those that are still being dialed.
	select {
	case c.gw.requests <- h:
		<-h.done
	case <-c.ctx.Done():
	}
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

// panics takes what net/http logs, which are panics of handlers.
type panics func(error)

func (p panics) Write(b []byte) (int, error) {
	p(errors.New(strings.TrimSpace(string(b))))
	return len(b), nil
}

// handover is the listener of the server.
type handover struct{ *Gateway }

func (h handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.requests:
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
	if host != h.asked() {
		h.transport.CloseIdleConnections() // So that Recheck knows of all.
	}
	if host == "" || !right || !h.allowed(host) {
		g.Guests.Refused(h.guest, host, h.to)
		panic(http.ErrAbortHandler)
	}
	h.state.Store(answering)
	if r.Header.Get("Upgrade") != "" && !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		r.Header.Del("Upgrade") // To HTTP/2, for one, whose requests would not be seen. A server may ignore it, too.
	}
	h.proxy(w, r, host)
	whole = true
}
