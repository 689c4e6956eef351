//go:build linux

package spawn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

var prepared struct {
	sync.Mutex
	done bool
}

// prepare changes this process once, such that those that it starts inherit what they should.
func prepare() error {
	prepared.Lock()
	defer prepared.Unlock()
	if prepared.done {
		return nil
	}
	// The sandbox process locks parts of the guest's memory for moments, to have them loaded at
	// once. It may not raise the limit, and does without if this process may not.
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	err := keepInherited()
	prepared.done = err == nil
	return err
}

// keepInherited keeps the descriptors that this process itself has inherited from those that it
// starts. Those that Go opens have the flag.
func keepInherited() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= 2 {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags|unix.FD_CLOEXEC)
		}
		if err != nil && !errors.Is(err, unix.EBADF) { // It may be closed meanwhile.
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// mappings are those of users and groups that give a process those of this one.
func mappings() (users, groups []syscall.SysProcIDMap, err error) {
	if users, err = mapping("/proc/self/uid_map"); err != nil {
		return nil, nil, err
	}
	groups, err = mapping("/proc/self/gid_map")
	return users, groups, err
}

func mapping(path string) (all []syscall.SysProcIDMap, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var first, above, size int
		if _, err := fmt.Sscan(lines.Text(), &first, &above, &size); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, lines.Text(), err)
		}
		all = append(all, syscall.SysProcIDMap{ContainerID: first, HostID: first, Size: size})
	}
	return all, nil
}
