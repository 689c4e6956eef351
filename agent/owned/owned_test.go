//go:build linux

package owned

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/rundlet/rundlet/agent/account"
)

var ann = account.User{Name: "ann", UID: 4242, GID: 4343}

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the agent is root in its guest; run these tests as root")
	}
}

func TestMkdirAllGivesAwayWhatItMadeOnly(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	for range 2 { // the second time all of it is there
		if err := MkdirAll(filepath.Join(root, "a/b/c"), ann); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"a", "a/b", "a/b/c"} {
		if uid, gid := owner(t, filepath.Join(root, p)); uid != ann.UID || gid != ann.GID {
			t.Errorf("%s belongs to %d:%d", p, uid, gid)
		}
		if info, _ := os.Stat(filepath.Join(root, p)); info.Mode() != fs.ModeDir|0o755 {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
	}
	if uid, _ := owner(t, root); uid != 0 {
		t.Errorf("what was there belongs to %d now", uid)
	}
}

func TestMkdirAllRefuses(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"loop": "loop", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]error{
		"file":       syscall.ENOTDIR,
		"file/x":     syscall.ENOTDIR,
		"loop":       syscall.ELOOP,
		"loop/x":     syscall.ELOOP,
		"dangling":   fs.ErrNotExist,
		"dangling/x": fs.ErrNotExist,
	} {
		if err := MkdirAll(filepath.Join(root, path), ann); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if uid, _ := owner(t, filepath.Join(root, "file")); uid != 0 {
		t.Errorf("the file belongs to %d now", uid)
	}
}

// A link to a directory is as good as the directory.
func TestMkdirAllFollowsLinks(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "real"), 0o700), os.Symlink("real", filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(root, "link/x"), ann); err != nil {
		t.Fatal(err)
	}
	if uid, _ := owner(t, filepath.Join(root, "real/x")); uid != ann.UID {
		t.Errorf("belongs to %d", uid)
	}
}

func TestMkdirAllAtOnce(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "a/b/c/d/e/f")
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := MkdirAll(path, ann); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if uid, _ := owner(t, path); uid != ann.UID {
		t.Errorf("belongs to %d", uid)
	}
}
