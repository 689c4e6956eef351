//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ptyChunk = 16 << 10
	// ptyBacklog bounds what is still read of a terminal after its end: more than
	// a kernel keeps of it.
	ptyBacklog = 256 << 10
	// maxPause is the longest pause between two tries to write to a full terminal.
	maxPause = 32 * time.Millisecond
	// gather is for how long output that comes in small pieces, one shortly after
	// the other, is collected: an event of few bytes costs the guest more than
	// the system calls of a shell that echoes a paste.
	gather = 8 * time.Millisecond
	small  = 1 << 10
)

// terminal is the master of a pseudoterminal. It is non-blocking and unknown to
// Go's poller, which would wake up for each byte that a program reads: gVisor
// notifies all that wait for space to write. So its reader is a thread that
// listens for output alone, and a writer that has no room tries again.
type terminal struct {
	master *os.File
	// wake is an eventfd that makes the reader look at until.
	wake *os.File
	// until is when the reader stops, in nanoseconds; 0 is never.
	until atomic.Int64
}

// openTerminal makes a pseudoterminal and returns its slave, too.
func openTerminal() (t *terminal, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	// A file of a blocking descriptor is none of the poller's.
	t = &terminal{master: os.NewFile(uintptr(fd), "/dev/ptmx")}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.close()
		return nil, nil, fmt.Errorf("eventfd: %w", err)
	}
	t.wake = os.NewFile(uintptr(event), "eventfd")
	if err := errors.Join(unix.SetNonblock(fd, true), unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.close()
		return nil, nil, fmt.Errorf("set up terminal: %w", err)
	}
	name, n, err := openSlave(fd, 0)
	if err != nil {
		t.close()
		return nil, nil, err
	}
	return t, os.NewFile(uintptr(n), name), nil
}

func (t *terminal) close() { closeAll([]*os.File{t.master, t.wake}) }

// stop ends a read of what comes after the deadline.
func (t *terminal) stop(deadline time.Time) {
	t.until.Store(deadline.UnixNano())
	_, _ = t.wake.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// read hands over the output until the terminal is hung up, or all that is left
// in it when the deadline has passed: a client that was slow until then loses
// nothing.
func (t *terminal) read(got func([]byte)) {
	buf := make([]byte, ptyChunk)
	var last time.Time
	for backlog := ptyBacklog; backlog > 0; {
		n, err := t.fill(buf)
		if n > 0 && n < small && errors.Is(err, unix.EAGAIN) && time.Since(last) < gather {
			_ = sleep(context.Background(), gather) // which does not end before
			var more int
			more, err = t.fill(buf[n:])
			n += more
		}
		late := t.left() == 0
		if n > 0 {
			got(buf[:n])
			last = time.Now()
			if late {
				backlog -= n
			}
		}
		switch {
		case errors.Is(err, unix.EAGAIN) && !late:
			t.await()
		case err != nil:
			return
		}
	}
}

// fill reads until buf is full or a read fails, with EAGAIN when all output is read.
func (t *terminal) fill(buf []byte) (n int, err error) {
	err = control(t.master, func(fd int) error {
		for n < len(buf) {
			m, err := unix.Read(fd, buf[n:])
			switch {
			case err == unix.EINTR:
			case err != nil:
				return err
			case m == 0:
				return io.EOF
			default:
				n += m
			}
		}
		return nil
	})
	return n, err
}

// left is the time until the deadline; negative without one.
func (t *terminal) left() time.Duration {
	until := t.until.Load()
	if until == 0 {
		return -1
	}
	return max(time.Until(time.Unix(0, until)), 0)
}

// await returns when there may be output, or the deadline has passed or changed.
func (t *terminal) await() {
	timeout := -1
	if left := t.left(); left >= 0 {
		timeout = int((left + time.Millisecond - 1) / time.Millisecond)
	}
	_ = control(t.master, func(master int) error {
		return control(t.wake, func(wake int) error {
			fds := []unix.PollFd{{Fd: int32(master), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
			if timeout >= 0 { // wake has been heard
				fds = fds[:1]
			}
			_, err := unix.Poll(fds, timeout)
			return err
		})
	})
}

// write writes all of data, as room for it comes. It gives up with ctx and the
// end of the process, and silently once the input is stale.
func (t *terminal) write(ctx context.Context, data []byte, stale func() bool) error {
	pause := time.Millisecond
	for len(data) > 0 && !stale() {
		n := 0
		err := control(t.master, func(fd int) (err error) {
			n, err = unix.Write(fd, data)
			return err
		})
		switch {
		case err == nil:
			data, pause = data[n:], time.Millisecond
		case errors.Is(err, unix.EAGAIN):
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			pause = min(2*pause, maxPause)
		case errors.Is(err, os.ErrClosed):
			return errStdinClosed
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("write to terminal: %w", err)
		}
	}
	return nil
}

// sleep returns an error if ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errTaken, ctx.Err())
	}
}

// openSlave opens the other side of a master, which is not a controlling terminal
// of the agent's by that.
func openSlave(master, flags int) (name string, fd int, err error) {
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return "", 0, fmt.Errorf("number of terminal: %w", err)
	}
	name = "/dev/pts/" + strconv.Itoa(n)
	if fd, err = unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|flags, 0); err != nil {
		return "", 0, fmt.Errorf("open %s: %w", name, err)
	}
	return name, fd, nil
}
