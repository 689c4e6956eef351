package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// verify is what a client does that trusts the file of roots.
func verify(t *testing.T, file string, pair *tls.Certificate, name string, now time.Time) error {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		t.Fatalf("no certificates in %s", file)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now})
	return err
}

func TestLocalCertificates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	a, err := OpenAuthority(dir, "E2B.localhost", start)
	if err != nil {
		t.Fatal(err)
	}
	now := start
	source := NewLocal(a)
	source.now = func() time.Time { return now }
	first, err := source.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{a.Root, a.Bundle} {
		for _, name := range []string{"e2b.localhost", "api.e2b.localhost", "49983-i0.e2b.localhost", "127.0.0.1", "::1"} {
			if err := verify(t, file, first, name, now); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range []string{"a.b.e2b.localhost", "e2b.app", "localhost", "10.0.0.1"} {
			if err := verify(t, file, first, name, now); err == nil {
				t.Errorf("it is valid for %s", name)
			}
		}
	}
	if again, _ := source.GetCertificate(nil); again != first {
		t.Error("each handshake makes a certificate")
	}
	now = start.Add(leafTime - leafRest + time.Second)
	renewed, err := source.GetCertificate(nil)
	if err != nil || renewed == first || verify(t, a.Root, renewed, "api.e2b.localhost", now) != nil {
		t.Errorf("not renewed before its end: %v", err)
	}
	now = start.Add(-30 * 24 * time.Hour)
	if old, err := source.GetCertificate(nil); err != nil || old == renewed {
		t.Errorf("the clock went back, and the certificate is not valid yet: %v", err)
	}
}

// The authority is in the trust store of machines, so it must be able to sign for
// its domain only.
func TestAuthorityIsBoundToItsDomain(t *testing.T) {
	a, err := OpenAuthority(t.TempDir(), "e2b.localhost", start)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"bank.example", "e2b.localhost.evil.example", "xe2b.localhost"} {
		stolen := &Authority{host: host, cert: a.cert, key: a.key}
		pair, err := stolen.sign(start)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(t, a.Root, pair, host, start); err == nil {
			t.Errorf("clients accept its certificate for %s", host)
		}
	}
}

// Nor can it sign mail, programs or clients.
func TestAuthorityIsForServersOnly(t *testing.T) {
	a, err := OpenAuthority(t.TempDir(), "e2b.localhost", start)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	for usage, template := range map[x509.ExtKeyUsage]*x509.Certificate{
		x509.ExtKeyUsageEmailProtection: {EmailAddresses: []string{"ceo@bank.example"}},
		x509.ExtKeyUsageCodeSigning:     {},
		x509.ExtKeyUsageClientAuth:      {DNSNames: []string{"api.e2b.localhost"}},
		x509.ExtKeyUsageServerAuth:      {EmailAddresses: []string{"ceo@bank.example"}, DNSNames: []string{"api.e2b.localhost"}},
	} {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), start, start.Add(time.Hour)
		template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
		der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{usage}}); err == nil {
			t.Errorf("clients accept what it signs for usage %d and %q", usage, template.EmailAddresses)
		}
	}
}

// A clock that was ahead for one start has ended the authority; the error says where it is.
// Nothing overwrites it, and each that takes its place is reported.
func TestAnAuthorityOfTheFutureIsRefused(t *testing.T) {
	dir := t.TempDir()
	first, err := OpenAuthority(dir, "e2b.localhost", start)
	if err != nil || first.Renewed {
		t.Fatalf("%v", err)
	}
	file := filepath.Join(dir, authorityFile)
	for years := range time.Duration(3) {
		if late, err := OpenAuthority(dir, "e2b.localhost", start.Add((2+years)*authorityTime)); err != nil || !late.Renewed {
			t.Fatalf("%v", err)
		}
	}
	if _, err := OpenAuthority(dir, "e2b.localhost", start); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, formerFiles)) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(file); err != nil { // As if the process had died before it made the next.
		t.Fatal(err)
	}
	if next, err := OpenAuthority(dir, "e2b.localhost", start); err != nil || !next.Renewed {
		t.Errorf("one that takes the place of a former one is not reported: %v", err)
	}
	if err := os.Rename(filepath.Join(dir, "former-"+first.Fingerprint()[:8]+".pem"), file); err != nil {
		t.Fatal(err)
	}
	if back, err := OpenAuthority(dir, "e2b.localhost", start); err != nil || back.Fingerprint() != first.Fingerprint() || back.Renewed {
		t.Errorf("the first does not come back: %v", err)
	}
}

