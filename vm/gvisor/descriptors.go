//go:build linux

package gvisor

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// highDescriptor is above what a sandbox process opens by number (253 is the highest).
const highDescriptor = 511

// widenDescriptors holds one high descriptor, once in a process, and for its whole life.
// The kernel gives a child a table of descriptors as large as its parent's, and the
// table survives the child's exec. To grow one in a process with threads the kernel
// waits until every processor has passed a point of rest (an RCU grace period): each
// start of a sandbox waited so for 5 to 13 ms, and hundreds on a busy machine. It costs
// this process one such wait, and each sandbox 4 KiB of the kernel's memory.
//
// Where the limit of descriptors is lower nothing changes.
var widenDescriptors = sync.OnceFunc(func() {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return
	}
	defer null.Close()
	_, _ = unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, highDescriptor)
})
