//go:build unix

package layout

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestADirectoryOthersCanReachIsMadePrivateOrRefused has each of the three
// directories made by somebody else before the first start.
func TestADirectoryOthersCanReachIsMadePrivateOrRefused(t *testing.T) {
	mode := func(perm os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir, 0o700))
			must(t, os.Chmod(dir, perm))
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		root    bool   // Needs root.
		refused string // What the error says; empty if it is made private.
		logged  bool
	}{
		"private":              {prepare: mode(0o700)},
		"of a service manager": {prepare: mode(0o755), logged: true},
		"for all":              {prepare: mode(0o777), logged: true},
		"for a group":          {prepare: mode(0o770), logged: true},
		"set-gid":              {prepare: mode(0o750 | os.ModeSetgid), logged: true},
		"ours for long": {prepare: func(t *testing.T, dir string) {
			mode(0o755)(t, dir)
			must(t, os.WriteFile(filepath.Join(dir, "rundlet.db"), nil, 0o644))
			must(t, os.WriteFile(filepath.Join(dir, "notes"), nil, 0o644))
		}, logged: true},
		"a separate file system": {prepare: func(t *testing.T, dir string) {
			mode(0o755)(t, dir)
			must(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
		}, logged: true},
		"of another program": {prepare: func(t *testing.T, dir string) {
			mode(0o755)(t, dir)
			must(t, os.WriteFile(filepath.Join(dir, "dpkg"), nil, 0o644))
		}, refused: "files of other programs (dpkg)"},
		"a file": {prepare: func(t *testing.T, dir string) { must(t, os.WriteFile(dir, nil, 0o600)) }, refused: "not a directory"},
		"below one for all": {prepare: func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir, 0o700))
			must(t, os.Chmod(filepath.Dir(dir), 0o777))
		}, refused: "writable by all users"},
		"below a sticky one": {prepare: func(t *testing.T, dir string) {
			must(t, os.Mkdir(dir, 0o700))
			must(t, os.Chmod(filepath.Dir(dir), 0o777|os.ModeSticky))
		}},
		"a link": {prepare: func(t *testing.T, dir string) {
			mode(0o755)(t, dir+"-real")
			must(t, os.Symlink(filepath.Base(dir)+"-real", dir))
		}, logged: true},
		"of another user": {prepare: func(t *testing.T, dir string) {
			mode(0o700)(t, dir)
			must(t, os.Chown(dir, 65534, 65534))
		}, root: true, refused: "belongs to user 65534"},
		"below another user's": {prepare: func(t *testing.T, dir string) {
			mode(0o700)(t, dir)
			must(t, os.Chown(filepath.Dir(dir), 65534, 65534))
		}, root: true, logged: true},
		"below that of the user of sudo": {prepare: func(t *testing.T, dir string) {
			mode(0o700)(t, dir)
			must(t, os.Chown(filepath.Dir(dir), 65534, 65534))
			t.Setenv("SUDO_UID", "65534")
		}, root: true},
		"a link of another user": {prepare: func(t *testing.T, dir string) {
			mode(0o700)(t, dir+"-real")
			must(t, os.Symlink(dir+"-real", dir))
			must(t, os.Lchown(dir, 65534, 65534))
		}, root: true, refused: "link owned by user 65534"},
		"a link of the user of sudo": {prepare: func(t *testing.T, dir string) {
			mode(0o700)(t, dir+"-real")
			must(t, os.Symlink(dir+"-real", dir))
			must(t, os.Lchown(dir, 65534, 65534))
			t.Setenv("SUDO_UID", "65534")
		}, root: true},
		"a link through a directory for all": {prepare: func(t *testing.T, dir string) {
			open := dir + "-open"
			mode(0o777)(t, open)
			mode(0o700)(t, filepath.Join(open, "real"))
			must(t, os.Symlink(filepath.Join(open, "real"), dir))
		}, refused: "writable by all users"},
	} {
		for i := range 3 {
			t.Run(name+"/"+[]string{"state", "cache", "run"}[i], func(t *testing.T) {
				if c.root && os.Geteuid() != 0 {
					t.Skip("needs root")
				}
				root := t.TempDir()
				dirs := [3]string{}
				for j, sub := range []string{"state", "cache", "run"} {
					dirs[j] = filepath.Join(root, sub, "dir")
					must(t, os.Mkdir(filepath.Dir(dirs[j]), 0o755))
				}
				c.prepare(t, dirs[i])
				var log bytes.Buffer
				err := Layout{dirs[0], dirs[1], dirs[2]}.Make(slog.New(slog.NewTextHandler(&log, nil)))
				if c.refused != "" {
					if err == nil || !strings.Contains(err.Error(), c.refused) {
						t.Errorf("got %v, want an error with %q", err, c.refused)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, dir := range dirs {
					if info, err := os.Stat(dir); err != nil || info.Mode() != 0o700|os.ModeDir {
						t.Errorf("%s: %v, %v", dir, info.Mode(), err)
					}
				}
				if logged := log.Len() > 0; logged != c.logged {
					t.Errorf("log: %q", log.String())
				}
			})
		}
	}
}

// TestDirectoriesInOneAnother are made 0755 by an administrator, with nothing in
// them, or with what leads to another one of ours.
func TestDirectoriesInOneAnother(t *testing.T) {
	for _, subs := range [][3]string{
		{".", "cache", "run"}, {"state", ".", "run"}, {"state", "cache", "."}, {"var/state", ".", "var/run"}, {".", ".", "."},
	} {
		root := t.TempDir()
		must(t, os.Chmod(root, 0o755))
		l := Layout{filepath.Join(root, subs[0]), filepath.Join(root, subs[1]), filepath.Join(root, subs[2])}
		for range 2 {
			if err := l.Make(slog.New(slog.DiscardHandler)); err != nil {
				t.Errorf("%v: %v", subs, err)
			}
		}
		for _, dir := range []string{root, l.StateDir, l.CacheDir, l.RunDir} {
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%v: %s: %v, %v", subs, dir, info.Mode(), err)
			}
		}
		must(t, os.Chmod(root, 0o755))
		must(t, os.WriteFile(filepath.Join(root, "zebra"), nil, 0o644))
		if subs == [3]string{".", ".", "."} {
			if err := l.Make(slog.New(slog.DiscardHandler)); err == nil {
				t.Error("a directory with a stranger's file is taken")
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
