package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
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

	secure bool // That is counted, too.

	mu   sync.Mutex
	host string     // That it asked for last.
	via  netip.Addr // Where it was connected to last, if it was.
	own  bool       // The guest has chosen that address, so its host does not count.
	way  any        // How it was connected.
	// names are those of the address, on a port where nothing else says the host, and the address is not reached otherwise.
	names []string
}

// quietTime is how long a guest may say nothing on a connection to an address that it reaches anyway: in some protocols the
// server speaks first.
const quietTime = 3 * time.Second

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
	if !slices.Contains(c.gw.Ports, c.to.Port()) {
		c.passAddress()
		return
	}
	open := c.open()
	if open && !c.gw.Guests.Rewrites(c.guest) {
		c.join(&lean{Conn: c.raw}, "")
		return
	}
	quiet := time.Now().Add(headTime)
	if open {
		quiet = time.Now().Add(quietTime)
	}
	first := make([]byte, 1)
	_ = c.raw.SetReadDeadline(quiet)
	_, err = io.ReadFull(c.raw, first)
	switch guest := (&lean{Conn: c.raw, first: first}); {
	case open && errors.Is(err, os.ErrDeadlineExceeded):
		guest.first = nil
		c.join(guest, "")
	case err != nil:
	case first[0] == handshake:
		_ = c.raw.SetReadDeadline(time.Now().Add(headTime))
		c.passTLS(guest, open)
	default:
		_ = c.raw.SetReadDeadline(time.Now().Add(headTime))
		c.passPlain(guest, open)
	}
}

// passAddress passes on a connection to a port where nothing says its host.
func (c *conn) passAddress() {
	if !c.open() {
		names := c.gw.Guests.NamesOf(c.guest, c.to)
		if len(names) == 0 {
			c.gw.Guests.Refused(c.guest, "", c.to)
			return
		}
		c.mu.Lock()
		c.names = names
		c.mu.Unlock()
	}
	c.join(&lean{Conn: c.raw}, "")
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
	return c.gw.Guests.Allowed(c.guest, host, c.to.Port())
}

// open reports whether it may go to the address that the guest has chosen, whatever its host is.
func (c *conn) open() bool { return c.gw.Guests.Reaches(c.guest, c.to) }

// headers are those of the host, which the guest must be allowed otherwise.
func (c *conn) headers(host string) map[string]string {
	if host == "" || c.gw.Certify == nil {
		return nil
	}
	return c.gw.Guests.Headers(c.guest, host)
}

// may reports whether what it is connected to is allowed, by its host or its address, and the way to it is the one that
// it is to go; or whether it is not connected yet.
func (c *conn) may() bool {
	c.mu.Lock()
	host, via, own, way, names := c.host, c.via, c.own, c.way, c.names
	c.mu.Unlock()
	if way != nil && way != c.gw.Guests.Way(c.guest) {
		return false
	}
	allowed := func(host string) bool { return c.gw.Guests.Allowed(c.guest, host, c.to.Port()) }
	return host == "" && !via.IsValid() || host != "" && !own && allowed(host) ||
		via.IsValid() && (c.gw.Guests.Reaches(c.guest, netip.AddrPortFrom(via, c.to.Port())) || slices.ContainsFunc(names, allowed))
}

// dial connects to the host, or to the address that the guest has chosen if there is none. Headers go to a host only.
func (c *conn) dial(host string) (net.Conn, error) {
	if !c.gw.hold(c) {
		return nil, net.ErrClosed
	}
	defer c.gw.running.Done()
	ctx, cancel := context.WithTimeout(c.ctx, dialTime)
	defer cancel()
	var server net.Conn
	var err error
	via, own := c.to.Addr(), host == ""
	switch way, right := c.begin(own); {
	case !right || own && !c.may():
		err = errForbidden
	case own:
		server, err = c.gw.Guests.DialAddr(ctx, c.guest, way, c.to)
	default:
		server, via, err = c.gw.Guests.Dial(ctx, c.guest, way, host, c.to.Port())
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.via, c.own = via, own
	c.mu.Unlock()
	if !c.may() { // As with the host: it is noted, and then the policy is asked.
		_ = server.Close()
		return nil, errForbidden
	}
	return server, nil
}

// begin notes what is being dialed, and returns the way to it. As with the host: either what is asked afterwards is the new
// policy, or the Recheck after its change sees it, and ends the dial. right: another dial did not go another way, which
// that Recheck must see.
func (c *conn) begin(own bool) (way any, right bool) {
	way = c.gw.Guests.Way(c.guest)
	c.mu.Lock()
	if right = c.way == nil || c.way == way; right {
		c.way = way
		if own {
			c.via, c.own = c.to.Addr(), true
		}
	}
	c.mu.Unlock()
	return way, right && way == c.gw.Guests.Way(c.guest)
}

// errForbidden: the policy has changed during a dial.
var errForbidden = errors.New("not allowed any more")

// join joins the connection to what dial connects to.
func (c *conn) join(guest *lean, host string) {
	server, err := c.dial(host)
	if err != nil {
		return
	}
	_ = c.raw.SetReadDeadline(time.Time{})
	c.decided()
	halfclose.Join(guest, &lean{Conn: server}, c.ctx.Done(), func() {
		halfclose.Break(c.raw)
		halfclose.Break(server)
	})
}
