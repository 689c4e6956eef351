// Package halfclose ends the sending side of connections that wrap others. It imports the
// standard library only.
package halfclose

// Write ends the sending side of conn where it can. Otherwise it calls whole, which ends all
// of the connection: the peer must learn that no more comes.
func Write(conn any, whole func() error) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return whole()
}
