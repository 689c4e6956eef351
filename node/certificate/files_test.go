package certificate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write puts a certificate and its key into the files of dir.
func write(t *testing.T, dir string, pair *tls.Certificate) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func issue(t *testing.T, host string, now time.Time) *tls.Certificate {
	t.Helper()
	a, err := OpenAuthority(t.TempDir(), host, now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := a.sign(now)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestFilesAreRenewed(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	first, second := issue(t, "e2b.example", now), issue(t, "e2b.example", now)
	cert, key := write(t, dir, first)
	var log bytes.Buffer
	f, err := OpenFiles(cert, key, "e2b.example", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	f.now = func() time.Time { return now }
	serves := func(want *tls.Certificate) {
		t.Helper()
		now = now.Add(lookInterval)
		if got, err := f.GetCertificate(nil); err != nil || !bytes.Equal(got.Certificate[0], want.Certificate[0]) {
			t.Errorf("another certificate, %v", err)
		}
	}
	serves(first)
	write(t, dir, second)
	if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	serves(first)
	if !strings.Contains(log.String(), "cannot be used") {
		t.Errorf("log: %s", log.String())
	}
	for _, bad := range []*tls.Certificate{issue(t, "other.example", now), issue(t, "e2b.example", now.Add(-leafTime-time.Hour)),
		issue(t, "e2b.example", now.Add(2*backdate))} {
		write(t, dir, bad)
		serves(first)
	}
	write(t, dir, second)
	serves(second)
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	serves(second)
}

func TestFilesAreChecked(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	cert, key := write(t, dir, issue(t, "e2b.example", now))
	log := slog.New(slog.DiscardHandler)
	if _, err := OpenFiles(cert, key, "", log); err != nil {
		t.Errorf("without a domain: %v", err)
	}
	if _, err := OpenFiles(cert, key, "other.example", log); err == nil || !strings.Contains(err.Error(), "not for api.other.example") {
		t.Errorf("another domain: %v", err)
	}
	if _, err := OpenFiles(cert, cert, "e2b.example", log); err == nil {
		t.Error("a certificate was accepted as a key")
	}
	if _, err := OpenFiles(filepath.Join(dir, "none"), key, "e2b.example", log); err == nil {
		t.Error("no such file")
	}
	cert, key = write(t, dir, issue(t, "e2b.example", now.Add(-leafTime-time.Hour)))
	if _, err := OpenFiles(cert, key, "e2b.example", log); err == nil || !strings.Contains(err.Error(), "ended on") {
		t.Errorf("a certificate whose time is over: %v", err)
	}
	cert, key = write(t, dir, issue(t, "e2b.example", now.Add(2*backdate)))
	if _, err := OpenFiles(cert, key, "e2b.example", log); err == nil || !strings.Contains(err.Error(), "begins at") {
		t.Errorf("a certificate whose time has not begun: %v", err)
	}
}
