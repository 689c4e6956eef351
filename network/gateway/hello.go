package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/rundlet/rundlet/internal/halfclose"
	"github.com/rundlet/rundlet/network/hostname"
)

const (
	// mostHello bounds what is read for a ClientHello: the largest that crypto/tls takes, and the headers of its records.
	mostHello = largest + 16<<10
	// encryptedClientHello is the extension with a second ClientHello (ECH).
	encryptedClientHello = 0xfe0d
	// Alerts (RFC 8446, 6.2).
	accessDenied, unrecognizedName = 49, 112
)

var (
	errRead = errors.New("the ClientHello was read")
	errMost = errors.New("the ClientHello is too long")
	// errLost: the guest has left, or takes too long, or sends too much.
	errLost = errors.New("no whole ClientHello came")
)

// passTLS passes on a connection that begins a TLS handshake.
func (c *conn) passTLS(guest *lean) {
	name, hidden, sent, err := readHello(guest, c.undecided)
	if errors.Is(err, errLost) {
		return
	}
	host, _ := hostname.Canonical(name)
	if err != nil || host == "" || hidden || !c.allowed(host) {
		c.gw.Guests.Refused(c.guest, host, c.to)
		alert := byte(accessDenied)
		if host == "" {
			alert = unrecognizedName
		}
		_, _ = c.raw.Write([]byte{0x15, 3, 1, 0, 2, 2, alert}) // A record of one fatal alert.
		return
	}
	server, err := c.dial(host)
	if err != nil {
		return
	}
	_ = c.raw.SetReadDeadline(time.Time{})
	guest.first = sent
	c.decided()
	halfclose.Join(guest, &lean{Conn: server}, c.ctx.Done(), func() {
		halfclose.Break(c.raw)
		halfclose.Break(server)
	})
}

// readHello reads a ClientHello. It returns its server name, whether there may be another one encrypted in it, and all
// that was read. count is called for what is read, and may end it.
func readHello(from net.Conn, count func(n int) error) (name string, hidden bool, read []byte, err error) {
	r := &recorder{Conn: from, count: count}
	err = tls.Server(r, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		name, hidden = hello.ServerName, slices.Contains(hello.Extensions, encryptedClientHello)
		return nil, errRead
	}}).HandshakeContext(context.Background()) // What ends the connection ends it.
	switch {
	case errors.Is(err, errRead):
		err = nil
	case r.lost:
		err = errLost
	}
	return name, hidden, r.read, err
}

// recorder keeps what is read, and writes nothing.
type recorder struct {
	net.Conn
	read  []byte
	lost  bool
	count func(int) error
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.read = append(r.read, b[:n]...)
	if err == nil {
		err = r.count(n)
	}
	if err == nil && len(r.read) > mostHello {
		err = errMost
	}
	r.lost = err != nil
	return n, err
}

func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
