//go:build linux

package hostbase

import (
	"crypto/ed25519"
	"crypto/md5"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// canary is in everything that an administrator may have written.
const canary = "CANARY"

// distribution is a file that a package brought and that is unchanged, and its line
// in the package manager's lists.
func distribution(files map[string]string, list, name, content string) {
	sum := fmt.Sprintf("%x", md5.Sum([]byte(content)))
	files[name] = content
	switch list {
	case "var/lib/dpkg/status":
		files[list] += fmt.Sprintf("Package: x\nConffiles:\n /%s %s\nDescription: x\n", name, sum)
	case "var/lib/ucf/hashfile":
		files[list] += fmt.Sprintf("%s  /%s\n", sum, name)
	default:
		files[list] += fmt.Sprintf("%s  %s\n", sum, name)
	}
}

// TestNothingOfEtcLeaks marks secrets in every file of a host that a guest gets
// something of, and in many that it gets nothing of.
func TestNothingOfEtcLeaks(t *testing.T) {
	cert := testCertificate(t)
	const key = "-----BEGIN PRIVATE KEY-----\nQ0FOQVJZ\n-----END PRIVATE KEY-----\n" // The canary in base64.
	allowed := map[string]string{
		"etc/ld.so.cache":                   "glibc-ld.so.cache1.1...",
		"etc/ld.so.conf":                    "include /etc/ld.so.conf.d/*.conf\n",
		"etc/ld.so.conf.d/a.conf":           "/usr/lib/a\n",
		"etc/ssl/certs/ca-certificates.crt": cert + cert,
		"etc/ssl/certs/both.pem":            cert,
		"etc/ssl/certs/1234.0":              "->ca-certificates.crt",
		"etc/ca-certificates.conf":          "mozilla/A_1.crt\n!mozilla/B.crt\n",
		"etc/alternatives/editor":           "->/bin/bash",
		"etc/services":                      "ssh 22/tcp\ndomain\t53/udp  name\n",
		"etc/protocols":                     "tcp\t6\tTCP\n",
		"etc/mime.types":                    "application/json\tjson map\n",
		"etc/debian_version":                "12.5\n",
		"etc/lsb-release":                   "DISTRIB_ID=Ubuntu\nDISTRIB_DESCRIPTION=\"Ubuntu 24.04.1 LTS\"\n",
		// Only those of packages, see below.
		"etc/python3.11/sitecustomize.py": "", "etc/python3/debian_config": "", "etc/ssl/openssl.cnf": "", "etc/perl/Net/libnet.cfg": "",
		"etc/java-17-openjdk/security/java.security": "", "etc/R/Renviron": "",
	}
	files := map[string]string{
		// What is allowed, with more than that.
		"etc/ld.so.conf":           "# " + canary + "\ninclude /etc/ld.so.conf.d/*.conf # " + canary + "\n",
		"etc/ld.so.conf.d/a.conf":  "/usr/lib/a\npassword " + canary + "\n",
		"etc/ssl/certs/both.pem":   "user " + canary + "\n" + cert + key,
		"etc/ca-certificates.conf": "# " + canary + "\nmozilla/A_1.crt\n!mozilla/B.crt\n" + canary + "\n",
		"etc/services":             "# " + canary + "\n ssh 22/tcp\t# " + canary + "\ndomain\t53/udp  name\n" + canary + "\n",
		"etc/protocols":            "tcp\t6\tTCP # " + canary + "\n" + canary + "\n",
		"etc/mime.types":           "application/json\tjson map\ntoken " + canary + "\n",
		"etc/debian_version":       "12.5\ntoken: " + canary + "\n",
		"etc/lsb-release":          "DISTRIB_ID=Ubuntu\nTOKEN=" + canary + "\nDISTRIB_DESCRIPTION=\"Ubuntu 24.04.1 LTS\"\n",
		// Private keys in every form.
		"etc/ssl/certs/key.pem": key, "etc/ssl/certs/host.der": "0\x82\x04\xa4" + canary, "etc/ssl/certs/host.p12": "0\x82\x09" + canary,
		"etc/ssl/certs/java/cacerts": "\xfe\xed\xfe\xed\x00\x00\x00\x02" + canary, "etc/ssl/private/host.pem": canary,
		"etc/ssl/certs/owner.pem!": cert + canary, "etc/ssl/certs/up.pem": "->../private/host.pem", "etc/ssl/certs/far.pem": "->/root/secret",
		"etc/ssl/certs/indirect.pem": "->up.pem", "etc/java-17-openjdk/security/server.p12": canary, "etc/java-17-openjdk/security/server.jks": canary,
		// Beside what packages brought.
		"etc/R/Renviron.site": "GITHUB_PAT=" + canary, "etc/R/Rprofile.site": canary, "etc/perl/CPAN/Config.pm": canary,
		"etc/python3/mirror": canary, "etc/python3.11/secret.py": canary, "etc/java-17-openjdk/management/jmxremote.password": canary,
		"etc/alternatives/opt": "->/opt/tool", "etc/alternatives/file": canary, "etc/ld.so.cache.old": canary,
		// Never.
		"etc/passwd": canary, "etc/shadow!": canary, "etc/hostname": canary, "etc/hosts": canary,
		"etc/resolv.conf": canary, "etc/gitconfig": canary, "etc/npmrc": canary, "etc/pip.conf": canary, "etc/netrc": canary,
		"etc/apt/auth.conf": canary, "etc/apt/auth.conf.d/x": canary, "etc/apt/sources.list": canary, "etc/profile": canary,
		"etc/docker/config.json": canary, "etc/git-credentials": canary, "etc/wgetrc": canary, "etc/odbc.ini": canary, "etc/my.cnf": canary,
		"etc/profile.d/token.sh": canary, "etc/environment": canary, "etc/ssh/key": canary, "etc/pam.d/su": canary, "etc/sudoers.d/me": canary,
		"etc/machine-id": canary, "etc/timezone": canary, "etc/default/locale": canary, "etc/krb5.keytab": canary,
		"root/secret": canary, "root/.netrc": canary, "home/me/.ssh/id": canary, "opt/tool": canary, "srv/data": canary,
	}
	const status = "var/lib/dpkg/status"
	for list, byName := range map[string]map[string]string{
		status: {"etc/ssl/openssl.cnf": "[req]\n", "etc/java-17-openjdk/security/java.security": "a=b\n",
			"etc/python3.11/sitecustomize.py": "pass\n", "etc/perl/Net/libnet.cfg": "1;\n", "etc/python3/changed": "as it was", "etc/hosts.allow": canary},
		"var/lib/dpkg/info/python3-minimal.md5sums": {"etc/python3/debian_config": "[DEFAULT]\n"},
		"var/lib/ucf/hashfile":                      {"etc/R/Renviron": "R_PAPERSIZE=a4\n"},
	} {
		for name, content := range byName {
			distribution(files, list, name, content)
			if _, ok := allowed[name]; ok {
				allowed[name] = content
			}
		}
	}
	files["etc/python3/changed"] = "as it was, and " + canary
	for name, content := range allowed {
		if _, ok := files[name]; !ok {
			files[name] = content
		}
	}
	allowed[keystore] = string(javaKeystore(parseCertificates([]byte(cert + cert))))
	host := fakeHost(t, files)
	base := build(t, host, t.TempDir())

	for name, content := range allowed {
		got, err := os.ReadFile(filepath.Join(base.Rootfs, name))
		if strings.HasPrefix(content, "->") {
			var target string
			target, err = os.Readlink(filepath.Join(base.Rootfs, name))
			got = []byte("->" + target)
		}
		if err != nil || string(got) != content {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, content)
		}
	}
	own, err := plan(Config{HostRoot: fakeHost(t, nil), AgentPath: filepath.Join(host, "agent"), Nameservers: DefaultNameservers})
	if err != nil {
		t.Fatal(err)
	}
	walk(t, base.Rootfs, func(name string, fi fs.FileInfo) {
		_, isOwn := own.entries[name]
		if _, ok := allowed[name]; !ok && !isOwn && !fi.IsDir() {
			t.Errorf("%s is in the base", name)
		}
		if fi.Mode().IsRegular() {
			data, err := os.ReadFile(filepath.Join(base.Rootfs, name))
			if err != nil || strings.Contains(string(data), canary) || strings.Contains(string(data), "PRIVATE KEY") {
				t.Errorf("%s leaks: %q, %v", name, data, err)
			}
		}
	})
}

