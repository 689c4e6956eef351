//go:build linux

package hostbase

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// fakeHost makes a host root whose every file says where it came from.
func fakeHost(t *testing.T, files map[string]string) string {
	t.Helper()
	needRoot(t)
	root := t.TempDir()
	for _, d := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/share", "etc", "root", "home/me", "var/lib/dpkg"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+d, filepath.Join(root, d)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, root, "usr/bin/bash", "bash")
	put(t, root, "agent", "the agent")
	for name, content := range files {
		put(t, root, name, content)
	}
	return root
}

// put writes a file, or a link if the content starts with "->". A name that
// ends in "!" is for its owner only.
func put(t *testing.T, root, name, content string) {
	t.Helper()
	perm := fs.FileMode(0o644)
	if n, ok := strings.CutSuffix(name, "!"); ok {
		name, perm = n, 0o600
	}
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if target, ok := strings.CutPrefix(content, "->"); ok {
		err = os.Symlink(target, file)
	} else {
		err = os.WriteFile(file, []byte(content), perm)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: files of several owners")
	}
}

func build(t *testing.T, host, dir string) Base {
	t.Helper()
	b, err := Build(t.Context(), Config{Dir: dir, AgentPath: filepath.Join(host, "agent"), HostRoot: host})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

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
		case fi.Mode()&fs.ModeSetuid != 0 && name != ".rundlet/bin/sudo":
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

func TestModes(t *testing.T) {
	host := fakeHost(t, nil)
	base := build(t, host, t.TempDir())
	for name, want := range map[string]fs.FileMode{
		"": fs.ModeDir | 0o755, "tmp": fs.ModeDir | fs.ModeSticky | 0o777, "var/tmp": fs.ModeDir | fs.ModeSticky | 0o777,
		"root": fs.ModeDir | 0o700, "etc/shadow": 0o640, "etc/sudoers": 0o440,
		".rundlet/agent": 0o755, ".rundlet/bin/sudo": fs.ModeSetuid | 0o755,
	} {
		fi, err := os.Lstat(filepath.Join(base.Rootfs, name))
		if err != nil || fi.Mode() != want {
			t.Errorf("%q: got %v, %v; want %v", name, fi.Mode(), err, want)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(base.Rootfs, ".rundlet/agent")); string(got) != "the agent" {
		t.Errorf("agent: %q", got)
	}
	put(t, host, "usr/bin/sudo", "sudo of the host")
	base = build(t, host, t.TempDir())
	if exists(base.Rootfs, ".rundlet/bin/sudo") {
		t.Error("our sudo hides that of the host")
	}
}

func TestID(t *testing.T) {
	changes := map[string]func(t *testing.T, host string){
		"agent":            func(t *testing.T, host string) { put(t, host, "agent", "the new agent") },
		"certificate":      func(t *testing.T, host string) { put(t, host, "etc/ssl/certs/new.pem", "new") },
		"package":          func(t *testing.T, host string) { put(t, host, "var/lib/dpkg/status", "more packages") },
		"program":          func(t *testing.T, host string) { put(t, host, "usr/bin/python3", "python") },
		"local configured": func(t *testing.T, host string) { put(t, host, "usr/local/etc/npmrc", "token") },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			host, dir := fakeHost(t, nil), t.TempDir()
			before := build(t, host, dir)
			if again := build(t, host, dir); again.ID != before.ID {
				t.Errorf("the id of an unchanged host went from %s to %s", before.ID, again.ID)
			}
			change(t, host)
			if after := build(t, host, dir); after.ID == before.ID {
				t.Error("the id stayed")
			}
		})
	}
}

func TestMounts(t *testing.T) {
	host := fakeHost(t, map[string]string{"usr/local/etc/npmrc": "token"})
	base := build(t, host, t.TempDir())
	if len(base.Mounts) != 2 || base.Mounts[0].Target != "/usr" || base.Mounts[1].Target != "/usr/local/etc" {
		t.Fatalf("mounts: %+v", base.Mounts)
	}
	for _, m := range base.Mounts {
		if !m.Overlay || !filepath.IsAbs(m.Source) {
			t.Errorf("mount: %+v", m)
		}
	}
	if names, err := os.ReadDir(base.Mounts[1].Source); err != nil || len(names) != 0 {
		t.Errorf("what hides /usr/local/etc has %v, %v", names, err)
	}
}

func TestLifecycle(t *testing.T) {
	host, dir := fakeHost(t, nil), filepath.Join(t.TempDir(), "bases")
	if ids, err := List(dir); err != nil || len(ids) != 0 {
		t.Fatalf("list before the first build: %v, %v", ids, err)
	}
	old := build(t, host, dir)
	put(t, host, "usr/bin/python3", "python")
	put(t, dir, ".tmp-crashed/etc/passwd", "half a build")
	now := build(t, host, dir)
	want := []string{old.ID, now.ID}
	slices.Sort(want)
	if ids, err := List(dir); err != nil || !slices.Equal(ids, want) {
		t.Errorf("list: %v, %v; want %v", ids, err, want)
	}
	for range 2 {
		if err := Remove(dir, old.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := Remove(dir, "../"+filepath.Base(dir)); err == nil {
		t.Error("removed outside of its directory")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != ".lock" || left[1].Name() != now.ID {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	host, dir := fakeHost(t, nil), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, Config{Dir: dir, AgentPath: filepath.Join(host, "agent"), HostRoot: host}); !errors.Is(err, context.Canceled) {
		t.Errorf("build: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != ".lock" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, host string, cfg *Config)
		kind  error
	}{
		"lib is a directory": {func(t *testing.T, host string, _ *Config) {
			os.Remove(filepath.Join(host, "lib"))
			os.Mkdir(filepath.Join(host, "lib"), 0o755)
		}, ErrUnsupportedHost},
		"no bin": {func(t *testing.T, host string, _ *Config) { os.Remove(filepath.Join(host, "bin")) }, ErrUnsupportedHost},
		"bin leads away": {func(t *testing.T, host string, _ *Config) {
			os.Remove(filepath.Join(host, "bin"))
			put(t, host, "bin", "->opt")
		}, ErrUnsupportedHost},
		"no bash":              {func(t *testing.T, host string, _ *Config) { os.Remove(filepath.Join(host, "usr/bin/bash")) }, ErrUnsupportedHost},
		"no agent":             {func(t *testing.T, _ string, cfg *Config) { cfg.AgentPath += "x" }, os.ErrNotExist},
		"agent is a directory": {func(t *testing.T, host string, cfg *Config) { cfg.AgentPath = host }, nil},
		"nameserver":           {func(t *testing.T, _ string, cfg *Config) { cfg.Nameservers = []string{"1.1.1.1\nsearch evil"} }, nil},
		"huge configuration": {func(t *testing.T, host string, _ *Config) {
			for _, n := range "0123456789" {
				put(t, host, "etc/python3/"+string(n), strings.Repeat("x", maxHostFile))
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			host := fakeHost(t, nil)
			cfg := Config{Dir: t.TempDir(), AgentPath: filepath.Join(host, "agent"), HostRoot: host}
			c.spoil(t, host, &cfg)
			if b, err := Build(t.Context(), cfg); err == nil || c.kind != nil && !errors.Is(err, c.kind) {
				t.Errorf("got %+v, %v", b, err)
			}
			if ids, _ := List(cfg.Dir); len(ids) != 0 {
				t.Errorf("left %v", ids)
			}
		})
	}
}
