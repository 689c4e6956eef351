//go:build linux

package agent_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/envd"
)

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTrust(t *testing.T) {
	g := newGuest(t)
	text := certificate(t)
	status := func(err error) int {
		var s *envd.StatusError
		errors.As(err, &s)
		if s == nil {
			return 0
		}
		return s.Status
	}
	if err := envd.Trust(t.Context(), g.dial, "", text); status(err) != http.StatusConflict {
		t.Errorf("an agent that is not initialised: %v", err)
	}
	g.init(t, envd.InitRequest{ControlToken: "c", AccessToken: "a", Env: map[string]string{"SSL_CERT_FILE": "/mine", "K": "v"}})
	if err := envd.Trust(t.Context(), g.dial, "other", text); !errors.Is(err, envd.ErrUnauthorized) {
		t.Errorf("another token: %v", err)
	}
	if err := envd.Trust(t.Context(), g.dial, "c", "no certificate"); status(err) != http.StatusBadRequest {
		t.Errorf("no certificate: %v", err)
	}
	g.write(t, "etc/ssl/certs/ca-certificates.crt", "roots\n")
	if err := envd.Trust(t.Context(), g.dial, "c", text); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(g.root + "/etc/ssl/certs/ca-certificates.crt"); err != nil || !strings.HasPrefix(string(b), "roots\n") || !strings.Contains(string(b), text) {
		t.Errorf("the store has %q, %v", b, err)
	}
	env := func() string {
		_, text := g.do(t, "GET", "/envs", map[string]string{"X-Access-Token": "a"}, nil)
		return text
	}
	for _, want := range []string{`"SSL_CERT_FILE":"/mine"`, `"K":"v"`, `"NODE_EXTRA_CA_CERTS":"/usr/local/share/ca-certificates/rundlet-egress.crt"`, `"REQUESTS_CA_BUNDLE":"/etc/ssl/certs/ca-certificates.crt"`} {
		if got := env(); !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	// It stays through a restore, and is not that of another sandbox.
	g.init(t, envd.InitRequest{CurrentToken: "c", ControlToken: "c", AccessToken: "a", Restored: true})
	if got := env(); !strings.Contains(got, "NODE_EXTRA_CA_CERTS") {
		t.Errorf("after a restore: %s", got)
	}
	g.init(t, envd.InitRequest{CurrentToken: "c", ControlToken: "c", AccessToken: "a"})
	if got := env(); strings.Contains(got, "NODE_EXTRA_CA_CERTS") {
		t.Errorf("of another sandbox: %s", got)
	}
	if !envd.HostOnly(envd.TrustPath) {
		t.Error("a proxy carries it from outside")
	}
}

// A Java that cannot be changed is reported, and costs the guest nothing else. The sandbox's environment says where another is.
func TestTrustOfJava(t *testing.T) {
	g := newGuest(t)
	for dir, script := range map[string]string{"opt/java/openjdk": "echo 'not\nthis way'; exit 3", "srv/java": `echo changed > "$5"`} {
		g.write(t, dir+"/lib/security/cacerts", "a store")
		g.write(t, dir+"/bin/keytool", "#!/bin/sh\n"+script+"\n")
		if err := os.Chmod(g.root+"/"+dir+"/bin/keytool", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	g.init(t, envd.InitRequest{ControlToken: "c", Env: map[string]string{"JAVA_HOME": "/srv/java"}})
	if err := envd.Trust(t.Context(), g.dial, "c", certificate(t)); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{"opt/java/openjdk": "a store", "srv/java": "changed\n"} {
		if b, err := os.ReadFile(g.root + "/" + dir + "/lib/security/cacerts"); string(b) != want {
			t.Errorf("%s: %q, %v", dir, b, err)
		}
	}
	console, err := os.ReadFile(g.console)
	if err != nil || strings.Count(string(console), "\n") != 1 || !strings.Contains(string(console), "opt/java/openjdk/lib/security/cacerts: keytool: exit status 3") {
		t.Errorf("the console has %q, %v", console, err)
	}
}

// Two deliveries at the same time change a store one after the other.
func TestTrustTwiceAtOnce(t *testing.T) {
	g := newGuest(t)
	g.write(t, "opt/java/openjdk/lib/security/cacerts", "a store")
	g.write(t, "opt/java/openjdk/bin/keytool", "#!/bin/sh\nmkdir \"$0\".runs || touch \"$0\".both\nsleep 0.2\nrmdir \"$0\".runs\nexit 0\n")
	keytool := g.root + "/opt/java/openjdk/bin/keytool"
	if err := os.Chmod(keytool, 0o755); err != nil {
		t.Fatal(err)
	}
	g.init(t, envd.InitRequest{ControlToken: "c"})
	text := certificate(t)
	var group errgroup.Group
	for range 3 {
		group.Go(func() error { return envd.Trust(t.Context(), g.dial, "c", text) })
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(keytool + ".both"); err == nil {
		t.Error("two run at once")
	}
}

// A disk that is full is said to be so, and the environment stays as it was.
func TestTrustOnAFullDisk(t *testing.T) {
	g := newGuest(t)
	g.init(t, envd.InitRequest{ControlToken: "c", AccessToken: "a"})
	dir := g.root + "/etc/ssl"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	g.write(t, "etc/ssl/cert.pem", strings.Repeat("roots\n", 2<<10))
	var s *envd.StatusError
	if err := envd.Trust(t.Context(), g.dial, "c", certificate(t)); !errors.As(err, &s) || s.Status != http.StatusInsufficientStorage {
		t.Errorf("%v", err)
	}
	if _, env := g.do(t, "GET", "/envs", map[string]string{"X-Access-Token": "a"}, nil); strings.Contains(env, "SSL_CERT_FILE") {
		t.Errorf("the environment is %s", env)
	}
}