// TestAModifiedFileIsNotTaken changes each file of a distribution by one byte.
func TestAModifiedFileIsNotTaken(t *testing.T) {
	files := map[string]string{}
	distribution(files, "var/lib/dpkg/status", "etc/ssl/openssl.cnf", "[req]\n")
	distribution(files, "var/lib/dpkg/status", "etc/alternatives/README", "Not a link.\n") // Never taken, and not changed.
	host := fakeHost(t, files)
	before := build(t, host, t.TempDir())
	put(t, host, "etc/ssl/openssl.cnf", "[req]\nPIN = 1\n")
	after := build(t, host, t.TempDir())
	if len(before.Changed) != 0 || !slices.Equal(after.Changed, []string{"/etc/ssl/openssl.cnf"}) {
		t.Errorf("reported as changed: %q before, %q after", before.Changed, after.Changed)
	}
	if !exists(before.Rootfs, "etc/ssl/openssl.cnf") || exists(after.Rootfs, "etc/ssl/openssl.cnf") {
		t.Errorf("in the base: %v before the change, %v after it", exists(before.Rootfs, "etc/ssl/openssl.cnf"), exists(after.Rootfs, "etc/ssl/openssl.cnf"))
	}
	// No dpkg, so its original is unknown.
	if err := os.RemoveAll(filepath.Join(host, "var/lib/dpkg")); err != nil {
		t.Fatal(err)
	}
	put(t, host, "etc/ssl/openssl.cnf", "[req]\n")
	if without := build(t, host, t.TempDir()); exists(without.Rootfs, "etc/ssl/openssl.cnf") {
		t.Error("a file that no package answers for is in the base")
	}
}

