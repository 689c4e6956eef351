package conns

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/internal/halfclose"
)

// The bounds of one request header.
const (
	// HeaderTime is how long it may take to read.
	HeaderTime = 10 * time.Second
	// MaxHeader is how large it may be.
	MaxHeader = 128 << 10
	// FieldCost is the cost of a field in the map, besides its text, in bytes.
	FieldCost = 64
)

// A request header that is being read has no handler yet that could count it: it
// is text and a map already, for as long as HeaderTime, on every connection. Its
// cost is its bytes and FieldCost for each line, above freeReading. All connections
// have a budget for it, and those of one address half of that.
const (
	freeReading               = 4 << 10
	allReading, readingsOfOne = 64 << 20, 32 << 20
)

// http2Preface is the text that a client of HTTP/2 sends first.
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// maxBlock bounds the cost of a header of HTTP/2 while it is read. Of a byte of it a
// whole field may come, but no more of them than fit MaxHeader by HTTP/2's own count.
const maxBlock = 3 * MaxHeader

var errTooMuchReading = errors.New("too many large request headers are being sent")

// readingListener counts the headers that come on the connections of ln. Of HTTP/2 it
// counts the header that is not complete, of which there is one at a time on a connection,
// and ends the connection if it takes longer than that of HTTP/1 may.
//
// Connections may be those of TLS. net/http then does not know: the first Read makes the
// handshake, within the time of a header, and a client of HTTP/2 is known by its preface.
type readingListener struct {
	net.Listener
	budget   *quota.Budget
	counting bool
}

// passed counts the bytes of a connection.
type passed struct{ in, out atomic.Int64 }

func (l readingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	r := &readingConn{Conn: c, budget: l.budget, owner: ownerOf(c), on: true}
	if l.counting {
		r.passed = &passed{}
	}
	if t, ok := c.(*tls.Conn); ok {
		r.below, _ = t.NetConn().(*handshakeConn)
	}
	return r, nil
}

// readingConn is one of them.
type readingConn struct {
	net.Conn
	budget *quota.Budget
	owner  string
	below  *handshakeConn // Nil without TLS.
	passed *passed        // Nil if it is not counted.
	// refused: plain HTTP was answered.
	refused sync.Once

	mu         sync.Mutex
	on         bool        // a header is being read, or comes next; guarded by mu
	http1      bool        // it does not begin like HTTP/2; guarded by mu
	preface    int         // bytes of http2Preface that the connection began with; guarded by mu
	cost, held int64       // guarded by mu
	frames     frames      // of HTTP/2; guarded by mu
	late       *time.Timer // runs while a header of HTTP/2 is not complete; guarded by mu
}

// Read counts, and closes the connection if the budget is used up.
func (c *readingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if notTLS, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		c.refused.Do(func() { refusePlain(notTLS) })
	}
	if c.passed != nil {
		c.passed.in.Add(int64(n))
	}
	if n > 0 && c.below != nil {
		c.below.decrypted()
	}
	if n > 0 && !c.count(b[:n]) {
		c.Close()
		return 0, errTooMuchReading
	}
	return n, err
}

func (c *readingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.passed != nil {
		c.passed.out.Add(int64(n))
	}
	return n, err
}

// methods are the beginnings of requests without TLS.
var methods = []string{"GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO", "PRI *", "CONNE"}

// refusePlain tells a client of plain HTTP what is wrong with it.
func refusePlain(e tls.RecordHeaderError) {
	if e.Conn != nil && slices.Contains(methods, string(e.RecordHeader[:])) {
		_, _ = io.WriteString(e.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nthis server speaks HTTPS, and the request is plain HTTP\n")
	}
}

func (c *readingConn) count(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rest, ok := c.isHTTP2(b); ok {
		return c.countBlock(rest)
	}
	if !c.on {
		return true
	}
	c.cost += int64(len(b) + FieldCost*bytes.Count(b, []byte{'\n'}))
	return c.hold()
}

// countBlock counts the header of HTTP/2 that is not complete. The caller holds mu.
func (c *readingConn) countBlock(b []byte) bool {
	c.frames.take(b)
	c.cost = min(FieldCost*c.frames.block, maxBlock)
	switch {
	case c.frames.block == 0:
		c.release()
	case c.late == nil:
		c.late = time.AfterFunc(HeaderTime, func() { c.Close() })
	}
	return c.hold()
}

// hold takes the present cost of the header from the budget. The caller holds mu.
func (c *readingConn) hold() bool {
	need := c.cost - freeReading - c.held
	if need <= 0 {
		return true
	}
	if !c.budget.Take(c.owner, need) {
		return false
	}
	c.held += need
	return true
}

// release returns the held cost to the budget. The caller holds mu.
func (c *readingConn) release() {
	if c.late != nil {
		c.late.Stop()
		c.late = nil
	}
	if c.held > 0 {
		c.budget.Give(c.owner, c.held)
		c.held = 0
	}
}

// isHTTP2 reports whether the connection began with all of the preface, when b was
// read of it, and returns the data behind it. The caller holds mu. HTTP/1 has the
// first word of it for a method like any other.
func (c *readingConn) isHTTP2(b []byte) (rest []byte, ok bool) {
	if !c.http1 && c.preface < len(http2Preface) {
		n := min(len(b), len(http2Preface)-c.preface)
		c.http1 = string(b[:n]) != http2Preface[c.preface:c.preface+n]
		c.preface += n
		b = b[n:]
	}
	return b, !c.http1 && c.preface == len(http2Preface)
}

// next begins with the header of the next request.
func (c *readingConn) next() { c.set(true) }

// read ends with a header: later data is a body, and the request is counted.
func (c *readingConn) read() { c.set(false) }

func (c *readingConn) set(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.http1 && c.preface == len(http2Preface) {
		return // Its requests are not read one after the other.
	}
	c.on, c.cost = on, 0
	c.release()
}

// Close returns the counted cost to the budget.
func (c *readingConn) Close() error {
	c.mu.Lock()
	c.release()
	c.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends the sending side, which the server does before it closes.
func (c *readingConn) CloseWrite() error {
	return halfclose.Write(c.Conn, c.Close)
}
