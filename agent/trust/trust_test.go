//go:build linux

package trust

import (
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// guest is a root with files; one whose text begins with "->" is a link.
func guest(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if to, ok := strings.CutPrefix(text, "->"); ok {
			err = errors.Join(err, os.Symlink(to, path))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(text), 0o640))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// tree is all that is below a root, with links as guest has them.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		if to, err := os.Readlink(path); err == nil {
			out[name] = "->" + to
			return nil
		}
		b, err := os.ReadFile(path)
		out[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func install(t *testing.T, root, text string) map[string]string {
	t.Helper()
	env, err := Install(root, text)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func TestInstall(t *testing.T) {
	text, c := authority(t, pkix.Name{CommonName: "Rundlet egress CA"})
	next, _ := authority(t, pkix.Name{CommonName: "Rundlet egress CA"})
	hash, err := subjectHash(c)
	if err != nil {
		t.Fatal(err)
	}
	hashed := fmt.Sprintf("etc/ssl/certs/%08x.", hash)
	for name, tt := range map[string]struct {
		before map[string]string
		after  map[string]string // With TEXT for the certificate.
		store  string            // The system's.
	}{
		"Debian": {
			map[string]string{"etc/ssl/certs/ca-certificates.crt": "roots\n", "etc/ssl/certs/0.0": "x"},
			map[string]string{"etc/ssl/certs/ca-certificates.crt": "roots\n" + begin + "TEXT" + end, "etc/ssl/certs/0.0": "x", hashed + "0": "->" + Own},
			"/etc/ssl/certs/ca-certificates.crt",
		},
		"a hash that is taken": {
			map[string]string{hashed + "0": "another", hashed + "1": "->nowhere"},
			map[string]string{hashed + "0": "another", hashed + "1": "->nowhere", hashed + "2": "->" + Own}, "",
		},
		"Red Hat": {
			map[string]string{
				"etc/pki/tls/certs/ca-bundle.crt":                   "->../../ca-trust/extracted/pem/tls-ca-bundle.pem",
				"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem":  "no line at the end",
				"etc/pki/ca-trust/source/anchors/from-the-operator": "x",
			},
			map[string]string{
				"etc/pki/tls/certs/ca-bundle.crt":                    "->../../ca-trust/extracted/pem/tls-ca-bundle.pem",
				"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem":   "no line at the end\n" + begin + "TEXT" + end,
				"etc/pki/ca-trust/source/anchors/from-the-operator":  "x",
				"etc/pki/ca-trust/source/anchors/rundlet-egress.pem": "TEXT",
			}, "/etc/pki/tls/certs/ca-bundle.crt",
		},
		"Alpine": {
			map[string]string{"etc/ssl/certs/ca-certificates.crt": "roots\n", "etc/ssl/cert.pem": "->certs/ca-certificates.crt"},
			map[string]string{"etc/ssl/certs/ca-certificates.crt": "roots\n" + begin + "TEXT" + end, "etc/ssl/cert.pem": "->certs/ca-certificates.crt", hashed + "0": "->" + Own},
			"/etc/ssl/certs/ca-certificates.crt",
		},
		"nothing":            {nil, map[string]string{}, ""},
		"a link to nowhere":  {map[string]string{"etc/ssl/cert.pem": "->nowhere"}, map[string]string{"etc/ssl/cert.pem": "->nowhere"}, ""},
		"an end that is cut": {map[string]string{"etc/ssl/cert.pem": "a\n" + begin + "rest"}, map[string]string{"etc/ssl/cert.pem": "a\n" + begin + "TEXT" + end}, "/etc/ssl/cert.pem"},
	} {
		root := guest(t, tt.before)
		for _, text := range []string{text, text, next, text} {
			env := install(t, root, text)
			want := map[string]string{Own[1:]: text}
			for name, content := range tt.after {
				want[name] = strings.ReplaceAll(content, "TEXT", text)
			}
			if got := tree(t, root); !maps.Equal(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
			if env["NODE_EXTRA_CA_CERTS"] != Own || env["SSL_CERT_FILE"] != tt.store || env["REQUESTS_CA_BUNDLE"] != tt.store {
				t.Errorf("%s: %v", name, env)
			}
		}
		if path := root + tt.store; tt.store != "" {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%s: the mode of the store is %v, %v", name, info.Mode(), err)
			}
		}
	}
}

// What update-ca-certificates copied into the bundle is replaced, too, and is there once.
func TestInstallAfterAnUpdateOfTheSystem(t *testing.T) {
	first, _ := authority(t, pkix.Name{CommonName: "a"})
	second, _ := authority(t, pkix.Name{CommonName: "a"})
	const bundle = "etc/ssl/certs/ca-certificates.crt"
	root := guest(t, map[string]string{bundle: "roots\n"})
	install(t, root, first)
	for _, text := range []string{first, second} {
		if err := os.WriteFile(filepath.Join(root, bundle), []byte("roots\n"+first+"more\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		install(t, root, text)
		if got := tree(t, root)[bundle]; got != "roots\nmore\n"+begin+text+end {
			t.Errorf("%q", got)
		}
	}
}

// Chromium and Chrome get a policy, and the one that a template has stays.
func TestInstallForBrowsers(t *testing.T) {
	text, c := authority(t, pkix.Name{CommonName: "a"})
	policy := `{"CACertificates":["` + base64.StdEncoding.EncodeToString(c.Raw) + `"]}` + "\n"
	for name, tt := range map[string]struct{ before, after map[string]string }{
		"Chromium":          {map[string]string{"usr/bin/chromium": "x"}, map[string]string{"etc/chromium/policies/managed/rundlet-egress.json": policy}},
		"directories of it": {map[string]string{"etc/chromium/policies/managed/sandbox.json": "x"}, map[string]string{"etc/chromium/policies/managed/rundlet-egress.json": policy}},
		"Chrome":            {map[string]string{"opt/google/chrome/chrome": "x"}, map[string]string{"etc/opt/chrome/policies/managed/rundlet-egress.json": policy}},
		"none":              {nil, nil},
	} {
		root := guest(t, tt.before)
		want := map[string]string{Own[1:]: text}
		maps.Copy(want, tt.before)
		maps.Copy(want, tt.after)
		for range 2 {
			install(t, root, text)
			if got := tree(t, root); !maps.Equal(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
}

// What the guest breaks is left alone, and nothing is waited for.
func TestInstallAmongHostileFiles(t *testing.T) {
	text, _ := authority(t, pkix.Name{CommonName: "a"})
	root := guest(t, map[string]string{"etc/ssl/certs/x": "", "etc/pki/tls/certs/ca-bundle.crt/x": "", "etc/ssl/ca-bundle.pem": "roots\n"})
	if err := syscall.Mkfifo(root+"/etc/ssl/certs/ca-certificates.crt", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(root+filepath.Dir(Own), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(root+Own, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(root+"/etc/ssl/ca-bundle.pem", maxBundle+1); err != nil {
		t.Fatal(err)
	}
	if env := install(t, root, text); env["SSL_CERT_FILE"] != "" || env["NODE_EXTRA_CA_CERTS"] != Own {
		t.Errorf("%v", env)
	}
	if b, err := os.ReadFile(root + Own); err != nil || string(b) != text {
		t.Errorf("%q, %v", b, err)
	}
	if info, err := os.Stat(root + "/etc/ssl/ca-bundle.pem"); err != nil || info.Size() != maxBundle+1 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestInstallRefuses(t *testing.T) {
	text, _ := authority(t, pkix.Name{CommonName: "a"})
	for _, bad := range []string{"", "  \n", "x", text + "x", strings.ReplaceAll(text, "CERTIFICATE", "PRIVATE KEY"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		root := t.TempDir()
		if env, err := Install(root, bad); !errors.Is(err, ErrNotCertificates) || env != nil {
			t.Errorf("%.30q: %v, %v", bad, env, err)
		}
		if left := slices.Collect(maps.Keys(tree(t, root))); len(left) > 0 {
			t.Errorf("%.30q leaves %q", bad, left)
		}
	}
	full := t.TempDir()
	if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(full, syscall.MNT_DETACH)
	if err := os.MkdirAll(full+"/etc/ssl", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full+"/etc/ssl/cert.pem", make([]byte, 40<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(full, text); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	for name := range tree(t, full) {
		if strings.Contains(name, "rundlet-new") {
			t.Errorf("%s is left", name)
		}
	}
}

// A disk that is full half-way leaves what the next call needs: what was trusted before is not trusted after it, also where
// update-ca-certificates has copied it.
func TestInstallAfterAFullDisk(t *testing.T) {
	first, _ := authority(t, pkix.Name{CommonName: "a"})
	second, _ := authority(t, pkix.Name{CommonName: "a"})
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(root, syscall.MNT_DETACH)
	resize := func(size string) {
		t.Helper()
		if err := syscall.Mount("", root, "", syscall.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
	install(t, root, first)
	const bundle = "/etc/ssl/cert.pem"
	roots := strings.Repeat("roots\n", 6<<10)
	if err := errors.Join(os.MkdirAll(root+"/etc/ssl", 0o755), os.WriteFile(root+bundle, []byte(roots+first), 0o644)); err != nil {
		t.Fatal(err)
	}
	resize("64k") // The bundle has no room beside itself, and the certificate has.
	if _, err := Install(root, second); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a full disk: %v", err)
	}
	resize("1m")
	install(t, root, second)
	if b, err := os.ReadFile(root + bundle); err != nil || string(b) != roots+begin+second+end {
		t.Errorf("%q, %v", b[min(len(roots), len(b)):], err)
	}
	if b, err := os.ReadFile(root + Own); err != nil || string(b) != second {
		t.Errorf("%q, %v", b, err)
	}
}

// What a guest writes in place of the authorities is not removed from its store.
func TestAuthoritiesThatTheGuestChanged(t *testing.T) {
	text, _ := authority(t, pkix.Name{CommonName: "a"})
	root := guest(t, map[string]string{"etc/ssl/cert.pem": "roots\n", Own: "roots\n"})
	install(t, root, text)
	if got := tree(t, root); got["etc/ssl/cert.pem"] != "roots\n"+begin+text+end || got[Own[1:]] != text {
		t.Errorf("%q", got)
	}
}

// Some files of the kernel's are empty regular files that have something to read, or never have: they are not waited for.
func TestFilesOfTheKernelAreNotRead(t *testing.T) {
	text, _ := authority(t, pkix.Name{CommonName: "a"})
	root := guest(t, map[string]string{"etc/ssl/cert.pem": "->/proc/version", "etc/ssl/ca-bundle.pem": "roots\n"})
	if env := install(t, root, text); env["SSL_CERT_FILE"] != "/etc/ssl/ca-bundle.pem" {
		t.Errorf("the store is %q", env["SSL_CERT_FILE"])
	}
	if b, mode, err := read("/proc/version"); len(b) > 0 || err != nil {
		t.Errorf("%q, %v, %v", b, mode, err)
	}
}
