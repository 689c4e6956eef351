//go:build linux

package process

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

// sizeChecks are the moments after a change of a terminal's size at which it is
// looked at again: most shells that undo it do so within the first, those of a
// busy machine within the last.
var sizeChecks = []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond, 1600 * time.Millisecond}

// size keeps a terminal at the size its client asked for. Before each prompt
// GNU readline reads the size of the terminal and sets the same again
// (set_winsize in its rltty.c), so that a change which comes between the two
// calls is undone, and the client gets no error: 2 of 360 here.
type size struct {
	mu     sync.Mutex
	wanted unix.Winsize
	// replaced are the sizes that changes of the last moments replaced.
	// readline can put back no others; what a program sets itself stays.
	replaced []unix.Winsize
	changes  int
}

func (p *proc) resize(want *processpb.PTY_Size) error {
	if p.pty == nil {
		return errNoPTY
	}
	p.size.mu.Lock()
	defer p.size.mu.Unlock()
	before, err := getSize(p.pty.master)
	if err == nil {
		p.size.wanted = *winsize(want)
		err = setSize(p.pty.master, &p.size.wanted)
	}
	if err != nil {
		return fmt.Errorf("resize terminal of %d: %w", p.pid, err)
	}
	p.size.replaced = append(p.size.replaced, *before)
	p.size.changes++
	p.watchSize(p.size.changes, sizeChecks)
	return nil
}

// watchSize looks at the size after each of the delays, unless a later change
// does so.
func (p *proc) watchSize(change int, delays []time.Duration) {
	if len(delays) == 0 {
		p.size.replaced = nil
		return
	}
	time.AfterFunc(delays[0], func() {
		p.size.mu.Lock()
		defer p.size.mu.Unlock()
		if p.size.changes != change {
			return
		}
		now, err := getSize(p.pty.master)
		if err != nil { // the terminal is closed
			return
		}
		if *now != p.size.wanted && slices.Contains(p.size.replaced, *now) {
			_ = setSize(p.pty.master, &p.size.wanted)
		}
		p.watchSize(change, delays[1:])
	})
}

// winsize clamps to what the kernel can hold.
func winsize(s *processpb.PTY_Size) *unix.Winsize {
	return &unix.Winsize{Col: uint16(min(s.GetCols(), 65535)), Row: uint16(min(s.GetRows(), 65535))}
}

// getSize and setSize hold the descriptor while they use it: the end of the
// process closes it at any moment.
func getSize(terminal *os.File) (size *unix.Winsize, err error) {
	err = control(terminal, func(fd int) (err error) {
		size, err = unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		return err
	})
	return size, err
}

func setSize(terminal *os.File, size *unix.Winsize) error {
	return control(terminal, func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
}

// control uses the descriptor of a file while that cannot be closed.
func control(f *os.File, use func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if conn.Control(func(fd uintptr) { failed = use(int(fd)) }) != nil {
		return os.ErrClosed
	}
	return failed
}