// testCertificate returns a certificate, as a PEM file has it.
func testCertificate(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestJavaReadsTheKeystore asks Java's own tool.
func TestJavaReadsTheKeystore(t *testing.T) {
	keytool, err := exec.LookPath("keytool")
	if err != nil {
		t.Skip("this host has no Java")
	}
	file := filepath.Join(t.TempDir(), "cacerts")
	certs := parseCertificates([]byte(testCertificate(t) + testCertificate(t)))
	if err := os.WriteFile(file, javaKeystore(certs), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), keytool, "-list", "-keystore", file, "-storepass", "changeit").CombinedOutput()
	if err != nil || strings.Count(string(out), "trustedCertEntry") != len(certs) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRealHost checks this machine's own base against the same rules.
func TestRealHost(t *testing.T) {
	needRoot(t)
	base, err := Build(t.Context(), Config{Dir: t.TempDir(), AgentPath: "/usr/bin/id"})
	if errors.Is(err, ErrUnsupportedHost) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	walk(t, base.Rootfs, func(name string, fi fs.FileInfo) {
		st := fi.Sys().(*syscall.Stat_t)
		total += fi.Size()
		switch {
		case fi.Mode().IsRegular() && st.Nlink != 1:
			t.Errorf("%s has %d links", name, st.Nlink)
		case fi.Mode()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) != 0:
			t.Errorf("%s is a %v", name, fi.Mode())
		case fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0:
			t.Errorf("%s is setuid", name)
		case fi.Mode().Perm()&0o002 != 0 && fi.Mode()&fs.ModeSticky == 0 && fi.Mode().Type() != fs.ModeSymlink:
			t.Errorf("%s is writable by all", name)
		}
		if owner := strings.HasPrefix(name, "home/user"); owner != (st.Uid == userID) || !owner && st.Uid != 0 {
			t.Errorf("%s belongs to %d", name, st.Uid)
		}
	})
	if total > 48<<20 {
		t.Errorf("the base has %d bytes", total)
	}
	t.Logf("%d bytes", total)
}

func walk(t *testing.T, root string, visit func(name string, fi fs.FileInfo)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		visit(strings.TrimPrefix(p, root+"/"), fi)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryLineOfTheDistributionIsTaken has lines of Debian's own files that look
// unlike the others.
func TestEveryLineOfTheDistributionIsTaken(t *testing.T) {
	want := map[string]string{
		"ca-certificates.conf": "mozilla/NetLock_Arany_=Class_Gold=_Főtanúsítvány.crt\n!mozilla/ACCVRAIZ1.crt\nlocal:my+own.crt\n",
		"mime.types":           "application/x-trash\t\t\t\t~ % bak old sik\ntext/html\thtml htm shtml\naudio/x-gsm\n",
		"services":             "z3950\t210/tcp wais\nnut-3493\t3493/udp\n",
		"protocols":            "ip\t0\tIP\nax.25\t93\tAX.25\n",
		"ld.so.conf":           "include /etc/ld.so.conf.d/*.conf\n",
	}
	for _, f := range hostFiles(nil) {
		text, ok := want[f.pattern]
		if !ok {
			continue
		}
		delete(want, f.pattern)
		if got, _ := f.check("etc/"+f.pattern, []byte(text)); string(got) != text {
			t.Errorf("%s: %q, want %q", f.pattern, got, text)
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the list: %v", want)
	}
}
