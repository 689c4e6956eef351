//go:build linux

package monitor

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/qemu/qmp"
)

// The process runs the guest's code, and owns its directory: it may have put anything in the place of a file or a socket there.

// openOwn opens a file in the machine's directory for reading.
func openOwn(path string) (*os.File, error) { return openRegular(path, unix.O_NOFOLLOW) }

// openRegular refuses what is not a regular file, and never waits for the other end of a pipe.
func openRegular(path string, flags int) (*os.File, error) {
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

// ownSocket returns an address of a socket in the machine's directory, which is never that of one elsewhere. The caller ends with release.
func ownSocket(path string) (address string, release func(), err error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var info unix.Stat_t
	if err = unix.Fstat(fd, &info); err == nil && info.Mode&unix.S_IFMT != unix.S_IFSOCK {
		err = fmt.Errorf("%s is not a socket", path)
	}
	if err != nil {
		_ = unix.Close(fd)
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { _ = unix.Close(fd) }, nil
}

func dialQMP(ctx context.Context, path string) (*qmp.Client, error) {
	address, release, err := ownSocket(path)
	if err != nil {
		return nil, err
	}
	defer release()
	return qmp.Dial(ctx, address)
}

func dialLink(ctx context.Context, path string) (net.Conn, error) {
	address, release, err := ownSocket(path)
	if err != nil {
		return nil, err
	}
	defer release()
	return (&net.Dialer{}).DialContext(ctx, "unix", address)
}
