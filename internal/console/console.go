//go:build linux

// Package console keeps the newest lines that a machine writes to a pipe. Drivers import it. It may import golang.org/x/sys.
package console

import (
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	maxLines = 200
	// maxBytes is of all lines of a machine, since the memory is the daemon's and
	// how much is written is up to the guest.
	maxBytes = 64 << 10
)

// MaxLine is how many bytes of a line are kept, and Cut what a longer one ends with.
const (
	MaxLine = 4096
	Cut     = "...[truncated]"
)

// Console drains a machine's console pipe into a ring of lines, for as long as
// the machine lives, so that a guest never blocks on it. Its memory is
// bounded, whatever the guest writes.
type Console struct {
	file *os.File
	done chan struct{} // Closed when drain has returned.

	mu   sync.Mutex
	ring lineRing
}

// Open opens the pipe at path, which it makes if there is none, and
// starts draining it. It holds both ends, so reading never meets an end of file
// and the guest's side can be opened at any time.
func Open(path string) (*Console, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && err != unix.EEXIST {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || info.Mode().Type() != os.ModeNamedPipe { // A file could be read without end.
		file.Close()
		return nil, errors.Join(&os.PathError{Op: "open", Path: path, Err: errors.New("it is not a pipe")}, err)
	}
	c := &Console{file: file, done: make(chan struct{})}
	go c.drain()
	return c, nil
}

// None is that of a machine whose pipe is gone: it stays empty.
func None() *Console {
	c := &Console{done: make(chan struct{})}
	close(c.done)
	return c
}

func (c *Console) drain() {
	defer close(c.done)
	buf := make([]byte, 8<<10)
	for {
		n, err := c.file.Read(buf)
		c.write(buf[:n])
		if err != nil {
			return
		}
	}
}

func (c *Console) write(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring.write(p)
}

// Finish reads the rest of the pipe after the guest's end and stops draining. The lines stay readable. It may be called more than once.
func (c *Console) Finish() {
	_ = c.file.SetReadDeadline(time.Unix(1, 0))
	<-c.done
	if raw, err := c.file.SyscallConn(); err == nil {
		buf := make([]byte, 64<<10)
		_ = raw.Control(func(fd uintptr) {
			// A pipe holds 64 KiB, and its writers are gone.
			for range 16 {
				n, err := unix.Read(int(fd), buf)
				if err != nil || n <= 0 {
					return
				}
				c.write(buf[:n])
			}
		})
	}
	_ = c.file.Close()
}

// Tail returns the newest lines, oldest first; max <= 0 is all.
func (c *Console) Tail(max int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ring.tail(max)
}

// lineRing keeps the newest maxLines lines of at most MaxLine, and of
// all of them maxBytes.
type lineRing struct {
	lines   [maxLines]string // In a ring; those that are not kept are empty.
	oldest  int
	count   int
	bytes   int
	partial []byte // At most two bytes more than a line may have.
}

func (r *lineRing) write(p []byte) {
	for len(p) > 0 {
		line, rest, ended := p, []byte(nil), false
		for i, b := range p {
			if b == '\n' {
				line, rest, ended = p[:i], p[i+1:], true
				break
			}
		}
		// Two more bytes distinguish a line that is too long from one that is full
		// and ends in a carriage return.
		room := MaxLine + 2 - len(r.partial)
		r.partial = append(r.partial, line[:min(len(line), room)]...)
		if ended {
			r.push(cleanLine(r.partial))
			r.partial = r.partial[:0]
		}
		p = rest
	}
}

func (r *lineRing) push(line string) {
	for r.count > 0 && (r.count == maxLines || r.bytes+len(line) > maxBytes) {
		r.bytes -= len(r.lines[r.oldest])
		r.lines[r.oldest] = ""
		r.oldest = (r.oldest + 1) % maxLines
		r.count--
	}
	r.lines[(r.oldest+r.count)%maxLines] = line
	r.count++
	r.bytes += len(line)
}

func (r *lineRing) tail(max int) []string {
	out := make([]string, 0, r.count+1)
	for i := range r.count {
		out = append(out, r.lines[(r.oldest+i)%maxLines])
	}
	if len(r.partial) > 0 {
		out = append(out, cleanLine(r.partial))
	}
	if max > 0 && len(out) > max {
		out = out[len(out)-max:]
	}
	return out
}

// cleanLine drops a carriage return at the end and cuts a line that is too
// long where a character begins.
func cleanLine(b []byte) string {
	if n := len(b); n > 0 && n < MaxLine+2 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	if len(b) <= MaxLine {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	cut := MaxLine
	for cut > MaxLine-utf8.UTFMax && !utf8.RuneStart(b[cut]) {
		cut--
	}
	return strings.ToValidUTF8(string(b[:cut]), "\uFFFD") + Cut
}
