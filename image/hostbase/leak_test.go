//go:build linux

package hostbase

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestNothingLeaks(t *testing.T) {
	const canary = "CANARY"
	allowed := map[string]string{
		"etc/ld.so.cache":                   "cache",
		"etc/ld.so.conf.d/a.conf":           "/usr/lib/a",
		"etc/ssl/certs/ca-certificates.crt": "certificates",
		"etc/ssl/certs/1234.0":              "->ca-certificates.crt",
		"etc/alternatives/editor":           "->/bin/bash",
		"etc/python3.11/sitecustomize.py":   "pass",
		"etc/java-17-openjdk/logging":       "level",
		"etc/services":                      "ssh 22/tcp",
	}
	files := map[string]string{
		"etc/passwd": canary, "etc/shadow!": canary, "etc/hostname": canary, "etc/hosts": canary,
		"etc/resolv.conf": canary, "etc/gitconfig": canary, "etc/npmrc": canary, "etc/pip.conf": canary,
		"etc/apt/auth.conf": canary, "etc/apt/sources.list": canary, "etc/profile": canary,
		"etc/profile.d/token.sh": canary, "etc/environment": canary, "etc/ssh/key": canary,
		"etc/pam.d/su": canary, "etc/sudoers.d/me": canary, "etc/machine-id": canary,
		"etc/ssl/private/host.pem":                            canary,
		"etc/ssl/certs/both.pem":                              canary + "\n-----BEGIN RSA PRIVATE KEY-----\n",
		"etc/ssl/certs/owner.pem!":                            canary,
		"etc/ssl/certs/up.pem":                                "->../private/host.pem",
		"etc/ssl/certs/far.pem":                               "->/root/secret",
		"etc/ssl/certs/indirect.pem":                          "->up.pem",
		"etc/alternatives/opt":                                "->/opt/tool",
		"etc/java-17-openjdk/management/jmxremote.password":   canary,
		"etc/java-17-openjdk/management/jmxremote.password2!": canary,
		"etc/python3/mirror!":                                 canary,
		"etc/perl":                                            "->/root",
		"root/secret":                                         canary, "home/me/.ssh/id": canary, "var/lib/dpkg/status": canary,
		"opt/tool": canary, "srv/data": canary,
	}
	for name, content := range allowed {
		files[name] = content
	}
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
			if err != nil || strings.Contains(string(data), canary) {
				t.Errorf("%s leaks: %q, %v", name, data, err)
			}
		}
	})
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
