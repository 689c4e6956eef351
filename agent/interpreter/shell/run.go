//go:build linux

package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

// maxPipe is more than a pipe holds: a program in the background may write as fast as the end is read.
const maxPipe = 1 << 20

// stream is output of the shell, of which the last character may not be complete.
type stream struct {
	name  string
	fd    int
	carry []byte
}

// run sends lines to the shell, and passes its output to send until the shell has run them. If ctx ends, it
// interrupts them and reads on. Only the holder of the turn calls it.
func (s *Shell) run(ctx context.Context, lines string, send func(kernel.Event)) error {
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-ctx.Done():
			kernel.Interrupt(ended, s.done, func() { s.signal(syscall.SIGINT) })
		case <-ended:
		}
	})
	defer watching.Wait() // No signal is for the next run.
	defer close(ended)

	// Bash reads its input byte by byte, and reads none while code runs.
	go func() { _, _ = io.WriteString(s.in, lines+fmt.Sprintf("builtin printf '%%s\\n' \"$?\" >&%d\n", fd)) }()

	streams := []*stream{{name: "stdout", fd: s.out}, {name: "stderr", fd: s.errs}}
	fds := []unix.PollFd{{Fd: int32(s.out), Events: unix.POLLIN}, {Fd: int32(s.errs), Events: unix.POLLIN}, {Fd: int32(s.results), Events: unix.POLLIN}, {Fd: int32(s.gone)}}
	status := ""
	for {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
		over := false
		if fds[2].Revents != 0 {
			text, err := read(s.results)
			status += string(text)
			over = strings.HasSuffix(status, "\n") || errors.Is(err, io.EOF)
		}
		over = over || fds[3].Revents != 0
		// All that the code has written is in the pipes before its status is.
		for i, st := range streams {
			if fds[i].Revents == 0 && !over {
				continue
			}
			if err := st.drain(over, send); err != nil {
				fds[i].Fd = -1 // It is at its end: poll leaves it out.
			}
		}
		if over {
			break
		}
	}
	code, err := strconv.Atoi(strings.TrimSpace(status))
	if err != nil {
		return s.left()
	}
	if code != 0 {
		send(kernel.Error("ExitStatus", strconv.Itoa(code), ""))
	}
	return nil
}

// left waits for a shell that has closed the pipe of its results, which it does by its end.
func (s *Shell) left() error {
	timer := time.AfterFunc(time.Second, func() { s.signal(syscall.SIGKILL) })
	<-s.done
	timer.Stop()
	return kernel.ErrEnded
}

// drain emits what is in the pipe; last is true if there will be no more.
func (s *stream) drain(last bool, send func(kernel.Event)) error {
	for got := 0; got < maxPipe; {
		text, err := read(s.fd)
		got += len(text)
		if len(text) > 0 {
			s.emit(append(s.carry, text...), send)
		}
		if err != nil || !last && len(text) == 0 {
			if last && len(s.carry) > 0 {
				send(kernel.Output(s.name, strings.ToValidUTF8(string(s.carry), "\ufffd")))
				s.carry = nil
			}
			if errors.Is(err, syscall.EAGAIN) {
				return nil
			}
			return err
		}
		if !last {
			return nil // The other stream has its turn.
		}
	}
	return nil
}

// emit emits text up to its last complete character.
func (s *stream) emit(text []byte, send func(kernel.Event)) {
	end := len(text)
	for back := 1; back <= min(utf8.UTFMax-1, len(text)); back++ {
		if at := len(text) - back; utf8.RuneStart(text[at]) {
			if !utf8.FullRune(text[at:]) {
				end = at
			}
			break
		}
	}
	s.carry = append([]byte(nil), text[end:]...)
	if end > 0 {
		send(kernel.Output(s.name, strings.ToValidUTF8(string(text[:end]), "\ufffd")))
	}
}

// read reads what is there, and waits for nothing.
func read(fd int) ([]byte, error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := syscall.Read(fd, buf)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return nil, err
		case n == 0:
			return nil, io.EOF
		default:
			return buf[:n], nil
		}
	}
}
