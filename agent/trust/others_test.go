//go:build linux

package trust

import (
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A user who could put something else in the place of a store, while it is changed, would have root write it anywhere. So
// such a store stays as it is.
func TestStoresThatOthersCanReplaceStay(t *testing.T) {
	text, _ := authority(t, pkix.Name{CommonName: "a"})
	const bundle, java, secret = "etc/ssl/certs/ca-certificates.crt", "srv/java/lib/security/cacerts", "etc/secret"
	own := func(name string) func(root string) error {
		return func(root string) error { return os.Chown(root+"/"+name, 65534, 65534) }
	}
	mode := func(name string, mode os.FileMode) func(root string) error {
		return func(root string) error { return os.Chmod(root+"/"+name, mode) }
	}
	link := func(to, name string) func(root string) error {
		return func(root string) error { return os.Symlink(root+"/"+to, root+"/"+name) }
	}
	for name, c := range map[string]struct {
		change       []func(root string) error
		bundle, java bool // What is changed.
	}{
		"nothing":                       {nil, true, true},
		"the files":                     {[]func(string) error{own(bundle), own(java)}, true, true},
		"directories":                   {[]func(string) error{own("etc/ssl/certs"), own("srv/java/lib/security")}, false, false},
		"directories of all":            {[]func(string) error{mode("etc/ssl/certs", 0o757), mode("srv/java/lib/security", 0o757)}, false, false},
		"directories of a group":        {[]func(string) error{mode("etc/ssl/certs", 0o775), mode("srv/java/lib/security", 0o775)}, false, false},
		"directories for all, as /tmp":  {[]func(string) error{mode("etc/ssl/certs", 0o777|os.ModeSticky), mode("srv/java", 0o777|os.ModeSticky)}, true, true},
		"directories above":             {[]func(string) error{own("etc"), own("srv")}, false, false},
		"a program that is elsewhere":   {[]func(string) error{own("srv/java/bin")}, true, false},
		"a link to another's directory": {[]func(string) error{func(root string) error { return os.Rename(root+"/etc/ssl/certs", root+"/srv/certs") }, own("srv/certs"), link("srv/certs", "etc/ssl/certs")}, false, true},
		"a link to a file of another's directory": {[]func(string) error{
			func(root string) error { return os.Rename(root+"/etc/ssl/certs", root+"/srv/certs") }, own("srv/certs"),
			func(root string) error { return os.Mkdir(root+"/etc/ssl/certs", 0o755) }, link("srv/certs/ca-certificates.crt", bundle),
		}, false, true},
		"another's link to what is root's": {[]func(string) error{
			func(root string) error { return os.Remove(root + "/" + bundle) }, func(root string) error { return os.Remove(root + "/" + java) },
			link(secret, bundle), link(secret, java), own("etc/ssl/certs"), own("srv/java/lib/security"),
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			root := guest(t, map[string]string{bundle: "roots\n", java: "a store", secret: "secret"})
			tool(t, root+"/srv/java/bin/keytool", `while [ $# -gt 0 ]; do [ "$1" = -keystore ] && echo changed > "$2"; shift; done; exit 0`)
			for _, change := range c.change {
				if err := change(root); err != nil {
					t.Fatal(err)
				}
			}
			env := install(t, root, text)
			err := Java(t.Context(), root, "/srv/java", text, runner(t))
			if c.java != (err == nil) || err != nil && !strings.Contains(err.Error(), "others than root can change") {
				t.Errorf("Java: %v", err)
			}
			b, _ := os.ReadFile(root + "/" + bundle)
			if got := strings.Contains(string(b), text); got != c.bundle || (env["SSL_CERT_FILE"] != "") != c.bundle || env["NODE_EXTRA_CA_CERTS"] != Own {
				t.Errorf("the store is changed: %v, and the environment is %v", got, env)
			}
			if b, err := os.ReadFile(filepath.Join(root, java)); (string(b) == "changed\n") != c.java {
				t.Errorf("Java's store is %q, %v", b, err)
			}
			if b, err := os.ReadFile(filepath.Join(root, secret)); string(b) != "secret" {
				t.Errorf("what a link leads to became %q, %v", b, err)
			}
			empty(t)
		})
	}
}

// Who can write to /usr/local cannot have the agent remove certificates from the system's store.
func TestOthersDoNotSayWhatWasTrustedBefore(t *testing.T) {
	text, _ := authority(t, pkix.Name{CommonName: "a"})
	another, _ := authority(t, pkix.Name{CommonName: "another"})
	for _, c := range []struct {
		owner int
		want  string
	}{{0, "roots\n" + begin + text + end}, {65534, "roots\n" + another + begin + text + end}} {
		root := guest(t, map[string]string{"etc/ssl/cert.pem": "roots\n" + another, Own: another})
		if err := os.Chown(root+filepath.Dir(Own), c.owner, c.owner); err != nil {
			t.Fatal(err)
		}
		install(t, root, text)
		if b, err := os.ReadFile(root + "/etc/ssl/cert.pem"); string(b) != c.want {
			t.Errorf("owner %d: %q, %v", c.owner, b, err)
		}
	}
}
