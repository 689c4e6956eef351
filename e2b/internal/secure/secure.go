// Package secure speaks TLS to programs in sandboxes. It imports the standard library only; only packages in and
// below e2b import it.
package secure

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// handshakeTime bounds a handshake.
const handshakeTime = 10 * time.Second

// Over speaks TLS over raw, the stream to a program that clients know by host, with or without a port. Its certificate
// is not verified, as at E2B: the stream does not leave the machine, and the client has a certificate of this server.
// The connection owns raw, and closes it without a word: a program that does not read could hold that up. Over closes
// raw if it fails.
func Over(ctx context.Context, raw net.Conn, host string) (net.Conn, error) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: []string{"http/1.1"}})
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn{c, raw}, nil
}

type conn struct {
	*tls.Conn
	raw net.Conn
}

func (c conn) Close() error { return c.raw.Close() }
