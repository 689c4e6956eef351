package egress

import (
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/sandbox"
)

// The bounds of a proxy are E2B's: the bytes of a user name and of a password, which are those of RFC 1929, and of authorities.
const (
	MaxProxyUser        = 255
	MaxProxyAuthorities = 8192
)

// Proxy is a SOCKS5 proxy. The zero value is none, and others have a host.
type Proxy struct {
	// Host is a host name in lower case and without a last dot, or an address of IPv4.
	Host               string
	Port               uint16
	Username, Password string
	// TLS is whether the connection to the proxy is encrypted. ServerName is the name that its certificate must have, or empty for
	// Host, and Authorities are those that it is checked by, as PEM, or empty for the node's.
	TLS                     bool
	ServerName, Authorities string
}

// parseProxy checks a proxy. No error has the password, nor an address that may be a URL with one.
func parseProxy(p *sandbox.Proxy) (Proxy, error) {
	if p == nil {
		return Proxy{}, nil
	}
	if strings.ContainsAny(p.Address, "@/") {
		return Proxy{}, invalid("egressProxy: the address is HOST:PORT, not an address or a host name with a scheme or a user")
	}
	at := strings.LastIndexByte(p.Address, ':')
	if at < 0 || strings.HasSuffix(p.Address, "]") {
		return Proxy{}, invalid("egressProxy: %.80q is not HOST:PORT", p.Address)
	}
	host, number := p.Address[:at], p.Address[at+1:]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil || port == 0 {
		return Proxy{}, invalid("egressProxy: %.20q is not a port", number)
	}
	if host, err = proxyHost(host); err != nil {
		return Proxy{}, err
	}
	switch {
	case len(p.Username) > MaxProxyUser || len(p.Password) > MaxProxyUser:
		return Proxy{}, invalid("egressProxy: a user name and a password have at most %d bytes", MaxProxyUser)
	case p.Username == "" && p.Password != "":
		return Proxy{}, invalid("egressProxy: a password needs a user name")
	}
	out := Proxy{Host: host, Port: uint16(port), Username: p.Username, Password: p.Password}
	if p.TLS == nil {
		return out, nil
	}
	out.TLS, out.ServerName, out.Authorities = true, strings.ToLower(p.TLS.ServerName), strings.TrimSpace(p.TLS.CACert)
	if out.ServerName != "" {
		if _, err := netip.ParseAddr(out.ServerName); err != nil && (!isName(out.ServerName) || strings.Contains(out.ServerName, "*")) {
			return Proxy{}, invalid("egressProxy.tls: %.80q is not the name of a server", p.TLS.ServerName)
		}
	}
	return out, checkAuthorities(out.Authorities)
}

// proxyHost reads the host of a proxy. An address of IPv4 that is written as IPv6 is of IPv4.
func proxyHost(host string) (string, error) {
	a, err := netip.ParseAddr(host)
	switch {
	case err == nil && a.Unmap().Is4():
		return a.Unmap().String(), nil
	case err == nil:
		return "", invalid("egressProxy: %.80q is an address of IPv6, and proxies are reached by IPv4", host)
	case !isName(host) || strings.Contains(host, "*"):
		return "", invalid("egressProxy: %.80q is not an address or a host name", host)
	}
	return strings.TrimSuffix(strings.ToLower(host), "."), nil
}

// checkAuthorities reports what is not certificates as PEM and nothing else.
func checkAuthorities(text string) error {
	if len(text) > MaxProxyAuthorities {
		return invalid("egressProxy.tls: caCert has %d bytes, and at most %d are accepted", len(text), MaxProxyAuthorities)
	}
	for rest := []byte(text); len(rest) > 0; {
		var block *pem.Block
		// One with headers is not among the authorities that crypto/x509 reads.
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return invalid("egressProxy.tls: caCert is not certificates as PEM")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return invalid("egressProxy.tls: a certificate of caCert cannot be read: %w", err)
		}
	}
	return nil
}
