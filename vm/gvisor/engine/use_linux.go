package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/specutils"
)

// HighDescriptor is above what a sandbox process opens by number (253 is the highest),
// and above what gVisor passes to one.
const HighDescriptor = 511

// used is the program that gVisor starts in this process: gVisor has one variable for it.
var used struct {
	sync.Mutex
	base string
	file os.FileInfo
}

// Use makes gVisor start the program at path as the processes of sandboxes from now on. It
// holds the file open for the life of this process, so the file may be removed and the
// directories above it need not be searchable for those processes. Repeated calls for the
// same program change nothing.
//
// The descriptor has a high number for another reason, too. The kernel gives a child a
// table of descriptors as large as its parent's, and the table survives the child's exec.
// To grow one in a process with threads the kernel waits until every processor has passed
// a point of rest (an RCU grace period): each start of a sandbox waited so for 5 to 13 ms,
// and hundreds on a busy machine. It costs this process one such wait, and each sandbox
// 4 KiB of the kernel's memory.
func Use(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode()&0o5 != 0o5 {
		return fmt.Errorf("%s is not readable and executable by every user", path)
	}
	used.Lock()
	defer used.Unlock()
	if used.file != nil && (os.SameFile(used.file, info) || used.base == filepath.Base(path)) {
		return nil // The base name has the digest of the contents.
	}
	used.base, used.file = filepath.Base(path), info
	if fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, HighDescriptor); err == nil {
		path = fmt.Sprintf("/proc/self/fd/%d", fd)
	} // Else the limit of descriptors is lower.
	specutils.ExePath = path
	return nil
}
