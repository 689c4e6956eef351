// Package socks connects through SOCKS5 proxies (RFC 1928), with a user name and a password if they have one (RFC 1929),
// over TLS if that is wanted. It knows no guest and no policy, and how a proxy itself is reached is its caller's.
package socks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/net/proxy"
)

// Proxy is a SOCKS5 proxy. The zero value is none. Two are the same if they are equal.
type Proxy struct {
	// Host is a host name in lower case, or an address of IPv4.
	Host string
	Port uint16
	// Username and Password are sent if there is a user name, each of at most 255 bytes.
	Username, Password string
	// TLS is whether the connection to the proxy is encrypted; its certificate must then be right for ServerName, or for
	// Host if that is empty. Authorities are those that it is checked by, as PEM; empty is the caller's.
	TLS                     bool
	ServerName, Authorities string
}

// Addr is the proxy's address, if it is not known by a name.
func (p Proxy) Addr() (netip.Addr, bool) {
	a, err := netip.ParseAddr(p.Host)
	return a, err == nil
}

// Through makes a connection to a target, which is HOST:PORT, of one to the proxy. The proxy resolves the host if it is a
// name. The caller owns what is returned; after an error, raw is closed. No error has the password.
func (p Proxy) Through(ctx context.Context, raw net.Conn, roots *x509.CertPool, target string) (net.Conn, error) {
	c, err := p.through(ctx, raw, roots, target)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("proxy %s: %w", net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))), err), raw.Close())
	}
	return c, nil
}

func (p Proxy) through(ctx context.Context, raw net.Conn, roots *x509.CertPool, target string) (net.Conn, error) {
	c := raw
	if p.TLS {
		name := p.ServerName
		if name == "" {
			name = p.Host
		}
		if p.Authorities != "" {
			roots = x509.NewCertPool()
			if !roots.AppendCertsFromPEM([]byte(p.Authorities)) {
				return nil, errors.New("no authority can be read")
			}
		}
		t := tls.Client(raw, &tls.Config{ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12})
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c = t
	}
	var auth *proxy.Auth
	if p.Username != "" {
		auth = &proxy.Auth{User: p.Username, Password: p.Password}
	}
	d, err := proxy.SOCKS5("tcp", "", auth, nil)
	if err != nil {
		return nil, err
	}
	// It speaks over a connection that is there, so that what is returned is that and no wrapper, which could not be
	// closed in one direction.
	over, ok := d.(interface {
		DialWithConn(ctx context.Context, c net.Conn, network, address string) (net.Addr, error)
	})
	if !ok {
		return nil, errors.New("the library cannot use a connection that is there")
	}
	if _, err := over.DialWithConn(ctx, c, "tcp", target); err != nil {
		return nil, err
	}
	return c, nil
}
