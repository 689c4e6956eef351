package certificate

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

const (
	// authorityTime is how long an authority is valid, and authorityRest what is left of
	// it when another takes its place: users have to trust the new one.
	authorityTime = 10 * 365 * 24 * time.Hour
	authorityRest = 180 * 24 * time.Hour
	// backdate is how much a clock of a client may be behind.
	backdate = 24 * time.Hour

	authorityFile = "authority.pem" // The key and the certificate.
	formerFiles   = "former-*.pem"  // Those before, with the beginning of their fingerprints: a wrong clock may have ended them.
	rootFile      = "ca.pem"        // The certificate alone.
	bundleFile    = "bundle.pem"    // The certificate and those that this machine trusts.
)

// Authority signs certificates of one domain. It can sign for no other name: a thief of its
// key can pose as no other site to clients that trust it.
type Authority struct {
	// Root is the file of its certificate, and Bundle one of that and the roots that
	// this machine trusts, for programs that know one file only. Both are PEM.
	Root, Bundle string
	// Renewed says that OpenAuthority made it, and that clients trust one before it.
	Renewed bool

	host string // Empty for that of an Egress, which signs for all.
	cert *x509.Certificate
	key  crypto.Signer
}

// OpenAuthority returns the authority of a host name whose files are in dir. It makes
// them if there are none. The files of an authority that cannot be read are not
// replaced, since users trust it.
func OpenAuthority(dir, host string, now time.Time) (*Authority, error) {
	host = strings.ToLower(host)
	if err := CheckHost(host); err != nil {
		return nil, err
	}
	a := &Authority{Root: filepath.Join(dir, rootFile), Bundle: filepath.Join(dir, bundleFile), host: host}
	if err := a.open(dir, now); err != nil {
		return nil, err
	}
	root := a.pem()
	if err := replace(a.Root, root, 0o644); err != nil {
		return nil, err
	}
	return a, replace(a.Bundle, append(systemRoots(), root...), 0o644)
}

// pem is its certificate as text.
func (a *Authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// open reads the files of the authority, or makes them.
func (a *Authority) open(dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, authorityFile)
	switch err := a.read(file); {
	case err == nil && now.Before(a.cert.NotBefore):
		return fmt.Errorf("%s is valid from %s on, and now it is %s: set the clock, or put one of %s back", file,
			a.cert.NotBefore.Format(time.DateOnly), now.Format(time.DateOnly), filepath.Join(dir, formerFiles))
	case err == nil && now.Add(authorityRest).After(a.cert.NotAfter):
		former := strings.Replace(formerFiles, "*", a.Fingerprint()[:8], 1)
		if err := os.Rename(file, filepath.Join(dir, former)); err != nil {
			return err
		}
		a.cert = nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if a.cert == nil {
		if err := a.make(file, now); err != nil {
			return fmt.Errorf("make an authority for %s: %w", cmp.Or(a.host, "requests of sandboxes"), err)
		}
		former, err := fs.Glob(os.DirFS(dir), formerFiles)
		if err != nil {
			return err
		}
		a.Renewed = len(former) > 0
	}
	return nil
}

// ReadAuthority returns the authority of a host name whose files are in dir, as
// OpenAuthority left it. The error is fs.ErrNotExist if there is none.
func ReadAuthority(dir, host string) (*Authority, error) {
	a := &Authority{Root: filepath.Join(dir, rootFile), Bundle: filepath.Join(dir, bundleFile), host: host}
	return a, a.read(filepath.Join(dir, authorityFile))
}

// Certificate is that of the authority; it must not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Fingerprint is the SHA-256 of the certificate, in hex.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}

func (a *Authority) read(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := a.parse(data); err != nil {
		return fmt.Errorf("%s: %w; remove it to make another, which clients have to trust anew", file, err)
	}
	return nil
}

func (a *Authority) parse(data []byte) error {
	key, rest := pem.Decode(data)
	cert, _ := pem.Decode(rest)
	if key == nil || cert == nil {
		return errors.New("no key and certificate in it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key.Bytes)
	if err != nil {
		return err
	}
	signer, ok := parsed.(*ecdsa.PrivateKey)
	if a.cert, err = x509.ParseCertificate(cert.Bytes); err != nil {
		return err
	}
	if public, same := a.cert.PublicKey.(*ecdsa.PublicKey); !ok || !same || !signer.PublicKey.Equal(public) || !a.cert.IsCA {
		return errors.New("its key and certificate are not those of one authority")
	}
	a.key = signer
	return nil
}

func (a *Authority) make(file string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: egressName, Organization: []string{"Rundlet"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityTime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if a.host != "" {
		template.Subject.CommonName = "Rundlet CA for " + a.host
		template.PermittedDNSDomainsCritical, template.PermittedDNSDomains, template.PermittedIPRanges = true, []string{a.host}, loopback()
		// What is permitted of a kind excludes the rest of it.
		template.PermittedEmailAddresses, template.PermittedURIDomains = []string{a.host}, []string{a.host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	a.key = key
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	return replace(file, data, 0o600)
}

// replace writes a file as a whole, by one of another name in the same directory.
func replace(file string, data []byte, perm fs.FileMode) error {
	return renameio.WriteFile(file, data, perm, renameio.WithTempDir(filepath.Dir(file)))
}

// loopback is this machine, as its programs see it.
func loopback() []*net.IPNet {
	return []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}}
}
