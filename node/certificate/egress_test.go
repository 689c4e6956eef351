package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEgressSignsForAnyHost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "egress")
	now := time.Now()
	e, err := OpenEgress(dir, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(e.PEM())) {
		t.Fatal(e.PEM())
	}
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61)
	for _, host := range []string{"api.example.com", "a_b.example", "localhost", long} {
		c, err := e.Certify(host)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		for at, right := range map[time.Duration]bool{0: true, -backdate / 2: true, leafTime - time.Hour: true, leafTime + time.Hour: false} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now.Add(at)}); (err == nil) != right {
				t.Errorf("%.20s after %v: %v", host, at, err)
			}
		}
		openssl(t, e.PEM(), leaf, host)
		if err := leaf.VerifyHostname("other.example"); err == nil || leaf.IsCA {
			t.Errorf("%.20s: it is for others, too", host)
		}
	}
	// It stays, and its key is root's.
	again, err := OpenEgress(dir, func() time.Time { return now })
	if err != nil || again.PEM() != e.PEM() {
		t.Errorf("another authority, %v", err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		info, e := d.Info()
		if e == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return errors.Join(err, e)
	})
	if err != nil {
		t.Error(err)
	}
	now = now.Add(authorityTime - authorityRest + time.Hour)
	if renewed, err := OpenEgress(dir, func() time.Time { return now }); err != nil || renewed.PEM() == e.PEM() {
		t.Errorf("it is not renewed, %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, authorityFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, err := OpenEgress(dir, time.Now); err != nil || other.PEM() == e.PEM() {
		t.Errorf("one that cannot be read: %v", err)
	}
	aside, err := filepath.Glob(filepath.Join(dir, "unusable-*.pem"))
	if err != nil || len(aside) != 1 {
		t.Fatalf("%q, %v", aside, err)
	}
	if b, err := os.ReadFile(aside[0]); err != nil || string(b) != "x" {
		t.Errorf("set aside: %q, %v", b, err)
	}
}

// openssl verifies a certificate of a host with the program of this machine.
func openssl(t *testing.T, root string, leaf *x509.Certificate, host string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string][]byte{"root": []byte(root), "leaf": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, right := range map[string]bool{host: true, "other.example": false} {
		out, err := exec.CommandContext(t.Context(), "openssl", "verify", "-no-CApath", "-no-CAstore", "-x509_strict", "-purpose", "sslserver",
			"-CAfile", filepath.Join(dir, "root"), "-verify_hostname", name, filepath.Join(dir, "leaf")).CombinedOutput()
		if (err == nil) != right {
			t.Errorf("openssl for %.20s: %v, %s", name, err, out)
		}
	}
}
