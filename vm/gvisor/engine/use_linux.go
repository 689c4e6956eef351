package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

// HighDescriptor is above what a sandbox process opens by number (253 is the highest),
// and above what is passed to one.
const HighDescriptor = 511

// used are the programs that this process holds open.
var used struct {
	sync.Mutex
	programs []program
}

// program is one of them.
type program struct {
	base, path string
	file       os.FileInfo
}

// Use returns a path by which this process, and those that it starts, can execute the program at
// path from now on. It holds the file open for the life of this process, so the file may be
// removed and the directories above it need not be searchable for those processes. Repeated
// calls for the same program return the same path.
//
// The descriptor has a high number for another reason, too. The kernel gives a child a
// table of descriptors as large as its parent's, and the table survives the child's exec.
// To grow one in a process with threads the kernel waits until every processor has passed
// a point of rest (an RCU grace period): each start of a sandbox waited so for 5 to 13 ms,
// and hundreds on a busy machine. It costs this process one such wait, and each sandbox
// 4 KiB of the kernel's memory.
func Use(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode()&0o5 != 0o5 {
		return "", fmt.Errorf("%s is not readable and executable by every user", path)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return "", err
	}
	if fs.Flags&unix.ST_NOEXEC != 0 {
		return "", fmt.Errorf("%s: %w", path, errNoExec)
	}
	used.Lock()
	defer used.Unlock()
	p := program{base: filepath.Base(path), path: path, file: info}
	for _, other := range used.programs {
		if os.SameFile(other.file, info) || other.base == p.base && launch.EngineName(path) != "" {
			return other.path, nil // The base name has the digest of the contents.
		}
	}
	if fd, err := holdHigh(int(f.Fd())); err == nil {
		p.path = fmt.Sprintf("/proc/self/fd/%d", fd)
	} // Else the limit of descriptors is lower.
	used.programs = append(used.programs, p)
	return p.path, nil
}

// shuffled is more than the files that are passed to a process.
const shuffled = 64

// holdHigh opens file again as a descriptor of HighDescriptor or above, with shuffled others of
// the same file right below it, which are never passed to a process. Go gives a child
// its files by way of the numbers that follow the highest of them, whatever is open there:
// if that was among the last below the program's, the child had another file in its place.
func holdHigh(file int) (high int, err error) {
	var held []int
	release := func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
		held = nil
	}
	for next := HighDescriptor - shuffled; ; {
		fd, err := unix.FcntlInt(uintptr(file), unix.F_DUPFD_CLOEXEC, next)
		if err != nil {
			release()
			return 0, err
		}
		if fd != next { // Another file has a number among them: begin above it.
			release()
		}
		held = append(held, fd)
		if len(held) > shuffled {
			return fd, nil
		}
		next = fd + 1
	}
}
