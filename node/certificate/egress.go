package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
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

// OpenEgress returns the authority whose files are in dir. It makes them if there are none, or none that can be used: those are
// set aside under a name with a date. Sandboxes trust another one from their next start on, or from that of the daemon.
func OpenEgress(dir string, now func() time.Time) (*Egress, error) {
	a := &Authority{}
	err := a.open(dir, now())
	if err != nil {
		aside := filepath.Join(dir, "unusable-"+now().UTC().Format("20060102T150405.000000000")+".pem")
		if os.Rename(filepath.Join(dir, authorityFile), aside) == nil {
			a = &Authority{}
			err = a.open(dir, now())
		}
	}
	if err != nil {
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
