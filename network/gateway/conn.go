package gateway

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rundlet/rundlet/internal/halfclose"
)

// handshake is the first byte of a TLS connection: the type of its first record (RFC 8446, 5.1). No HTTP method has it.
const handshake = 0x16

// conn is a connection of a guest. Its goroutine, run, owns it.
type conn struct {
	gw    *Gateway
	raw   net.Conn
	guest netip.Addr
	to    netip.AddrPort // Where the guest wanted to connect to.
	ctx   context.Context
	end   context.CancelFunc
	head  int  // How much was sent before the decision.
	large bool // That is counted in the guest's share.

	mu   sync.Mutex
	host string // That it asked for last.
}

func (c *conn) run() {
	defer c.gw.running.Done()
	defer c.gw.release(c)
	defer c.cut() // Does nothing to a connection that has ended regularly.
	var err error
	if c.to, err = c.gw.Original(c.raw); err != nil {
		if c.ctx.Err() == nil { // Else it was cut meanwhile.
			c.gw.OnError(err)
		}
		return
	}
	first := make([]byte, 1)
	_ = c.raw.SetReadDeadline(time.Now().Add(headTime))
	if _, err := io.ReadFull(c.raw, first); err != nil {
		return
	}
	if guest := (&lean{Conn: c.raw, first: first}); first[0] == handshake {
		c.passTLS(guest)
	} else {
		c.passHTTP(guest)
	}
}

// cut breaks the connection off. Safe for concurrent use.
func (c *conn) cut() {
	c.end()
	halfclose.Break(c.raw)
	_ = c.raw.Close()
}

// allowed asks the policy. The host is noted first: either the policy that is asked is the new one, or the Recheck after
// its change sees the host.
func (c *conn) allowed(host string) bool {
	c.mu.Lock()
	c.host = host
	c.mu.Unlock()
	return c.gw.Guests.Allowed(c.guest, host)
}

func (c *conn) asked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.host
}

func (c *conn) dial(host string) (net.Conn, error) {
	if !c.gw.hold(c) {
		return nil, net.ErrClosed
	}
	defer c.gw.running.Done()
	ctx, cancel := context.WithTimeout(c.ctx, dialTime)
	defer cancel()
	return c.gw.Guests.Dial(ctx, c.guest, host, c.to.Port())
}
