//go:build linux

package filesystem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// kernelEvent is one event of inotify(7): it names a watch, never a path.
type kernelEvent struct {
	watch  int32
	mask   uint32
	cookie uint32 // The same in both halves of a rename.
	name   string // Empty for the watched directory itself.
}

// watched are the events that every watch asks for.
const watched = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_DELETE | unix.IN_DELETE_SELF |
	unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MOVE_SELF

// inotify is a queue of the kernel and the goroutine that reads it.
type inotify struct {
	file   *os.File
	events chan []kernelEvent
	errors chan error
	done   chan struct{}
	once   sync.Once
}

// newInotify returns an empty queue; the caller must close it.
func newInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify_init1: %w", err)
	}
	k := &inotify{
		file: os.NewFile(uintptr(fd), "inotify"), events: make(chan []kernelEvent),
		errors: make(chan error), done: make(chan struct{}),
	}
	go k.read()
	return k, nil
}

func (k *inotify) close() {
	k.once.Do(func() {
		close(k.done)
		_ = k.file.Close()
	})
}

// add watches a directory, and not what a link in its place leads to. A directory
// that is watched already gives the watch that it has, whatever its path is now.
func (k *inotify) add(path string) (watch int32, err error) {
	cerr := k.control(func(fd int) {
		var wd int
		wd, err = unix.InotifyAddWatch(fd, path, watched|unix.IN_DONT_FOLLOW)
		watch = int32(wd)
	})
	return watch, errors.Join(cerr, err)
}

// remove ends a watch; one that the kernel has ended already is not an error.
func (k *inotify) remove(watch int32) {
	_ = k.control(func(fd int) { _, _ = unix.InotifyRmWatch(fd, uint32(watch)) })
}

// mark puts an event at the end of the queue: IN_IGNORED of the watch that it
// returns. It watches a file that is not a directory, and no other watch is one.
func (k *inotify) mark() (watch int32, err error) {
	cerr := k.control(func(fd int) {
		var wd int
		if wd, err = unix.InotifyAddWatch(fd, os.DevNull, unix.IN_DELETE_SELF); err == nil {
			_, err = unix.InotifyRmWatch(fd, uint32(wd))
		}
		watch = int32(wd)
	})
	return watch, errors.Join(cerr, err)
}

// control keeps the descriptor open, and its number ours, during call.
func (k *inotify) control(call func(fd int)) error {
	conn, err := k.file.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Control(func(fd uintptr) { call(int(fd)) })
}

func (k *inotify) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := k.file.Read(buf)
		if err != nil {
			select {
			case k.errors <- fmt.Errorf("read inotify: %w", err):
			case <-k.done:
			}
			return
		}
		select {
		case k.events <- parseEvents(buf[:n]):
		case <-k.done:
			return
		}
	}
}

// parseEvents reads the form of inotify(7); an event that is cut off is left out.
func parseEvents(b []byte) (out []kernelEvent) {
	for len(b) >= unix.SizeofInotifyEvent {
		field := func(i int) uint32 { return binary.NativeEndian.Uint32(b[4*i:]) }
		end := uint64(unix.SizeofInotifyEvent) + uint64(field(3))
		if end > uint64(len(b)) {
			return out
		}
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
		out = append(out, kernelEvent{watch: int32(field(0)), mask: field(1), cookie: field(2), name: string(name)})
		b = b[end:]
	}
	return out
}
