package live

import (
	"net"
	"time"

	"github.com/rundlet/rundlet/internal/halfclose"
)

// Traffic is when bytes went into or out of the sandbox last; zero if never.
func (sb *Sandbox) Traffic() time.Time {
	if at := sb.traffic.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// CountTraffic returns a connection of a client such that its bytes are traffic of the
// sandbox.
func (sb *Sandbox) CountTraffic(conn net.Conn) net.Conn { return &counted{conn, sb} }

// NoteTraffic notes that a client asked for a connection, whether it gets one or not.
func (sb *Sandbox) NoteTraffic() { sb.noteTraffic() }

func (sb *Sandbox) noteTraffic() { sb.traffic.Store(time.Now().UnixNano()) }

type counted struct {
	net.Conn
	sb *Sandbox
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.sb.noteTraffic()
	}
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	c.sb.noteTraffic()
	return c.Conn.Write(b)
}

// SetLinger decides what a Close does with unsent data, where the connection can: see net.TCPConn.
func (c *counted) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(interface{ SetLinger(seconds int) error }); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// CloseWrite ends the sending side where the connection can, and the whole of it where it
// cannot.
func (c *counted) CloseWrite() error {
	c.sb.noteTraffic()
	return halfclose.Write(c.Conn, c.Close)
}
