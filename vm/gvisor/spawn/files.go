//go:build linux

package spawn

import (
	"os"

	"golang.org/x/sys/unix"
)

// files are open files that their owner closes together.
type files []*os.File

func (f *files) close() {
	for _, file := range *f {
		_ = file.Close()
	}
	*f = nil
}

// own adds what a call has opened, and returns its error.
func (f *files) own(file *os.File, err error) (*os.File, error) {
	if err == nil {
		*f = append(*f, file)
	}
	return file, err
}

// open opens a file for reading.
func (f *files) open(path string) (*os.File, error) { return f.own(os.Open(path)) }

// pipe makes a pipe, whose ends belong to r and w.
func pipe(r, w *files) (reader, writer *os.File, err error) {
	reader, writer, err = os.Pipe()
	if err == nil {
		*r, *w = append(*r, reader), append(*w, writer)
	}
	return reader, writer, err
}

// pair makes a pair of connected sockets of a kind, which belong to a and b.
func pair(kind int, a, b *files) (first, second *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	first, second = os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	*a, *b = append(*a, first), append(*b, second)
	return first, second, nil
}
