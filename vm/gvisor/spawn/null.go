//go:build linux

package spawn

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// startInNull starts a process in the empty network namespace that all file servers are in. The
// first one makes it; several may do so at the same time, and each pins its own then.
func (s *Sandbox) startInNull(c *command) (*os.Process, error) {
	null := openNull(s.NullNetNS)
	if null != nil {
		defer null.Close()
		return c.start(null)
	}
	process, err := c.start(nil)
	if err == nil {
		pinNull(s.NullNetNS, process.Pid)
	}
	return process, err
}

// openNull opens a network namespace that is pinned at a path; nil without one.
func openNull(path string) *os.File {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &fs) == nil && fs.Type == unix.NSFS_MAGIC {
		if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err == nil && kind == unix.CLONE_NEWNET {
			return f
		}
	}
	_ = f.Close()
	return nil
}

// pinNull pins the network namespace of a process. If it cannot, each file server makes one, which
// only takes longer.
func pinNull(path string, pid int) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return
	}
	_ = f.Close()
	if unix.Mount(fmt.Sprintf("/proc/%d/ns/net", pid), path, "", unix.MS_BIND, "") != nil {
		_ = os.Remove(path)
	}
}
