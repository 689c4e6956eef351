package layout

import (
	"path/filepath"
	"strings"
	"testing"
)

func env(kv map[string]string) func(string) string { return func(k string) string { return kv[k] } }

func TestResolve(t *testing.T) {
	for _, tc := range []struct {
		name     string
		explicit Layout
		env      map[string]string
		want     Layout
	}{
		{"defaults are under home", Layout{}, map[string]string{"HOME": "/h"},
			Layout{"/h/.rundlet/state", "/h/.rundlet/cache", "/run/rundlet"}},
		{"environment is used exactly", Layout{}, map[string]string{"HOME": "/h", EnvStateDir: "/s", EnvCacheDir: "/c", EnvRunDir: "/r"},
			Layout{"/s", "/c", "/r"}},
		{"explicit wins over environment", Layout{StateDir: "/flag"}, map[string]string{"HOME": "/h", EnvStateDir: "/s"},
			Layout{"/flag", "/h/.rundlet/cache", "/run/rundlet"}},
		{"the temp directory is never chosen", Layout{}, map[string]string{"HOME": "/h", "TMPDIR": "/somewhere/tmp"},
			Layout{"/h/.rundlet/state", "/h/.rundlet/cache", "/run/rundlet"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Resolve(tc.explicit, env(tc.env))
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
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
	if err := l.Make(); err != nil {
		t.Fatal(err)
	}
	if err := l.Make(); err != nil {
		t.Fatalf("second call: %v", err)
	}
}
