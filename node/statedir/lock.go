package statedir

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked is returned for a lock that another process holds.
var ErrLocked = errors.New("in use by another process")

// LockFile takes an exclusive lock that ends with this process or with unlock.
func LockFile(path string) (unlock func(), err error) {
	f, err := flock(path, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// flock opens a file, made if need be, and locks it: unix.LOCK_EX or LOCK_SH. The
// lock is one on the inode, whatever path leads to it, and ends when the file is
// closed.
func flock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, err
	}
	return f, nil
}

// AwaitLock waits its turn for a lock that is held for seconds at most.
func AwaitLock(ctx context.Context, path string) (unlock func(), err error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		unlock, err := LockFile(path)
		if !errors.Is(err, ErrLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}
