//go:build linux

package rootstate

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/envd"
)

// Restore makes what Of has found in another guest with the same files, below root. It replaces files that have the names of special
// ones, and leaves the times of directories as they are.
func Restore(root string, extras []envd.Extra) error {
	root = filepath.Join("/", root)
	times := map[string]time.Time{}
	for _, x := range extras {
		dir := filepath.Dir(filepath.Join(root, filepath.Join("/", string(x.Path))))
		for ; len(dir) >= len(root); dir = filepath.Dir(dir) {
			if _, known := times[dir]; known {
				break
			}
			info, err := os.Lstat(dir)
			if err != nil {
				return err
			}
			if times[dir] = info.ModTime(); dir == "/" {
				break
			}
		}
	}
	for _, x := range extras {
		if err := restore(filepath.Join(root, filepath.Join("/", string(x.Path))), x); err != nil {
			return err
		}
	}
	// The deepest first: on gVisor a change of a directory that is in an image changes the time of the one that it is in.
	dirs := slices.SortedFunc(maps.Keys(times), func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	for _, dir := range dirs {
		if err := os.Chtimes(dir, time.Time{}, times[dir]); err != nil {
			return err
		}
	}
	return nil
}

func restore(path string, x envd.Extra) error {
	switch x.Mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := unix.Mknod(path, x.Mode, int(x.Device)); err != nil {
			return &os.PathError{Op: "mknod", Path: path, Err: err}
		}
		if err := os.Lchown(path, int(x.UID), int(x.GID)); err != nil {
			return err
		}
		if err := os.Chmod(path, os.FileMode(x.Mode&0o777)|modeBits(x.Mode)); err != nil {
			return err
		}
		times := []unix.Timespec{unix.NsecToTimespec(x.Modified), unix.NsecToTimespec(x.Modified)}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "set the time of", Path: path, Err: err}
		}
	}
	for name, value := range x.Attributes {
		if err := unix.Lsetxattr(path, name, value, 0); err != nil {
			return &os.PathError{Op: "set attribute " + name + " of", Path: path, Err: err}
		}
	}
	return nil
}

// modeBits are the bits of a mode above the permissions, for os.Chmod.
func modeBits(mode uint32) (bits os.FileMode) {
	for bit, value := range map[uint32]os.FileMode{unix.S_ISUID: os.ModeSetuid, unix.S_ISGID: os.ModeSetgid, unix.S_ISVTX: os.ModeSticky} {
		if mode&bit != 0 {
			bits |= value
		}
	}
	return bits
}
