//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

const (
	// eofWait is how long input behind an end of input is held back for a reader
	// to take the end. A program that does not read for longer misses it.
	eofWait = time.Second
	// lineWait is how long an end of input waits for the line before it.
	lineWait = 50 * time.Millisecond
	// maxLine is the longest line of a terminal (N_TTY_BUF_SIZE).
	maxLine = 4096
)

// discipline does what the line discipline of gVisor's terminals leaves out, as
// far as the holder of the master can. gVisor forgets an end of input (VEOF) with
// something behind it, and knows no VKILL and no echo of control characters; a
// writer that waits for room does not give way to a signal character. It does not
// hang up when a session leader ends, either. See
// docs/upstream/gvisor-line-discipline.md.
type discipline struct {
	p *proc
	// The turn of p.input guards what follows. line counts the bytes since the
	// last end of a line; eof is the end of input that may still wait.
	line int
	eof  *pendingEOF
}

// newDiscipline returns nil for a master of a kernel that needs no help. What
// gives gVisor is that its masters do not know the foreground group.
func newDiscipline(p *proc) *discipline {
	err := control(p.pty.master, func(fd int) error {
		_, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	if !errors.Is(err, unix.ENOTTY) {
		return nil
	}
	return &discipline{p: p}
}

// settings returns the terminal's settings, which programs change at any time.
func (d *discipline) settings() (t *unix.Termios, err error) {
	err = control(d.p.pty.master, func(fd int) (err error) {
		t, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	return t, err
}

// write sends input and acts on the characters among it that gVisor does not.
func (d *discipline) write(ctx context.Context, data []byte) error {
	flushes := d.p.input.flushes.Load()
	if t, err := d.settings(); err == nil && signals(t, data) && t.Lflag&unix.NOFLSH == 0 {
		// Pending writers drop their data.
		flushes = d.p.input.flushes.Add(1)
	}
	for len(data) > 0 {
		n, err := d.step(ctx, data, &flushes)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// step takes its turn, and writes up to the next special character or acts on
// that; it returns how much of data it took.
func (d *discipline) step(ctx context.Context, data []byte, flushes *uint64) (int, error) {
	if err := d.p.input.acquire(ctx, d.p.ended); err != nil {
		return 0, err
	}
	defer d.p.input.release()
	t, err := d.settings()
	if errors.Is(err, os.ErrClosed) {
		return 0, errStdinClosed
	}
	if err != nil {
		return 0, err
	}
	plain := special(t, data)
	if plain == 0 && isSignal(t, data[0]) {
		*flushes = d.p.input.flushes.Load()
		return 1, d.signal(ctx, t, data[0])
	}
	if err := d.awaitEOF(ctx); err != nil {
		return 0, err
	}
	switch {
	case plain > 0:
		d.count(t, data[:plain])
		return plain, d.put(ctx, data[:plain], *flushes)
	case data[0] == t.Cc[unix.VKILL]:
		erase := bytes.Repeat([]byte{t.Cc[unix.VERASE]}, min(d.line, maxLine))
		d.line = 0
		return 1, d.put(ctx, erase, *flushes)
	}
	return 1, d.end(ctx, data[0], *flushes)
}

// put writes as far as no signal character has come since flushes was read.
func (d *discipline) put(ctx context.Context, data []byte, flushes uint64) error {
	return d.p.pty.write(ctx, data, func() bool { return d.p.input.flushes.Load() != flushes })
}

// special returns the index of the first character that gVisor does not treat
// as Linux does, or the length of data.
func special(t *unix.Termios, data []byte) int {
	canonical := t.Lflag&unix.ICANON != 0
	for i, c := range data {
		switch {
		case c == 0: // a character of the settings that is off
		case isSignal(t, c):
			return i
		case canonical && c == t.Cc[unix.VEOF]:
			return i
		case canonical && c == t.Cc[unix.VKILL] && t.Cc[unix.VERASE] != 0:
			return i
		}
	}
	return len(data)
}

func isSignal(t *unix.Termios, c byte) bool {
	return t.Lflag&unix.ISIG != 0 && c != 0 && (c == t.Cc[unix.VINTR] || c == t.Cc[unix.VQUIT] || c == t.Cc[unix.VSUSP])
}

// signals reports whether a signal character is among data.
func signals(t *unix.Termios, data []byte) bool {
	for _, c := range data {
		if isSignal(t, c) {
			return true
		}
	}
	return false
}

// count follows the length of the line that is being typed.
func (d *discipline) count(t *unix.Termios, data []byte) {
	if t.Lflag&unix.ICANON == 0 {
		d.line = 0
		return
	}
	ends := func(c byte) bool {
		return c == '\n' || c == '\r' && t.Iflag&unix.ICRNL != 0 || c != 0 && (c == t.Cc[unix.VEOL] || c == t.Cc[unix.VEOL2])
	}
	for _, c := range data {
		switch {
		case ends(c):
			d.line = 0
		case c != 0 && c == t.Cc[unix.VERASE]:
			d.line = max(d.line-1, 0)
		default:
			d.line++
		}
	}
}

// signal sends the signal of a character at once: the sandbox's kernel acts on it
// when it is written (typeKeys in vm/gvisor). As in Linux's isig, unread
// input and output that is not shown yet are discarded, unless NOFLSH is set.
func (d *discipline) signal(ctx context.Context, t *unix.Termios, c byte) error {
	if t.Lflag&unix.NOFLSH == 0 {
		d.eof, d.line = nil, 0
		if err := control(d.p.pty.master, func(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH) }); err != nil {
			return err
		}
	}
	if t.Lflag&unix.ECHO != 0 {
		d.echo(t, c)
	}
	// flushes is looked at anew: this is what others give way to.
	return d.put(ctx, []byte{c}, d.p.input.flushes.Load())
}

// echo shows a control character as ^X, where gVisor shows nothing. It does not
// wait: a client that is behind does not see it.
func (d *discipline) echo(t *unix.Termios, c byte) {
	shown := []byte{c}
	if t.Lflag&unix.ECHOCTL != 0 && (c < ' ' || c == 0x7f) {
		shown = []byte{'^', c ^ 0x40}
	}
	d.p.out.offer(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: ptyEvent(shown)}})
}

// withSlave opens the other side for a moment.
func (d *discipline) withSlave(use func(fd int) error) error {
	return control(d.p.pty.master, func(master int) error {
		_, fd, err := openSlave(master, unix.O_NONBLOCK)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return use(fd)
	})
}

// lineWaits reports whether a whole line waits to be read.
func (d *discipline) lineWaits() bool {
	waiting := 0
	_ = d.withSlave(func(fd int) (err error) {
		waiting, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
		return err
	})
	return waiting > 0
}
