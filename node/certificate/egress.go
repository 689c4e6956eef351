package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// egressName is the same for every node: a guest that moves has one of them in its stores.
const egressName = "Rundlet egress CA"

// Egress is the authority by which the node sets headers in the TLS of sandboxes: it signs certificates for any host. Sandboxes with
// such rules trust it, and nothing else should. Safe for concurrent use.
type Egress struct {
	authority *Authority
	key       *ecdsa.PrivateKey // Of all certificates that it signs; a restart makes another.
	now       func() time.Time
}

// OpenEgress returns the authority whose files are in dir. It makes them if there are none. One that cannot be read is not
// replaced, as with OpenAuthority.
func OpenEgress(dir string, now func() time.Time) (*Egress, error) {
	a := &Authority{}
	if err := a.open(dir, now()); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Egress{authority: a, key: key, now: now}, nil
}

// PEM is the certificate of the authority.
func (e *Egress) PEM() string { return string(e.authority.pem()) }

// Certify makes a certificate for a host.
func (e *Egress) Certify(host string) (*tls.Certificate, error) {
	c, err := e.authority.certify(e.key, e.now(), &x509.Certificate{DNSNames: []string{host}})
	if err != nil {
		return nil, fmt.Errorf("sign a certificate for %s: %w", host, err)
	}
	return c, nil
}
