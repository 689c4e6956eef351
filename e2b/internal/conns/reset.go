package conns

import (
	"crypto/tls"
	"net"
)

// reset closes a connection at once, in a way that the peer cannot take for a regular
// end. Unsent data is dropped.
func reset(conn net.Conn) {
	conn = under(conn)
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// under is the connection of TCP below others.
func under(conn net.Conn) net.Conn {
	for {
		switch c := conn.(type) {
		case *readingConn:
			conn = c.Conn
		case *handshakeConn:
			conn = c.Conn
		case *tls.Conn:
			conn = c.NetConn()
		default:
			return conn
		}
	}
}
