package conns

import (
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/internal/halfclose"
)

// freeRecord is more than a client sends until some of it is decrypted data: a handshake, or a
// record and the beginning of the next.
const freeRecord = 24 << 10

var errTooMuchHandshake = errors.New("too many large TLS handshakes are under way")

// handshakeListener counts what clients send until data of a request is decrypted: TLS keeps
// it in memory, and no handler counts it. That is a handshake, or a message of the handshake
// afterwards that never ends.
type handshakeListener struct {
	net.Listener
	budget *quota.Budget
}

func (l handshakeListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &handshakeConn{Conn: c, budget: l.budget, owner: ownerOf(c)}, nil
}

// ownerOf is the network of a peer, which has a part of the budget.
func ownerOf(c net.Conn) string {
	owner := c.RemoteAddr().String()
	if addr, err := netip.ParseAddrPort(owner); err == nil {
		owner = quota.Network(addr.Addr()).String()
	}
	return owner
}

// handshakeConn is one of them, below TLS.
type handshakeConn struct {
	net.Conn
	budget *quota.Budget
	owner  string

	mu         sync.Mutex
	closed     bool  // guarded by mu
	read, held int64 // Since data was decrypted; guarded by mu.
}

func (c *handshakeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.count(int64(n)) {
		c.Close()
		return 0, errTooMuchHandshake
	}
	return n, err
}

func (c *handshakeConn) count(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return true
	}
	c.read += n
	need := c.read - freeRecord - c.held
	if need <= 0 {
		return true
	}
	if !c.budget.Take(c.owner, need) {
		return false
	}
	c.held += need
	return true
}

// decrypted begins the count anew.
func (c *handshakeConn) decrypted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = 0
	if c.held > 0 {
		c.budget.Give(c.owner, c.held)
		c.held = 0
	}
}

// Close ends the count.
func (c *handshakeConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.decrypted()
	return c.Conn.Close()
}

// CloseWrite ends the sending side.
func (c *handshakeConn) CloseWrite() error {
	return halfclose.Write(c.Conn, c.Close)
}
