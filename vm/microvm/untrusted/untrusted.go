//go:build linux

// Package untrusted opens files and sockets in a directory of a process that runs a guest's code. The process owns the directory: it may have put
// anything in the place of a file or a socket there. It may import golang.org/x/sys; drivers import it.
package untrusted

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Open opens a file in such a directory for reading. It follows no link at the end of the path, refuses what is not a regular file, and never
// waits for the other end of a pipe.
func Open(path string) (*os.File, error) { return open(path, unix.O_NOFOLLOW) }

// OpenDescriptor is Open for a path in /proc/PID/fd, which is a link always.
func OpenDescriptor(pid, fd int) (*os.File, error) {
	return open(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), 0)
}

func open(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Dial connects to a Unix socket in such a directory, and never to one elsewhere. The path may be longer than an address of a socket.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return nil, err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, fmt.Errorf("%s is not a socket", path)
	}
	return (&net.Dialer{}).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
}
