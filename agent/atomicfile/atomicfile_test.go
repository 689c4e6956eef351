//go:build linux

package atomicfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Whatever is at a path and at that of the file which replaces it, a write leaves the new
// contents, in a file with no other name.
func TestWhateverIsThereIsReplaced(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte("precious"), 0o600))
	for name, put := range map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"a file":  func(path string) error { return os.WriteFile(path, []byte("a longer old text"), 0o600) },
		"a link":  func(path string) error { return os.Symlink(outside, path) },
		"a FIFO":  func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a name of another file": func(path string) error {
			return os.Link(outside, path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			path := filepath.Join(dir, "f")
			if name != "nothing" {
				must(t, os.MkdirAll(dir, 0o755))
				must(t, put(path))
				must(t, put(path+suffix))
			}
			must(t, Write(path, []byte("new"), 0o644))
			info, err := os.Lstat(path)
			must(t, err)
			if b, err := os.ReadFile(path); string(b) != "new" || err != nil || info.Mode() != 0o644 {
				t.Errorf("%q %v, %v", b, info.Mode(), err)
			}
			must(t, Link(path, "target"))
			if to, err := os.Readlink(path); to != "target" {
				t.Errorf("the link leads to %q, %v", to, err)
			}
			alone(t, dir)
		})
	}
	if b, err := os.ReadFile(outside); string(b) != "precious" {
		t.Errorf("a file elsewhere became %q, %v", b, err)
	}
}

func TestAFileForAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := filepath.Join(t.TempDir(), "f")
	must(t, WriteFor(1234, path, []byte("theirs"), 0o600))
	info, err := os.Stat(path)
	must(t, err)
	if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 1234 || info.Mode() != 0o600 {
		t.Errorf("user %d, mode %v", stat.Uid, info.Mode())
	}
}

func TestAFailureLeavesWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o644))
	if err := Write(path, bytes.Repeat([]byte("x"), 1<<20), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("no room: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the file became %q, %v", b, err)
	}
	alone(t, dir)
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o755))
	if err := Write(path, []byte("x"), 0o644); err == nil {
		t.Error("a directory was replaced")
	}
	alone(t, dir)
}

// alone checks that a directory has one entry.
func alone(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
