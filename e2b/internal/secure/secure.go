// Package secure speaks TLS to programs in sandboxes. It imports the standard library only; only packages in and
// below e2b import it.
package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// handshakeTime bounds a handshake.
const handshakeTime = 10 * time.Second

// ErrHandshake: the handshake failed, and no request was sent.
var ErrHandshake = errors.New("TLS handshake with the program")

// Over speaks TLS over raw, the stream to a program that clients know by host, with or without a port. Its certificate
// is not verified, as at E2B: the stream does not leave the machine, and the client has a certificate of this server.
// The connection owns raw, and closes it without a word: a program that does not read could hold that up. Over closes
// raw if it fails, with ErrHandshake, as it does at the end of stop.
func Over(ctx context.Context, raw net.Conn, host string, stop <-chan struct{}) (net.Conn, error) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: []string{"http/1.1"}})
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return conn{c, raw}, nil
}

type conn struct {
	*tls.Conn
	raw net.Conn
}

func (c conn) Close() error { return c.raw.Close() }
