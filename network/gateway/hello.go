package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

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

// passTLS passes on a connection that begins a TLS handshake. open is whether it may go where the guest wants anyway.
func (c *conn) passTLS(guest *lean, open bool) {
	hello, sent, err := readHello(guest, c.undecided)
	if errors.Is(err, errLost) && !(open && errors.Is(err, os.ErrDeadlineExceeded)) {
		return
	}
	guest.first = sent
	host, _ := hostname.Canonical(hello.name)
	switch {
	case err == nil && c.headers(host) != nil && (c.allowed(host) || open):
		c.intercept(guest, host, hello.protocols)
	case open:
		c.join(guest, "")
	case err != nil || host == "" || hello.hidden || !c.allowed(host):
		c.gw.Guests.Refused(c.guest, host, c.to)
		alert := byte(accessDenied)
		if host == "" {
			alert = unrecognizedName
		}
		_, _ = c.raw.Write([]byte{0x15, 3, 1, 0, 2, 2, alert}) // A record of one fatal alert.
	default:
		c.join(guest, host)
	}
}

// hello is what a ClientHello says: the server name, whether there may be another one encrypted in it, and the protocols
// that the guest speaks over TLS.
type hello struct {
	name      string
	hidden    bool
	protocols []string
}

// readHello reads a ClientHello. It returns all that was read. count is called for what is read, and may end it.
func readHello(from net.Conn, count func(n int) error) (h hello, read []byte, err error) {
	r := &recorder{Conn: from, count: count}
	err = tls.Server(r, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(in *tls.ClientHelloInfo) (*tls.Config, error) {
		h = hello{in.ServerName, slices.Contains(in.Extensions, encryptedClientHello), in.SupportedProtos}
		return nil, errRead
	}}).HandshakeContext(context.Background()) // What ends the connection ends it.
	switch {
	case errors.Is(err, errRead):
		err = nil
	case r.lost:
		err = fmt.Errorf("%w: %w", errLost, r.err)
	}
	return h, r.read, err
}

// recorder keeps what is read, and writes nothing.
type recorder struct {
	net.Conn
	read  []byte
	lost  bool
	err   error // Of the last Read.
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
	r.lost, r.err = err != nil, err
	return n, err
}

func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
