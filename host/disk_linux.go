package host

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"golang.org/x/sys/unix"
)

// FreeBytes returns what an ordinary user could still write to the file system
// that holds root: the column "Available" of df. It blocks for as long as the
// file system does. It implements disk.Probe.
func (Host) FreeBytes(root string) (int64, error) {
	st, err := statfs(root)
	return size(st.Bavail, st.Frsize), err
}

// size is blocks times bytes, or the largest number if that is too much: what
// a file system over the network says need not be true.
func size(blocks uint64, bytes int64) int64 {
	high, low := bits.Mul64(blocks, uint64(max(bytes, 0)))
	if high > 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low)
}

// TotalBytes returns the size of the file system that holds root, without what
// is kept for the superuser.
func (Host) TotalBytes(root string) (int64, error) {
	st, err := statfs(root)
	return size(st.Blocks-st.Bfree+st.Bavail, st.Frsize), err
}

// statfs returns a zero result with an error.
func statfs(root string) (st unix.Statfs_t, err error) {
	for {
		err = unix.Statfs(root, &st)
		switch {
		case err == nil:
			return st, nil
		case !errors.Is(err, unix.EINTR):
			return unix.Statfs_t{}, fmt.Errorf("statfs %s: %w", root, err)
		}
	}
}
