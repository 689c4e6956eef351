//go:build linux

// Package atomicfile replaces files of the guest as a whole. The guest may have put anything in
// their place. It may import the standard library only; agent/generation and agent/trust import it.
package atomicfile

import (
	"os"
	"path/filepath"
)

// suffix is that of the file which takes the place of another.
const suffix = ".rundlet-new"

// Write replaces the file at path, which belongs to root then, and makes its directory if there is none. A link at path is
// replaced and not followed. If Write fails, what was there stays. Nothing is synced. Calls for one path must not overlap.
func Write(path string, data []byte, perm os.FileMode) error {
	return WriteFor(os.Geteuid(), path, data, perm)
}

// WriteFor is Write of a file that belongs to a user.
func WriteFor(uid int, path string, data []byte, perm os.FileMode) error {
	return swap(path, func(temp string) error {
		f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
		if err != nil {
			return err
		}
		if uid != os.Geteuid() {
			err = f.Chown(uid, -1)
		}
		if err == nil {
			_, err = f.Write(data)
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return err
	})
}

// Link replaces what is at path by a symbolic link, as Write does.
func Link(path, target string) error {
	return swap(path, func(temp string) error { return os.Symlink(target, temp) })
}

// swap has create make a file, and puts it at path.
func swap(path string, create func(temp string) error) error {
	temp := path + suffix
	err := create(temp)
	switch {
	case os.IsNotExist(err):
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		err = create(temp)
	case os.IsExist(err):
		// A call that was interrupted left it, or the guest.
		if err := os.RemoveAll(temp); err != nil {
			return err
		}
		err = create(temp)
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // It may not have been made.
	}
	return err
}
