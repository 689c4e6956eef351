//go:build linux

package erofs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mounted calls fn with the directory where the kernel shows an image, in a mount namespace
// that ends with its thread.
func mounted(t *testing.T, image string, fn func(dir string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if kinds, _ := os.ReadFile("/proc/filesystems"); !strings.Contains(string(kinds), "\terofs\n") {
		if out, err := exec.Command("modprobe", "erofs").CombinedOutput(); err != nil {
			t.Skipf("this kernel has no EROFS: %s", out)
		}
	}
	dir, done := t.TempDir(), make(chan error)
	go func() {
		runtime.LockOSThread() // And ends with the goroutine.
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
				return err
			}
			err := unix.Mount(image, dir, "erofs", unix.MS_RDONLY, "")
			if errors.Is(err, unix.ENOTBLK) { // Before Linux 6.12.
				var out []byte
				if out, err = exec.Command("mount", "-t", "erofs", "-o", "loop,ro", image, dir).CombinedOutput(); err != nil {
					err = fmt.Errorf("%w: %s", err, out)
				}
			}
			if err != nil {
				return fmt.Errorf("mount the image: %w", err)
			}
			defer func() { _ = unix.Unmount(dir, 0) }()
			fn(dir)
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// describe returns all that an image keeps of each file below a directory.
func describe(t *testing.T, root string) map[string]string {
	t.Helper()
	all, links := map[string]string{}, map[uint64][]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name := "." + strings.TrimPrefix(path, root)
		what := fmt.Sprintf("mode %o owner %d:%d time %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" size %d content %x", st.Size, sha256.Sum256(data))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" target %q", target)
		case unix.S_IFCHR, unix.S_IFBLK:
			what += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		own, err := attributes(path)
		if err != nil {
			return err
		}
		for _, attribute := range slices.Sorted(maps.Keys(own)) {
			what += fmt.Sprintf(" %s=%q", attribute, own[attribute])
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			what += fmt.Sprintf(" links %d", st.Nlink)
			links[st.Ino] = append(links[st.Ino], name)
		}
		all[name] = what
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, names := range links {
		for _, name := range names {
			all[name] += fmt.Sprintf(" same as %q", names)
		}
	}
	return all
}

// compare reports differences of what describe returns.
func compare(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name, what := range want {
		if got[name] != what {
			t.Errorf("%q is\n\t%s, want\n\t%s", name, got[name], what)
		}
	}
	for name := range got {
		if want[name] == "" {
			t.Errorf("%q is in the image only", name)
		}
	}
}
