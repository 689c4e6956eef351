package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"sync"
	"time"
)

const (
	// leafTime is how long a certificate is valid, and leafRest what is left of it when
	// another takes its place. It is only in memory: a restart makes another.
	leafTime = 90 * 24 * time.Hour
	leafRest = 30 * 24 * time.Hour
)

// Local is a Source of certificates of an authority: for its host name, all names one
// label below it, and this machine itself.
type Local struct {
	authority *Authority
	now       func() time.Time

	mu   sync.Mutex
	leaf *tls.Certificate // guarded by mu
}

// NewLocal returns a source that signs with a.
func NewLocal(a *Authority) *Local { return &Local{authority: a, now: time.Now} }

// GetCertificate implements Source. It makes a new certificate before the last ends, and
// when the clock says that the last is not valid yet.
func (l *Local) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.leaf != nil && now.After(l.leaf.Leaf.NotBefore) && now.Add(leafRest).Before(l.leaf.Leaf.NotAfter) {
		return l.leaf, nil
	}
	leaf, err := l.authority.sign(now)
	if err != nil {
		return nil, err
	}
	l.leaf = leaf
	return leaf, nil
}

func (a *Authority) sign(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return a.certify(key, now, &x509.Certificate{
		Subject:     pkix.Name{CommonName: a.host, Organization: []string{"Rundlet"}},
		DNSNames:    []string{a.host, "*." + a.host},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	})
}

// certify signs the certificate of a server, whose names template has.
func (a *Authority) certify(key *ecdsa.PrivateKey, now time.Time, template *x509.Certificate) (*tls.Certificate, error) {
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(leafTime)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// The authority comes with it, for clients that were given its fingerprint only.
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: parsed}, nil
}
