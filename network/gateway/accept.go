package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/rundlet/rundlet/internal/halfclose"
)

const (
	// acceptPause is how long the listener rests after an error, such as that there are no file descriptors.
	acceptPause = 100 * time.Millisecond
	// A ClientHello or a request header is usually below usual. More, up to largest, may come on some connections of a
	// guest only, so that a guest which begins many without an end takes little memory.
	usual, largest, largeOnes = 4 << 10, 64 << 10, 16
)

// errLarge: too many connections of the guest are in their first bytes and have sent many.
var errLarge = errors.New("too many large headers at the same time")

// share is what one guest has of the bounds. The mutex of the Gateway guards it.
type share struct {
	conns  map[*conn]struct{}
	large  int
	secure int
}

// accept takes connections until the Gateway is closed.
func (g *Gateway) accept() {
	for {
		raw, err := g.Listener.Accept()
		switch {
		case g.ctx.Err() != nil:
			if err == nil {
				refuse(raw)
			}
			return
		case err != nil:
			g.OnError(fmt.Errorf("accept connections of guests: %w", err))
			select {
			case <-g.ctx.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		if c := g.admit(raw); c != nil {
			go c.run()
		} else {
			refuse(raw)
		}
	}
}

func refuse(raw net.Conn) {
	halfclose.Break(raw)
	_ = raw.Close()
}

// admit counts a connection, or returns nil if there are too many. The caller of release owes g.running.Done.
func (g *Gateway) admit(raw net.Conn) *conn {
	from, err := netip.ParseAddrPort(raw.RemoteAddr().String())
	if err != nil {
		g.OnError(fmt.Errorf("address of a guest: %w", err))
		return nil
	}
	c := &conn{gw: g, raw: raw, guest: from.Addr().Unmap()}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shares[c.guest]
	if s == nil {
		s = &share{conns: map[*conn]struct{}{}}
	}
	if g.closed || len(s.conns) >= min(g.ofGuest, g.inAll-g.total) {
		return nil
	}
	c.ctx, c.end = context.WithCancel(g.ctx)
	g.shares[c.guest] = s
	s.conns[c] = struct{}{}
	g.total++
	g.running.Add(1)
	return c
}

// release gives the place of a connection back.
func (g *Gateway) release(c *conn) {
	c.decided()
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shares[c.guest]
	delete(s.conns, c)
	g.total--
	if c.secure {
		s.secure--
		g.secure--
	}
	if len(s.conns) == 0 {
		delete(g.shares, c.guest)
	}
}

// admitSecure counts a connection whose TLS the Gateway is to end, or reports that there are too many.
func (g *Gateway) admitSecure(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shares[c.guest]
	if s.secure >= min(secureOfGuest, secureInAll-g.secure) {
		return false
	}
	c.secure = true
	s.secure++
	g.secure++
	return true
}

// hold keeps the Gateway from being closed as long as a goroutine works for a connection, until g.running.Done. It
// reports whether the connection has not ended yet.
func (g *Gateway) hold(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shares[c.guest]
	if s == nil {
		return false
	}
	if _, there := s.conns[c]; !there {
		return false
	}
	g.running.Add(1)
	return true
}

// undecided counts bytes that a guest has sent before it is known what it wants.
func (c *conn) undecided(n int) error {
	if c.head += n; c.head <= usual || c.large {
		return nil
	}
	c.gw.mu.Lock()
	defer c.gw.mu.Unlock()
	s := c.gw.shares[c.guest]
	if s.large >= largeOnes {
		return &net.OpError{Op: "read", Err: errLarge}
	}
	s.large++
	c.large = true
	return nil
}

// decided ends what undecided counts.
func (c *conn) decided() {
	c.head = 0
	if !c.large {
		return
	}
	c.gw.mu.Lock()
	defer c.gw.mu.Unlock()
	c.large = false
	c.gw.shares[c.guest].large--
}
