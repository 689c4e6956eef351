// Package conns keeps the connections into a machine, and ends them with it: a guest
// that is killed closes none. It imports the standard library only.
package conns

import (
	"net"
	"sync"
)

// Set has the connections that are open into one machine. The zero value has none. Safe for
// concurrent use.
type Set struct {
	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// Track returns conn such that it ends with the machine.
func (c *Set) Track(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return conn
	}
	if c.open == nil {
		c.open = map[net.Conn]bool{}
	}
	c.open[conn] = true
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &trackedTCP{tcp, c}
	}
	return &trackedConn{conn, c}
}

func (c *Set) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

// End closes all connections, and those that are tracked later.
func (c *Set) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.open {
		_ = conn.Close()
	}
	c.open = nil
}

type trackedConn struct {
	net.Conn
	c *Set
}

func (t *trackedConn) Close() error {
	t.c.forget(t.Conn)
	return t.Conn.Close()
}

// trackedTCP keeps what only TCP connections can do: half-closing, and copying
// inside the kernel.
type trackedTCP struct {
	*net.TCPConn
	c *Set
}

func (t *trackedTCP) Close() error {
	t.c.forget(t.TCPConn)
	return t.TCPConn.Close()
}
