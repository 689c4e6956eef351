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
	"testing"

	"github.com/rundlet/rundlet/vm"
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

func TestModes(t *testing.T) {
	host := fakeHost(t, nil)
	base := build(t, host, t.TempDir())
	for name, want := range map[string]fs.FileMode{
		"": fs.ModeDir | 0o755, "tmp": fs.ModeDir | fs.ModeSticky | 0o777, "var/tmp": fs.ModeDir | fs.ModeSticky | 0o777,
		"root": fs.ModeDir | 0o700, "etc/shadow": 0o640, "etc/sudoers": 0o440,
		".rundlet/agent": 0o755, ".rundlet/bin/sudo": 0o755,
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

// TestNothingOnTheHostIsSetUID also mends what earlier versions made.
func TestNothingOnTheHostIsSetUID(t *testing.T) {
	host, dir := fakeHost(t, nil), t.TempDir()
	base := build(t, host, dir)
	half := filepath.Join(dir, stagingPrefix+"1")
	put(t, half, ".rundlet/bin/sudo", "the agent")
	for _, root := range []string{base.Rootfs, half} {
		if err := os.Chmod(filepath.Join(root, sudoPath), 0o755|fs.ModeSetuid); err != nil {
			t.Fatal(err)
		}
	}
	if err := Mend(dir); err != nil {
		t.Fatal(err)
	}
	walk(t, dir, func(name string, fi fs.FileInfo) {
		if fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s is %v", name, fi.Mode())
		}
	})
	for _, path := range SetUID {
		if fi, err := os.Lstat(filepath.Join(base.Rootfs, path)); err != nil || fi.Mode() != 0o755 {
			t.Errorf("%s: %v, %v", path, fi, err)
		}
	}
}

func TestID(t *testing.T) {
	changes := map[string]func(t *testing.T, host string){
		"agent":            func(t *testing.T, host string) { put(t, host, "agent", "the new agent") },
		"certificate":      func(t *testing.T, host string) { put(t, host, "etc/ssl/certs/new.pem", testCertificate(t)) },
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

// A place for configuration that is empty now is hidden, too: what comes later does not
// change the base.
func TestEmptyPlacesOfConfigurationAreHidden(t *testing.T) {
	host := fakeHost(t, map[string]string{"usr/bin/sh": "->bash"})
	if err := os.MkdirAll(filepath.Join(host, "usr/local/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	base := build(t, host, t.TempDir())
	if !slices.ContainsFunc(base.Mounts, func(m vm.Mount) bool { return m.Target == "/usr/local/etc" }) {
		t.Errorf("mounts %+v", base.Mounts)
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

func TestConcurrentBuilds(t *testing.T) {
	host, dir := fakeHost(t, nil), t.TempDir()
	errs := make(chan error)
	const n = 8
	for range n {
		go func() {
			b, err := Build(t.Context(), Config{Dir: dir, AgentPath: filepath.Join(host, "agent"), HostRoot: host})
			if err == nil && !exists(b.Rootfs, "etc/passwd") {
				err = errors.New("returned before the build was complete")
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if ids, err := List(dir); err != nil || len(ids) != 1 {
		t.Errorf("builds: %v, %v", ids, err)
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
		text  string
	}{
		"lib is a directory": {func(t *testing.T, host string, _ *Config) {
			os.Remove(filepath.Join(host, "lib"))
			os.Mkdir(filepath.Join(host, "lib"), 0o755)
		}, ErrUnsupportedHost, ""},
		"no bin": {func(t *testing.T, host string, _ *Config) { os.Remove(filepath.Join(host, "bin")) }, ErrUnsupportedHost, ""},
		"bin leads away": {func(t *testing.T, host string, _ *Config) {
			os.Remove(filepath.Join(host, "bin"))
			put(t, host, "bin", "->opt")
		}, ErrUnsupportedHost, ""},
		"no bash":              {func(t *testing.T, host string, _ *Config) { os.Remove(filepath.Join(host, "usr/bin/bash")) }, ErrUnsupportedHost, ""},
		"no agent":             {func(t *testing.T, _ string, cfg *Config) { cfg.AgentPath += "x" }, os.ErrNotExist, ""},
		"agent is a directory": {func(t *testing.T, host string, cfg *Config) { cfg.AgentPath = host }, nil, ""},
		"nameserver":           {func(t *testing.T, _ string, cfg *Config) { cfg.Nameservers = []string{"1.1.1.1\nsearch evil"} }, nil, ""},
		"huge configuration": {func(t *testing.T, host string, _ *Config) {
			for _, n := range "0123456789" {
				put(t, host, "etc/ld.so.conf.d/"+string(n), strings.Repeat("/"+strings.Repeat("x", 98)+"\n", maxHostFile/100))
			}
		}, nil, "bytes of configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			host := fakeHost(t, nil)
			cfg := Config{Dir: t.TempDir(), AgentPath: filepath.Join(host, "agent"), HostRoot: host}
			c.spoil(t, host, &cfg)
			if b, err := Build(t.Context(), cfg); err == nil || c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %+v, %v", b, err)
			}
			if ids, _ := List(cfg.Dir); len(ids) != 0 {
				t.Errorf("left %v", ids)
			}
		})
	}
}

func TestTheHostStampChangesWithWhatIsInstalled(t *testing.T) {
	host := fakeHost(t, nil)
	before := HostStamp(host)
	if HostStamp(host) != before {
		t.Fatal("it changes without a cause")
	}
	put(t, host, "usr/bin/new", "x")
	installed := HostStamp(host)
	put(t, host, "etc/ld.so.cache", "longer than before")
	if configured := HostStamp(host); installed == before || configured == installed {
		t.Errorf("stamps %s, %s, %s", before, installed, configured)
	}
}
