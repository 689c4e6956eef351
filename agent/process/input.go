//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

var (
	errNoInput = errors.New("input is missing")
	errTaken   = errors.New("the process did not take the input in time")
)

// input serialises writers to a process. Its turn is a channel and not
// a lock, since it is held over a write that may block for as long as the
// process likes, and a request that waits for it ends with its context.
type input struct {
	turn chan struct{}
	// flushes counts the signal characters: input that came before one and has
	// not been written yet is thrown away with what was.
	flushes atomic.Uint64
}

func newInput() input { return input{turn: make(chan struct{}, 1)} }

func (in *input) acquire(ctx context.Context, ended <-chan struct{}) error {
	select {
	case in.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errTaken, ctx.Err())
	case <-ended:
		return errStdinClosed
	}
}

func (in *input) release() { <-in.turn }

// write sends input to the process. A process that does not read blocks it
// until ctx ends, the input is closed or the process ends.
func (p *proc) write(ctx context.Context, in *processpb.ProcessInput) error {
	switch v := in.GetInput().(type) {
	case *processpb.ProcessInput_Stdin:
		return p.writeStdin(ctx, v.Stdin)
	case *processpb.ProcessInput_Pty:
		switch {
		case p.pty == nil:
			return errNoPTY
		case p.discipline != nil:
			return p.discipline.write(ctx, v.Pty)
		}
		return p.turn(ctx, v.Pty, func() error { return p.pty.write(ctx, v.Pty, func() bool { return false }) })
	}
	return errNoInput
}

func (p *proc) writeStdin(ctx context.Context, data []byte) error {
	f := p.openStdin()
	if f == nil {
		return errStdinClosed
	}
	return p.turn(ctx, data, func() error { return writePipe(ctx, f, data) })
}

// openStdin returns the pipe to the process, or nil once it is closed.
func (p *proc) openStdin() *os.File {
	p.stdinMu.Lock()
	defer p.stdinMu.Unlock()
	return p.stdin
}

// turn takes its turn to write data. No bytes are nothing to do, also where the
// kernel would wait for them to be taken.
func (p *proc) turn(ctx context.Context, data []byte, write func() error) error {
	if len(data) == 0 {
		return nil
	}
	if err := p.input.acquire(ctx, p.ended); err != nil {
		return err
	}
	defer p.input.release()
	if err := write(); err != nil {
		return fmt.Errorf("write to process %d: %w", p.pid, err)
	}
	return nil
}

// writePipe writes all of data, or gives up with ctx.
func writePipe(ctx context.Context, f *os.File, data []byte) error {
	_ = f.SetWriteDeadline(time.Time{})
	finished := make(chan struct{})
	unset := context.AfterFunc(ctx, func() {
		_ = f.SetWriteDeadline(time.Now())
		close(finished)
	})
	_, err := f.Write(data)
	if !unset() {
		<-finished
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", errTaken, ctx.Err())
	case errors.Is(err, os.ErrClosed):
		return errStdinClosed
	}
	return err
}

// closeStdin ends the input; a write that waits for the process ends with it.
func (p *proc) closeStdin() {
	p.stdinMu.Lock()
	f := p.stdin
	p.stdin = nil
	p.stdinMu.Unlock()
	if f != nil {
		f.Close()
	}
}
