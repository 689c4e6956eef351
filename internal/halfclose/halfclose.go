// Package halfclose ends connections that wrap others: the sending side only, or all so that it looks broken off. It
// imports the standard library only.
package halfclose

import "net"

// Write ends the sending side of conn where it can. Otherwise it calls whole, which ends all
// of the connection: the peer must learn that no more comes.
func Write(conn any, whole func() error) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return whole()
}

// Break makes the Close of conn, where it can, one that the peer does not take for a regular end. It drops unsent data.
func Break(conn any) {
	switch c := conn.(type) {
	case interface{ Reset() }:
		c.Reset()
	case interface{ SetLinger(seconds int) error }:
		_ = c.SetLinger(0)
	case interface{ NetConn() net.Conn }: // TLS.
		Break(c.NetConn())
	}
}
