//go:build linux

package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// changeable is the variable that has a process of this test change copies of the files of the system.
const changeable = "TRUST_TEST_CHANGES_COPIES"

func TestMain(m *testing.M) {
	if os.Getenv(changeable) != "" {
		if err := copyOnWrite("/etc", "/usr"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// copyOnWrite lets this process, in its mount namespace, change copies of directories of the system.
func copyOnWrite(dirs ...string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", "/mnt", "tmpfs", 0, ""); err != nil {
		return err
	}
	for _, dir := range dirs {
		upper, work := "/mnt"+dir+"-upper", "/mnt"+dir+"-work"
		for _, d := range []string{upper, work} {
			if err := os.Mkdir(d, 0o755); err != nil {
				return err
			}
		}
		if err := syscall.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+upper+",workdir="+work); err != nil {
			return fmt.Errorf("overlay over %s: %w", dir, err)
		}
	}
	return nil
}

// The programs of this machine trust the authority, each in its way, in a file system as a guest has it. None does before.
func TestProgramsTrust(t *testing.T) {
	if os.Getenv(changeable) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProgramsTrust$", "-test.v")
		cmd.Env = append(os.Environ(), changeable+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	text, url := secureServer(t)
	dir := t.TempDir()
	for name, source := range map[string]string{
		"get.js":   `fetch(process.argv[2]).then(r => r.text()).then(console.log, e => { console.error(e); process.exit(1) })`,
		"Get.java": `public class Get { public static void main(String[] a) throws Exception { System.out.write(new java.net.URL(a[0]).openStream().readAllBytes()); System.out.flush(); } }`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const urllib = "import sys, ssl, urllib.request as u; print(u.urlopen(sys.argv[1], context=ssl.create_default_context(%s)).read().decode())"
	programs := map[string]struct {
		argv      []string
		optional  bool // scripts/setup does not install it.
		variables bool // It needs them.
	}{
		"curl":                 {argv: []string{"curl", "-sS"}},
		"python3":              {argv: []string{"/usr/bin/python3", "-c", fmt.Sprintf(urllib, "")}},
		"OpenSSL, by the hash": {argv: []string{"/usr/bin/python3", "-c", fmt.Sprintf(urllib, "capath='/etc/ssl/certs'")}},
		"node":                 {argv: []string{"node", filepath.Join(dir, "get.js")}, variables: true},
		"wget":                 {argv: []string{"wget", "-qO-"}, optional: true},
		"java":                 {argv: []string{"java", filepath.Join(dir, "Get.java")}, optional: true},
		"chromium": {argv: []string{"chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", "--user-data-dir=" + filepath.Join(dir, "profile")},
			optional: true},
	}
	for name, p := range programs {
		if _, err := exec.LookPath(p.argv[0]); err != nil && p.optional {
			t.Logf("NOT RUN: %s is not installed", name)
			delete(programs, name)
		}
	}
	trusts := func(argv []string, vars map[string]string) (bool, string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], url)...)
		cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir}
		for k, v := range vars {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		out, err := cmd.CombinedOutput()
		return strings.Contains(string(out), "answer of the server"), fmt.Sprint(err, ", ", string(out))
	}
	for name, p := range programs {
		if ok, out := trusts(p.argv, nil); ok {
			t.Errorf("%s trusts the authority before: %s", name, out)
		}
	}
	vars := install(t, "", text)
	if err := Java(t.Context(), "", "", text, runner(t)); err != nil {
		t.Error(err)
	}
	for name, p := range programs {
		if ok, out := trusts(p.argv, vars); !ok {
			t.Errorf("%s does not trust it: %s", name, out)
		}
		if ok, out := trusts(p.argv, nil); !ok && !p.variables {
			t.Errorf("%s, without variables as under sudo: %s", name, out)
		} else if !t.Failed() {
			t.Logf("%s trusts it; without variables: %v", name, ok)
		}
	}
	remove(t)
	for name, p := range programs {
		if ok, out := trusts(p.argv, vars); ok {
			t.Errorf("%s trusts what was removed: %s", name, out)
		}
	}
}

// remove takes the authority back, as docs/security.md says.
func remove(t *testing.T) {
	t.Helper()
	script := "set -e; rm " + Own + "; update-ca-certificates --fresh; rm -f /etc/chromium/policies/managed/rundlet-egress.json; if command -v keytool; then keytool -delete -alias rundlet-egress -cacerts -storepass changeit; fi"
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v, %s", err, out)
	}
}

// secureServer is a server with a certificate of an authority, whose own is text.
func secureServer(t *testing.T) (text, url string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Rundlet egress CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"localhost"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	root, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer of the server") }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "https://"), ":")
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})), "https://localhost:" + port + "/"
}
