//go:build unix

package host

import (
	"math"

	"golang.org/x/sys/unix"
)

// Descriptors is how many files this process may have open. The Go runtime has
// raised the limit to the hard one, and starts other processes with what it was.
func Descriptors() (int64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	return int64(min(uint64(limit.Cur), math.MaxInt64)), nil
}
