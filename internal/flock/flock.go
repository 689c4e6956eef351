//go:build unix

// Package flock takes advisory locks on files, for packages that share a
// directory with other processes. It may import golang.org/x/sys and internal/retry; any
// package of the host may import it.
package flock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/retry"
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

// pauses are those between two attempts of Await.
var pauses = retry.Pauses{First: 10 * time.Millisecond, Most: 500 * time.Millisecond}

// Await is Try as soon as the lock is free. If ctx ends before that, it returns the cause.
func Await(ctx context.Context, path string) (f *os.File, err error) {
	err = pauses.Do(ctx, func() (err error) {
		if f, err = Try(path); errors.Is(err, ErrHeld) {
			return err
		}
		return retry.Stop(err)
	}, nil)
	return f, err
}

// Held reports whether a call of Try would fail at this moment. It makes no file: fs.ErrNotExist.
func Held(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

func lock(path string, how int) (*os.File, error) {
	for {
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
		// Who held it may have removed the file: the next one locks another.
		mine, err := f.Stat()
		named, gone := os.Stat(path)
		if err == nil && gone == nil && os.SameFile(mine, named) {
			return f, nil
		}
		if errors.Is(gone, fs.ErrNotExist) {
			gone = nil
		}
		if err = errors.Join(err, gone, f.Close()); err != nil {
			return nil, err
		}
	}
}
