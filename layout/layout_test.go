package layout

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func env(kv map[string]string) func(string) string { return func(k string) string { return kv[k] } }

func resolve(t *testing.T, explicit Layout, kv map[string]string) Layout {
	t.Helper()
	l, err := Resolve(explicit, env(kv))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDefaultsAreUnderHome(t *testing.T) {
	got := resolve(t, Layout{}, map[string]string{"HOME": "/h"})
	if want := (Layout{"/h/.rundlet/state", "/h/.rundlet/cache", "/run/rundlet"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheRunDirectoryIsOneOfTheUser(t *testing.T) {
	for _, c := range []struct {
		user          int
		ofUser, wants string
	}{{0, "/run/user/0", "/run/rundlet"}, {7, "/x", "/x/rundlet"}, {7, "", "/run/user/7/rundlet"}} {
		if got := runDir(c.user, c.ofUser); got != c.wants {
			t.Errorf("user %d with %q has %s, want %s", c.user, c.ofUser, got, c.wants)
		}
	}
}

func TestStorageIsNeverUnderTheTempDirectory(t *testing.T) {
	for _, home := range []string{"/h", ""} {
		plain := resolve(t, Layout{}, map[string]string{"HOME": home})
		for _, name := range []string{"TMPDIR", "TMP", "TEMP", "TEMPDIR"} {
			got := resolve(t, Layout{}, map[string]string{"HOME": home, name: "/somewhere/tmp"})
			if got != plain {
				t.Errorf("HOME %q: %s moves it from %+v to %+v", home, name, plain, got)
			}
		}
	}
}

func TestEnvironmentOverridesAreUsedExactly(t *testing.T) {
	all := map[string]string{"HOME": "/h", EnvStateDir: "/s", EnvCacheDir: "/c", EnvRunDir: "/r"}
	if got, want := resolve(t, Layout{}, all), (Layout{"/s", "/c", "/r"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	one := map[string]string{"HOME": "/h", EnvCacheDir: "/c"}
	if got, want := resolve(t, Layout{}, one), (Layout{"/h/.rundlet/state", "/c", "/run/rundlet"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestExplicitRootsWin(t *testing.T) {
	kv := map[string]string{"HOME": "/h", EnvStateDir: "/s", EnvCacheDir: "/c", EnvRunDir: "/r"}
	if got, want := resolve(t, Layout{"/1", "/2", "/3"}, kv), (Layout{"/1", "/2", "/3"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := resolve(t, Layout{StateDir: "/1"}, kv), (Layout{"/1", "/c", "/r"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestEveryPathIsBelowTheRootThatItBelongsTo(t *testing.T) {
	l := Layout{"/s", "/c", "/r"}
	for path, root := range map[string]string{
		l.Database(): l.StateDir, l.Templates(): l.StateDir, l.DriverState("gvisor"): l.StateDir,
		l.EgressAuthority(): l.StateDir, l.Kernels(): l.StateDir,
		l.AgentDir(): l.CacheDir, l.InstanceDir(l.Instance()): l.RunDir,
	} {
		if !strings.HasPrefix(path, root+"/") {
			t.Errorf("%s is not below %s", path, root)
		}
	}
}

func TestResolveWithoutHomeIsAbsolute(t *testing.T) {
	got, err := Resolve(Layout{}, env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(got.StateDir) || !strings.HasSuffix(got.StateDir, ".rundlet/state") {
		t.Errorf("state dir %q", got.StateDir)
	}
}

func TestInstanceIsStableShortAndDistinct(t *testing.T) {
	a, again, b := Layout{StateDir: "/a"}, Layout{StateDir: "/a", CacheDir: "/c"}, Layout{StateDir: "/b"}
	if a.Instance() != again.Instance() || a.Instance() == b.Instance() {
		t.Errorf("instances %q and %q", a.Instance(), b.Instance())
	}
	if len(a.Instance()) > 7 {
		t.Errorf("instance %q is too long for interface names", a.Instance())
	}
}

func TestMakeIsPrivate(t *testing.T) {
	root := t.TempDir()
	l := Layout{filepath.Join(root, "s"), filepath.Join(root, "c"), filepath.Join(root, "r")}
	if err := l.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := l.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("second call: %v", err)
	}
	for _, dir := range []string{l.StateDir, l.CacheDir, l.RunDir} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
}
