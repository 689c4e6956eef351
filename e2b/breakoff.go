package e2b

import (
	"crypto/tls"
	"net"
	"net/http"
)

// breakingOff resets the client's connection if the handler breaks its answer off:
// over HTTP/1 an end of the connection may pass for the end of the answer, or for
// a mistake of the server, and clients ask for the sandbox only after a reset.
// HTTP/2 resets the stream.
func (s *Server) breakingOff(r *http.Request) {
	switch failed := recover(); {
	case failed == nil:
	case failed == http.ErrAbortHandler && r.ProtoMajor == 1: //nolint:errorlint // net/http compares so, too.
		s.conns.reset(r.Context())
		fallthrough
	default:
		panic(failed)
	}
}

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
		case *tls.Conn:
			conn = c.NetConn()
		default:
			return conn
		}
	}
}
