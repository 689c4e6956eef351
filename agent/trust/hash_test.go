//go:build linux

package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// authority makes a certificate.
func authority(t *testing.T, name pkix.Name) (text string, c *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), c
}

// The hash is OpenSSL's, which CI has.
func TestTheHashIsThatOfOpenSSL(t *testing.T) {
	for _, name := range []pkix.Name{
		{CommonName: "Rundlet egress CA", Organization: []string{"Rundlet"}},
		{CommonName: "  Two  Spaces\tand CASE "}, {CommonName: "Ümläut ÄÖ"}, {CommonName: "a", Country: []string{"DE", "FR"}, Locality: []string{"x"}},
		{CommonName: "*.at@sign_"},
	} {
		text, c := authority(t, name)
		cmd := exec.CommandContext(t.Context(), "openssl", "x509", "-noout", "-hash")
		cmd.Stdin = strings.NewReader(text)
		want, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := subjectHash(c)
		if err != nil || fmt.Sprintf("%08x", got) != strings.TrimSpace(string(want)) {
			t.Errorf("%v: %08x, %v, want %s", name, got, err, want)
		}
	}
}
