package statedir

import (
	"context"
	"errors"
	"time"

	"github.com/rundlet/rundlet/internal/flock"
)

// ErrLocked is returned for a lock that another process holds.
var ErrLocked = flock.ErrHeld

// LockFile takes an exclusive lock that ends with this process or with unlock.
func LockFile(path string) (unlock func(), err error) {
	f, err := flock.Try(path)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
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
