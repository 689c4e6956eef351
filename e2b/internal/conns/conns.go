// Package conns bounds what the connections of clients take: how many are open, and the memory of
// request headers that are being read on them. When there are too many, the least trusted make room. It may
// import e2b/internal/quota, and knows no request's meaning; only e2b imports it.
package conns

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"github.com/rundlet/rundlet/e2b/internal/quota"
)

// Trust is the highest level that the requests of a connection have reached so far.
type Trust int

// The levels of trust, the lowest first.
const (
	Stranger Trust = iota // nothing
	Visitor               // it knows a sandbox that exists
	Keyed                 // an API key, or the token of a sandbox
)

// Table has the connections that a server has open, and bounds them: each is a file of the
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
//
// A Table is safe for concurrent use.
type Table struct {
	// Reading is the budget of the request headers that are being read, in bytes by address. It is
	// set before use.
	Reading *quota.Budget
	// Counting counts the bytes of each connection, for Passed. It is set before use.
	Counting bool

	most int

	mu    sync.Mutex
	open  map[net.Conn]*connection // guarded by mu
	lines [5]*list.List            // of *connection, the oldest first; guarded by mu
}

// connection is one of a Table. Its fields are guarded by Table.mu.
type connection struct {
	conn     net.Conn
	trust    Trust
	busy     bool
	hijacked bool // the handler has it, and the server forgot it
	line     *list.List
	place    *list.Element // nil: it is in no line
}

// New returns a table for so many connections at the same time.
func New(most int) *Table {
	c := &Table{Reading: quota.NewBudget(allReading, readingsOfOne), most: most, open: map[net.Conn]*connection{}}
	for i := range c.lines {
		c.lines[i] = list.New()
	}
	return c
}

type connectionKey struct{}

// Enter is the ConnContext of the server.
func (c *Table) Enter(ctx context.Context, conn net.Conn) context.Context {
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
func (c *Table) makeRoom() bool {
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
func (c *Table) queue(e *connection) {
	c.unqueue(e)
	switch {
	case c.open[e.conn] != e || e.trust == Keyed && e.busy:
		return
	case e.trust == Stranger && !e.busy:
		e.line = c.lines[0]
	case e.trust == Stranger:
		e.line = c.lines[1]
	case e.trust == Visitor && !e.busy:
		e.line = c.lines[2]
	case e.trust == Keyed:
		e.line = c.lines[3]
	default:
		e.line = c.lines[4]
	}
	e.place = e.line.PushBack(e)
}

func (c *Table) unqueue(e *connection) {
	if e.place != nil {
		e.line.Remove(e.place)
		e.place = nil
	}
}

// remove forgets a connection. The caller holds mu.
func (c *Table) remove(e *connection) {
	c.unqueue(e)
	if c.open[e.conn] == e {
		delete(c.open, e.conn)
	}
}

// Changed is the ConnState of the server.
func (c *Table) Changed(conn net.Conn, state http.ConnState) {
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

// Raise notes the level of a request.
func (c *Table) Raise(ctx context.Context, t Trust) {
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

// HeadRead notes that the header of a request was read.
func (c *Table) HeadRead(ctx context.Context) {
	if e, ok := ctx.Value(connectionKey{}).(*connection); ok {
		if r, ok := e.conn.(*readingConn); ok {
			r.read()
		}
	}
}

// TLS is the state of the connection of a request; nil if it has no TLS.
func (c *Table) TLS(ctx context.Context) *tls.ConnectionState {
	e, _ := ctx.Value(connectionKey{}).(*connection)
	if e == nil {
		return nil
	}
	if r, ok := e.conn.(*readingConn); ok {
		if t, ok := r.Conn.(*tls.Conn); ok {
			return new(t.ConnectionState())
		}
	}
	return nil
}

// Trust is the trust of a connection before this request.
func (c *Table) Trust(ctx context.Context) Trust {
	e, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return Stranger
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return e.trust
}

// Reset breaks off the connection of a request.
func (c *Table) Reset(ctx context.Context) {
	if e, ok := ctx.Value(connectionKey{}).(*connection); ok {
		reset(e.conn)
	}
}

// Passed returns how many bytes have passed the connection of a request so far, without those of TLS, if they are counted.
func (c *Table) Passed(ctx context.Context) (in, out int64) {
	if e, ok := ctx.Value(connectionKey{}).(*connection); ok {
		if r, ok := e.conn.(*readingConn); ok && r.passed != nil {
			return r.passed.in.Load(), r.passed.out.Load()
		}
	}
	return 0, 0
}

// Len counts the open connections.
func (c *Table) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// Listener is ln whose request headers are counted in Reading. With a configuration it speaks
// TLS, and what a handshake makes the daemon keep is counted, too.
func (c *Table) Listener(ln net.Listener, config *tls.Config) net.Listener {
	if config != nil {
		ln = tls.NewListener(handshakeListener{ln, c.Reading}, config)
	}
	return readingListener{ln, c.Reading, c.Counting}
}

// ResetBusy resets the connections on which a request is answered.
func (c *Table) ResetBusy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.open {
		if e.busy {
			reset(e.conn)
		}
	}
}

// Handled ends the count of a connection that a handler had taken over.
func (c *Table) Handled(ctx context.Context) {
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