func TestAuthorityIsKept(t *testing.T) {
	dir := t.TempDir()
	open := func(now time.Time) *Authority {
		t.Helper()
		a, err := OpenAuthority(dir, "e2b.localhost", now)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := open(start)
	if again := open(start.Add(9 * 365 * 24 * time.Hour)); again.Fingerprint() != first.Fingerprint() || again.Renewed {
		t.Error("a start makes another authority")
	}
	if late := open(start.Add(authorityTime - authorityRest + time.Hour)); late.Fingerprint() == first.Fingerprint() || !late.Renewed {
		t.Error("not renewed before its end")
	}
	file := filepath.Join(dir, authorityFile)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key is readable by others: %v %v", info, err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenAuthority(t.TempDir(), "e2b.localhost", start)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(filepath.Dir(other.Root), authorityFile))
	if err != nil {
		t.Fatal(err)
	}
	key, _, _ := strings.Cut(string(good), "-----BEGIN CERT")
	_, cert, _ := strings.Cut(string(foreign), "-----BEGIN CERT")
	for name, damaged := range map[string]string{
		"empty": "", "half": string(good[:len(good)/2]), "garbage": strings.Repeat("x", 300),
		"two authorities": key + "-----BEGIN CERT" + cert,
	} {
		if err := os.WriteFile(file, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenAuthority(dir, "e2b.localhost", start); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
		if kept, _ := os.ReadFile(file); string(kept) != damaged {
			t.Errorf("%s: the file was replaced", name)
		}
	}
}

func TestCheckHost(t *testing.T) {
	for _, host := range []string{"e2b.localhost", "sandboxes.example.com", "E2B.Localhost", "xn--bcher-kva.example"} {
		if err := CheckHost(host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"", "localhost", "127.0.0.1", "::1", "a b.c", "*.e2b.localhost", ".e2b.localhost", "e2b.localhost.", "-a.b", "a..b", strings.Repeat("a.", 120) + "bc", "a.b:8443", "a.1"} {
		if err := CheckHost(host); err == nil {
			t.Errorf("%q is accepted", host)
		}
	}
}

// Server speaks HTTP/2 first, and nothing older than TLS 1.2.
func TestServer(t *testing.T) {
	a, err := OpenAuthority(t.TempDir(), "e2b.localhost", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	root, _ := os.ReadFile(a.Root)
	pool.AppendCertsFromPEM(root)
	for _, c := range []struct {
		client *tls.Config
		proto  string
		ok     bool
	}{
		{&tls.Config{NextProtos: []string{"http/1.1", "h2"}}, "h2", true},
		{&tls.Config{NextProtos: []string{"http/1.1"}}, "http/1.1", true},
		{&tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, "", false},
	} {
		there, here := net.Pipe()
		go func() {
			_ = tls.Server(there, Server(NewLocal(a))).Handshake()
			_, _ = there.Read(make([]byte, 1))
			there.Close()
		}()
		c.client.RootCAs, c.client.ServerName = pool, "api.e2b.localhost"
		conn := tls.Client(here, c.client)
		err := conn.Handshake()
		if (err == nil) != c.ok || conn.ConnectionState().NegotiatedProtocol != c.proto {
			t.Errorf("%v: %v, %q", c.client.NextProtos, err, conn.ConnectionState().NegotiatedProtocol)
		}
		here.Close()
	}
}
