//go:build linux

package trust

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/agent/reaper"
)

// runner runs programs as the agent does.
func runner(t *testing.T) Run {
	t.Helper()
	r := reaper.New(false)
	t.Cleanup(r.Close)
	return r.Run
}

// tool puts a script in place of a program.
func tool(t *testing.T, path, script string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// empty checks that the directory for temporary files is.
func empty(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The keytool of this machine changes stores of each form, once for all links to one.
func TestJava(t *testing.T) {
	keytool, err := exec.LookPath("keytool")
	if err != nil {
		t.Skip("NOT RUN: there is no Java")
	}
	for kind, options := range map[string][]string{
		"JKS":                         {"-storetype", "JKS"},
		"PKCS12":                      {"-storetype", "PKCS12"},
		"PKCS12 without any password": {"-storetype", "PKCS12", "-J-Dkeystore.pkcs12.macAlgorithm=NONE", "-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			runs, run := 0, runner(t)
			counted := func(ctx context.Context, argv, env []string) ([]byte, error) {
				runs++
				return run(ctx, argv, env)
			}
			operator, _ := authority(t, pkix.Name{CommonName: "Operator"})
			root := guest(t, map[string]string{"operator.pem": operator})
			store := root + "/etc/ssl/certs/java/cacerts"
			for _, dir := range []string{filepath.Dir(store), root + "/usr/lib/jvm/java-17/lib/security"} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.CommandContext(t.Context(), keytool, append([]string{"-importcert", "-noprompt", "-keystore", store, "-storepass", "changeit",
				"-alias", "operator", "-file", root + "/operator.pem"}, options...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v, %s", err, out)
			}
			tool(t, root+"/usr/lib/jvm/java-17/bin/keytool", "exec "+keytool+` "$@"`)
			for link, to := range map[string]string{"/usr/lib/jvm/java-17/lib/security/cacerts": "../../../../../../etc/ssl/certs/java/cacerts", "/usr/lib/jvm/default": "java-17"} {
				if err := os.Symlink(to, root+link); err != nil {
					t.Fatal(err)
				}
			}
			a, _ := authority(t, pkix.Name{CommonName: "Rundlet egress CA"})
			b, _ := authority(t, pkix.Name{CommonName: "Rundlet egress CA"})
			again := 0
			if kind == "PKCS12" { // It is encrypted, so what is in it does not show.
				again = 3
			}
			for _, c := range []struct {
				text string
				runs int // At most.
			}{{a, 1}, {a, again}, {b, 3}, {b + a, 6}} {
				runs = 0
				if err := Java(t.Context(), root, "", c.text, counted); err != nil {
					t.Error(err)
				}
				out, err := exec.CommandContext(t.Context(), keytool, "-list", "-rfc", "-keystore", store, "-storepass", "changeit").CombinedOutput()
				list := strings.ReplaceAll(string(out), "\r", "")
				if err != nil || strings.Count(list, "Alias name: ") != 1+strings.Count(c.text, "BEGIN") || runs > c.runs {
					t.Errorf("after %d runs: %v, %s", runs, err, list)
				}
				for _, cert := range strings.SplitAfter(operator+c.text, "END CERTIFICATE-----\n") {
					if !strings.Contains(list, cert) {
						t.Errorf("%s is not in %s", cert, list)
					}
				}
			}
			empty(t)
			t.Logf("%d runs at last", runs)
		})
	}
}

// A keytool that fails, hangs or belongs to somebody else costs the guest nothing but Java.
func TestKeytoolsOfTheGuest(t *testing.T) {
	text, _ := authority(t, pkix.Name{CommonName: "a"})
	for name, c := range map[string]struct {
		script, says string
		mode         os.FileMode
		owner        int
		ran          bool
	}{
		"fails":            {script: "echo why; exit 3", says: `exit status 3: "why`, mode: 0o755, ran: true},
		"hangs":            {script: "sleep 600 & wait", says: "deadline exceeded", mode: 0o755, ran: true},
		"takes the copy":   {script: `rm -rf "$(dirname "$5")"`, says: "no such file", mode: 0o755, ran: true},
		"is another's":     {says: "is not a program of root", mode: 0o755, owner: 65534},
		"is for all":       {says: "is not a program of root", mode: 0o777},
		"is not a program": {says: "permission denied", mode: 0o644},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			root := guest(t, map[string]string{"opt/java/openjdk/lib/security/cacerts": "a store"})
			keytool := root + "/opt/java/openjdk/bin/keytool"
			tool(t, keytool, `touch "$0".ran; `+c.script)
			if err := os.Chown(keytool, c.owner, c.owner); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(keytool, c.mode); err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if name == "hangs" {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			if err := Java(ctx, root, "", text, runner(t)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s", err, c.says)
			}
			if _, err := os.Stat(keytool + ".ran"); (err == nil) != c.ran {
				t.Errorf("ran: %v", err)
			}
			if b, err := os.ReadFile(root + "/opt/java/openjdk/lib/security/cacerts"); string(b) != "a store" {
				t.Errorf("the store became %q, %v", b, err)
			}
			empty(t)
		})
	}
}

// JAVA_HOME leads to a store in an unusual place.
func TestJavaHome(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	text, _ := authority(t, pkix.Name{CommonName: "a"})
	// The second is what a path that is not absolute must not become.
	root := filepath.Join(guest(t, map[string]string{"r/srv/java/lib/security/cacerts": "a store", "rsrv/java/lib/security/cacerts": "a store"}), "r")
	for _, dir := range []string{root + "/srv", root + "srv"} {
		tool(t, dir+"/java/bin/keytool", `while [ $# -gt 0 ]; do [ "$1" = -keystore ] && echo changed > "$2"; shift; done; exit 0`)
	}
	for _, c := range []struct{ home, want string }{{"", "a store"}, {"srv/java", "a store"}, {"/srv/none", "a store"}, {"/srv/java", "changed\n"}} {
		if err := Java(t.Context(), root, c.home, text, runner(t)); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(root + "/srv/java/lib/security/cacerts"); string(b) != c.want {
			t.Errorf("JAVA_HOME=%s: %q, %v", c.home, b, err)
		}
		if b, err := os.ReadFile(root + "srv/java/lib/security/cacerts"); string(b) != "a store" {
			t.Errorf("JAVA_HOME=%s: beside the root %q, %v", c.home, b, err)
		}
	}
}

// A guest with many Javas costs no more than one with some.
func TestTheStoresOfJavaAreBounded(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	text, _ := authority(t, pkix.Name{CommonName: "a"})
	files := map[string]string{}
	for i := range maxStores + 1 {
		files[fmt.Sprintf("usr/lib/jvm/%02d/lib/security/cacerts", i)] = "a store"
	}
	root := guest(t, files)
	for name := range files {
		tool(t, root+"/"+strings.TrimSuffix(name, "lib/security/cacerts")+"bin/keytool", "")
	}
	runs := 0
	err := Java(t.Context(), root, "", text, func(context.Context, []string, []string) ([]byte, error) { runs++; return nil, nil })
	if err != nil || runs != maxStores {
		t.Errorf("%d runs, %v", runs, err)
	}
}
