//go:build unix

// Package flock takes advisory locks on files, for packages that share a
// directory with other processes. It may import golang.org/x/sys; any package of
// the host may import it.
package flock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrHeld is returned for a lock that another process, or another call of this
// one, holds.
var ErrHeld = errors.New("in use by another process")

// A lock is one on the inode, whatever path leads to it. It ends when the
// returned file is closed, and with the process. The file is made, readable by its
// owner only, if need be, and stays.

// Try takes an exclusive lock, or fails with ErrHeld.
func Try(path string) (*os.File, error) { return lock(path, unix.LOCK_EX|unix.LOCK_NB) }

// TryShared takes a lock that only excludes exclusive ones, or fails with ErrHeld.
func TryShared(path string) (*os.File, error) { return lock(path, unix.LOCK_SH|unix.LOCK_NB) }

// Wait takes an exclusive lock as soon as it is free.
func Wait(path string) (*os.File, error) { return lock(path, unix.LOCK_EX) }

func lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrHeld
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
