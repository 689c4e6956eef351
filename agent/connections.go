//go:build linux

package agent

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// connections are the clients' open connections, upgraded ones included. What
// they carried at a snapshot leads nowhere in the copies that are restored from
// it, and nothing on the way would say so for minutes.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

type connectionKey struct{}

// mark makes the connection of a request known to its handler.
func (c *connections) mark(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// follow is the server's ConnState.
func (c *connections) follow(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.open == nil {
			c.open = map[net.Conn]struct{}{}
		}
		c.open[conn] = struct{}{}
	case http.StateClosed:
		c.forget(conn)
	}
}

// forget drops a connection. Code that takes one over from the server must call it.
func (c *connections) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

// closeOthers ends every connection but that of the request: handlers see their
// client leave.
func (c *connections) closeOthers(r *http.Request) {
	own := r.Context().Value(connectionKey{})
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if conn == own {
			continue
		}
		// Unsent data has no receiver.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}
