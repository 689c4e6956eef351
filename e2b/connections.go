package e2b

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// trust is the highest level that the requests of a connection have reached so far.
type trust int

const (
	stranger trust = iota // nothing
	visitor               // it knows a sandbox that exists
	keyed                 // an API key, or the token of a sandbox
)

// connections bounds those that a server has open: each is a file of the
// daemon, which needs some for its own work. When there are as many as may be,
// a new one takes the place of another:
//
//  1. the one of a stranger that is idle, or has not sent a request yet
//  2. one of a stranger that sends or is answered
//  3. an idle one of a visitor, then one with a key
//  4. one of a visitor that is answered
//
// and of each kind the one that is so for longest. One with a key that is
// answered is never closed; if there are only such, the new one is.
type connections struct {
	most int

	mu    sync.Mutex
	open  map[net.Conn]*connection // guarded by mu
	lines [5]*list.List            // of *connection, the oldest first; guarded by mu
}

// connection is one of them. Its fields are guarded by connections.mu.
type connection struct {
	conn     net.Conn
	trust    trust
	busy     bool
	hijacked bool // the handler has it, and the server forgot it
	line     *list.List
	place    *list.Element // nil: it is in no line
}

func newConnections(most int) *connections {
	c := &connections{most: most, open: map[net.Conn]*connection{}}
	for i := range c.lines {
		c.lines[i] = list.New()
	}
	return c
}

type connectionKey struct{}

// enter is the ConnContext of the server.
func (c *connections) enter(ctx context.Context, conn net.Conn) context.Context {
	e := &connection{conn: conn}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.most && !c.makeRoom() {
		_ = under(conn).Close() // The server finds it closed when it reads; TLS would wait for the peer.
		return ctx
	}
	c.open[conn] = e
	c.queue(e)
	return context.WithValue(ctx, connectionKey{}, e)
}

// makeRoom closes the first in the lines. The caller holds mu.
func (c *connections) makeRoom() bool {
	for _, line := range c.lines {
		if first := line.Front(); first != nil {
			e := first.Value.(*connection)
			c.remove(e)
			reset(e.conn)
			return true
		}
	}
	return false
}

// queue puts a connection at the end of its line. The caller holds mu.
func (c *connections) queue(e *connection) {
	c.unqueue(e)
	switch {
	case c.open[e.conn] != e || e.trust == keyed && e.busy:
		return
	case e.trust == stranger && !e.busy:
		e.line = c.lines[0]
	case e.trust == stranger:
		e.line = c.lines[1]
	case e.trust == visitor && !e.busy:
		e.line = c.lines[2]
	case e.trust == keyed:
		e.line = c.lines[3]
	default:
		e.line = c.lines[4]
	}
	e.place = e.line.PushBack(e)
}

func (c *connections) unqueue(e *connection) {
	if e.place != nil {
		e.line.Remove(e.place)
		e.place = nil
	}
}

// remove forgets a connection. The caller holds mu.
func (c *connections) remove(e *connection) {
	c.unqueue(e)
	if c.open[e.conn] == e {
		delete(c.open, e.conn)
	}
}

// changed is the ConnState of the server.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.open[conn]
	if e == nil {
		return
	}
	switch state {
	case http.StateActive:
		e.busy = true
		c.queue(e)
	case http.StateIdle:
		if r, ok := conn.(*readingConn); ok {
			r.next()
		}
		e.busy = false
		c.queue(e)
	case http.StateHijacked:
		e.hijacked = true
	case http.StateClosed:
		c.remove(e)
	}
}

// trusted notes the level of a request.
func (c *connections) trusted(ctx context.Context, t trust) {
	e, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t > e.trust {
		e.trust = t
		c.queue(e)
	}
}

// headRead notes that the header of a request was read.
func (c *connections) headRead(ctx context.Context) {
	if e, ok := ctx.Value(connectionKey{}).(*connection); ok {
		if r, ok := e.conn.(*readingConn); ok {
			r.read()
		}
	}
}

// shown is the trust of a connection before this request.
func (c *connections) shown(ctx context.Context) trust {
	e, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return stranger
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return e.trust
}

// reset breaks off the connection of a request.
func (c *connections) reset(ctx context.Context) {
	if e, ok := ctx.Value(connectionKey{}).(*connection); ok {
		reset(e.conn)
	}
}

// breakOff resets the connections on which a request is answered.
func (c *connections) breakOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.open {
		if e.busy {
			reset(e.conn)
		}
	}
}

// handled ends the count of a connection that a handler had taken over.
func (c *connections) handled(ctx context.Context) {
	e, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.hijacked {
		c.remove(e)
	}
}
