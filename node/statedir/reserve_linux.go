package statedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/layout"
)

// reserveBytes is more than the database needs to be opened, and to forget a few snapshots.
const reserveBytes = 4 << 20

func reserve(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "reserve") }

// Reserve keeps room on the disk for Spend, unless it is kept, or there is little left.
func Reserve(dirs layout.Layout) error {
	path := reserve(dirs)
	if info, err := os.Lstat(path); err == nil && info.Size() == reserveBytes {
		return nil
	}
	free, err := host.Host{}.FreeBytes(dirs.StateDir)
	if err != nil || free < 2*reserveBytes {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserveBytes)
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = f.Write(make([]byte, reserveBytes))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Spend gives up the room that Reserve keeps, if the disk is full: what frees room has to write to the database first. Reserve
// follows it.
func Spend(dirs layout.Layout) error {
	free, err := host.Host{}.FreeBytes(dirs.StateDir)
	if err != nil || free >= reserveBytes {
		return err
	}
	if err := os.Remove(reserve(dirs)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
