// Package statedir guards a state directory: which processes may use it at the same time, by
// which path, with which run directory, and whether its database is the one that
// its saved snapshots belong to. It may import layout, store, host and vm; node and the
// command line import it.
//
// A state directory has one daemon, whatever its run directory is and whatever
// path leads there: two would each take the other's sandboxes for lost. Lock takes
// an exclusive lock on an inode in the state directory, so that no path leads
// around it. An ephemeral node, as of "rundlet run", has a separate instance
// beside the daemon and touches nothing of another; it takes Share, which only
// keeps the database from being replaced. LockDatabase excludes both.
package statedir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/layout"
)

func daemonLock(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "daemon.lock") }

func useLock(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "use.lock") }

// lockPatience is how long a lock may be held by a process that is gone: one that
// was killed while it started another has left its files to that until it
// executes.
const lockPatience = 2 * time.Second

// Lock takes the daemon's lock on a state directory and writes its process id into
// the file. The error names the process that holds it.
func Lock(ctx context.Context, dirs layout.Layout) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	path := daemonLock(dirs)
	for {
		f, err := flock.Try(path)
		if err == nil {
			if err := markFormat(dirs); err != nil {
				f.Close()
				return nil, err
			}
			writeHolder(f)
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("lock the state directory %s: %w", dirs.StateDir, err)
		}
		pid := holder(path)
		if pid == 0 || unix.Kill(pid, 0) == nil {
			return nil, servedBy(dirs, pid)
		}
		select {
		case <-ctx.Done():
			return nil, servedBy(dirs, 0)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// servedBy is why a state directory cannot be taken; pid is 0 if it is not known.
func servedBy(dirs layout.Layout, pid int) error {
	who := ""
	if pid != 0 {
		who = fmt.Sprintf(" (process %d)", pid)
	}
	return fmt.Errorf("another rundlet daemon%s serves the state directory %s; stop it first, or use another --state-dir", who, dirs.StateDir)
}

// writeHolder records the process that holds a lock. The number is for the message of the next one:
// a full disk does not keep a daemon from starting.
func writeHolder(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

// holder returns the process that says it holds a lock, or 0.
func holder(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}

// Share keeps the database from being replaced, beside the daemon and others.
func Share(_ context.Context, dirs layout.Layout) (unlock func(), err error) {
	f, err := flock.TryShared(useLock(dirs))
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("the database of %s is being restored; try again after the restore", dirs.StateDir)
	}
	if err == nil {
		err = markFormat(dirs)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// LockDatabase excludes the daemon and every "rundlet run" of a state directory.
func LockDatabase(ctx context.Context, dirs layout.Layout) (unlock func(), err error) {
	daemon, err := Lock(ctx, dirs)
	if err != nil {
		return nil, err
	}
	f, err := flock.Try(useLock(dirs))
	if err != nil {
		daemon()
		if errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("state directory %s is in use by \"rundlet run\"; retry when it has ended", dirs.StateDir)
		}
		return nil, err
	}
	return func() { f.Close(); daemon() }, nil
}
