//go:build linux

package move

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// other is a directory on a file system that takes few bytes.
func other(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	return dir
}

func TestAcrossFileSystems(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), filepath.Join(other(t), "dst")
	then := time.Unix(1e9, 0)
	must(t, os.MkdirAll(src+"/d", 0o750))
	must(t, os.WriteFile(src+"/d/f", []byte("contents"), 0o600))
	must(t, os.Symlink("d/f", src+"/l"))
	must(t, os.Chown(src+"/d/f", 4242, 4343))
	must(t, os.Chmod(src+"/d/f", 0o640|fs.ModeSetuid))
	must(t, os.Chtimes(src+"/d", then, then))
	must(t, Path(src, dst))
	if _, err := os.Lstat(src); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the source is there: %v", err)
	}
	if to, err := os.Readlink(dst + "/l"); to != "d/f" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	b, err := os.ReadFile(dst + "/d/f")
	must(t, err)
	info, err := os.Stat(dst + "/d/f")
	must(t, err)
	if st := info.Sys().(*syscall.Stat_t); string(b) != "contents" || info.Mode() != 0o640|fs.ModeSetuid || st.Uid != 4242 || st.Gid != 4343 {
		t.Errorf("%q %v %d:%d", b, info.Mode(), st.Uid, st.Gid)
	}
	if info, err := os.Stat(dst + "/d"); err != nil || info.Mode() != fs.ModeDir|0o750 || !info.ModTime().Equal(then) {
		t.Errorf("%v, %v", info, err)
	}
}

// Without room, and where a special file is in the way, both ends stay as they were.
func TestAFailureChangesNothing(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"no room":      func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"special file": func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		src, dst := t.TempDir(), other(t)
		must(t, make(src+"/f"))
		must(t, os.WriteFile(dst+"/f", []byte("old"), 0o600))
		err := Path(src+"/f", dst+"/f")
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(dst + "/f"); string(b) != "old" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		entries, err := os.ReadDir(dst)
		if _, serr := os.Lstat(src + "/f"); serr != nil || len(entries) != 1 {
			t.Errorf("%s: %v, %v, %v", name, serr, entries, err)
		}
	}
}

func TestWithinAFileSystem(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/a", []byte("a"), 0o600))
	must(t, Path(dir+"/a", dir+"/b"))
	if b, err := os.ReadFile(dir + "/b"); string(b) != "a" {
		t.Errorf("%q, %v", b, err)
	}
	if err := Path(dir+"/a", dir+"/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a source that is not there: %v", err)
	}
}
