package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/internal/halfclose"
)

// DialPort connects to a TCP port of a sandbox through the server, also to a program that listens on the
// sandbox's loopback only. A paused sandbox is resumed if it has auto-resume. The connection has CloseWrite, which ends the
// sending side, and Reset, which breaks it off; it belongs to the caller. ctx bounds the dial and not the connection. An *Error says why
// the server refused, with 502 if no program listens on the port or the sandbox is gone. It needs an *http.Transport in API.HTTP, or none, and
// respects its Proxy, DialContext and TLSClientConfig.
func (a API) DialPort(ctx context.Context, sandboxID string, port uint16) (net.Conn, error) {
	to, err := url.Parse(a.URL)
	if err != nil {
		return nil, err
	}
	transport, ok := a.http().Transport.(*http.Transport)
	if a.http().Transport == nil {
		transport, ok = http.DefaultTransport.(*http.Transport)
	}
	if !ok {
		return nil, fmt.Errorf("dial port %d: the transport is a %T, not an *http.Transport", port, a.http().Transport)
	}
	conn, err := dialServer(ctx, transport, to)
	if err != nil {
		return nil, err
	}
	return openTunnel(ctx, conn, net.JoinHostPort(sandboxID, strconv.Itoa(int(port))), http.Header{"X-Api-Key": {a.Key}})
}

// dialServer connects to the server of a URL, through a proxy if the transport has one for it.
func dialServer(ctx context.Context, transport *http.Transport, to *url.URL) (net.Conn, error) {
	var via *url.URL
	if transport.Proxy != nil {
		var err error
		if via, err = transport.Proxy(&http.Request{URL: to, Header: http.Header{}}); err != nil {
			return nil, err
		}
	}
	if via == nil {
		return dialURL(ctx, transport, to)
	}
	if via.Scheme != "http" && via.Scheme != "https" {
		return nil, fmt.Errorf("the proxy %s cannot be used for a tunnel: only http and https are supported", via.Redacted())
	}
	conn, err := dialURL(ctx, transport, via)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", via.Redacted(), err)
	}
	header := http.Header{}
	if via.User != nil {
		password, _ := via.User.Password()
		login := &http.Request{Header: http.Header{}}
		login.SetBasicAuth(via.User.Username(), password)
		header.Set("Proxy-Authorization", login.Header.Get("Authorization"))
	}
	if conn, err = openTunnel(ctx, conn, hostPort(to), header); err != nil {
		return nil, fmt.Errorf("proxy %s: %w", via.Redacted(), err)
	}
	return handshake(ctx, transport, conn, to)
}

// dialURL connects to the host of a URL.
func dialURL(ctx context.Context, transport *http.Transport, to *url.URL) (net.Conn, error) {
	dial := transport.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", hostPort(to))
	if err != nil {
		return nil, err
	}
	return handshake(ctx, transport, conn, to)
}

// handshake begins TLS if the URL says so. It closes conn if it fails.
func handshake(ctx context.Context, transport *http.Transport, conn net.Conn, to *url.URL) (net.Conn, error) {
	if to.Scheme != "https" {
		return conn, nil
	}
	config := transport.TLSClientConfig.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName = to.Hostname()
	}
	config.NextProtos = []string{"http/1.1"} // HTTP/2 cannot end one side of a tunnel.
	encrypted := tls.Client(conn, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return encrypted, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// maxRefusal bounds the body of a refused CONNECT, in bytes.
const maxRefusal = 64 << 10

// openTunnel asks the server at the other end of conn for a tunnel. It closes conn if it fails.
func openTunnel(ctx context.Context, conn net.Conn, target string, header http.Header) (_ net.Conn, err error) {
	interrupted := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer func() {
		if !interrupted() {
			err = context.Cause(ctx)
		}
		if err != nil {
			conn.Close()
		}
	}()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: header}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, fmt.Errorf("CONNECT %s: %w", target, err)
	}
	if resp.StatusCode != http.StatusOK { // Otherwise what follows is not a body.
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // Without it the status is the message.
		return nil, refused(resp, body)
	}
	return &tunnel{conn, r}, nil
}

// tunnel is a connection of which more than the answer to CONNECT may have been read.
type tunnel struct {
	net.Conn
	read *bufio.Reader
}

func (t *tunnel) Read(b []byte) (int, error) { return t.read.Read(b) }

// Reset closes it so that the peer does not take that for a regular end: TLS would announce one.
func (t *tunnel) Reset() {
	below := t.Conn
	if encrypted, ok := below.(*tls.Conn); ok {
		below = encrypted.NetConn()
	}
	halfclose.Break(below)
	_ = below.Close()
}

// CloseWrite ends the sending side.
func (t *tunnel) CloseWrite() error {
	return halfclose.Write(t.Conn, t.Close)
}
