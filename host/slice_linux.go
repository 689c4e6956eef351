package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Slice is how long a thread of the daemon or of a sandbox may run before it makes room
// for another one. The kernel's own is 1.4 ms on two processors and 2.8 on eight, and a
// command in a sandbox passes dozens of threads, each of which waits for its turn on a
// busy machine.
const Slice = 300 * time.Microsecond

// ShortenSlices gives every thread of this process Slice, and so each thread and
// process that they start later. It changes how soon they run, and not how much. Linux
// honours it since 6.12; before, it has no effect.
func ShortenSlices() error {
	seen := map[string]bool{}
	for more := true; more; { // A thread that was started meanwhile may come from one without.
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("shorten time slices: %w", err)
		}
		more = false
		for _, thread := range threads {
			if seen[thread.Name()] {
				continue
			}
			seen[thread.Name()], more = true, true
			tid, err := strconv.Atoi(thread.Name())
			if err != nil {
				return fmt.Errorf("shorten time slices: %w", err)
			}
			if err := shorten(tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("shorten time slices: %w", err)
			}
		}
	}
	return nil
}

// shorten leaves a thread as it is that is scheduled in another way, such as in real time.
func shorten(tid int) error {
	attr, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		return err
	}
	if attr.Policy != unix.SCHED_NORMAL && attr.Policy != unix.SCHED_BATCH {
		return nil
	}
	attr.Runtime = uint64(Slice)
	return unix.SchedSetAttr(tid, attr, 0)
}
