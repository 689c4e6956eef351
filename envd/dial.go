package envd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
)

// DialPort connects to a port of the guest's loopback through the agent, for
// services that do not listen on the sandbox's own address. The caller owns the
// connection. Errors are ErrPortClosed, ErrUnreachable, ErrUnauthorized or a
// *StatusError.
func DialPort(ctx context.Context, dial Dial, token string, port int) (_ net.Conn, err error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("agent dial: %w: %w", ErrUnreachable, err)
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	request := "GET " + DialPath + "?port=" + strconv.Itoa(port) + " HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: " +
		DialUpgrade + "\r\n" + ControlTokenHeader + ": " + token + "\r\n\r\n"
	resp, br, err := exchange(ctx, conn, "dial", []byte(request), maxReply)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, replyError("dial", resp)
	}
	if err := ctx.Err(); err != nil {
		return nil, broken(ctx, "dial", err)
	}
	early, _ := br.Peek(br.Buffered())
	return &portConn{Conn: conn, early: bytes.NewReader(bytes.Clone(early))}, nil
}

// portConn is a connection whose first bytes arrived with the reply.
type portConn struct {
	net.Conn
	early *bytes.Reader
}

func (c *portConn) Read(b []byte) (int, error) {
	if c.early.Len() > 0 {
		return c.early.Read(b)
	}
	return c.Conn.Read(b)
}

// SetLinger decides what a Close does with unsent data, where the connection can: see net.TCPConn.
func (c *portConn) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(interface{ SetLinger(seconds int) error }); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// CloseWrite ends the direction to the guest.
func (c *portConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Conn.Close()
}
