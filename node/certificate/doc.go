// Package certificate has the certificates that the daemon serves TLS with: of an
// authority that belongs to this state directory, or from files that somebody else
// renews.
//
// It may import the standard library and renameio; node/daemon and commands import it.
package certificate

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

// Source gives the certificate of each handshake. It is safe for concurrent use.
type Source interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Server is the configuration of a listener with certificates of a source: TLS 1.2 or
// later, and HTTP/2 before HTTP/1.1.
func Server(source Source) *tls.Config {
	return &tls.Config{GetCertificate: source.GetCertificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}

// SplitDomain is the host name of a domain, in lower case, and its port; empty if it has none.
func SplitDomain(domain string) (host, port string) {
	host, port, err := net.SplitHostPort(domain)
	if err != nil {
		host, port = domain, ""
	}
	return strings.ToLower(host), port
}

// labels is a host name of two labels or more, in lower case. Clients accept no wildcard
// directly below a top-level domain.
var labels = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// maxHost leaves room for the label of a sandbox before it, in a name of 253 bytes.
const maxHost = 253 - 64

// CheckHost refuses a domain, without a port, below which sandboxes cannot have names.
func CheckHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return fmt.Errorf("domain %q is an address; sandboxes need names below it", host)
	}
	if len(host) > maxHost || !labels.MatchString(strings.ToLower(host)) {
		return fmt.Errorf("domain %.100q must be a host name with a dot in it, such as e2b.localhost", host)
	}
	return nil
}
