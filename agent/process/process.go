//go:build linux

package process

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/agent/reaper"
	"github.com/rundlet/rundlet/agent/stream"
	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

const (
	pipeChunk = 32 << 10
	// drainAfterKill is how long output is still read after a killed process
	// (or the leader of a terminal) is gone, in case something it started
	// holds the other end open.
	drainAfterKill = 250 * time.Millisecond
)

var (
	errStdinClosed = errors.New("stdin is not open")
	errNoPTY       = errors.New("process has no terminal")
	errPTYStdin    = errors.New("stdin of a terminal cannot be closed, send ^D instead")
)

// proc is one started process. It owns its pipes or terminal.
type proc struct {
	pid    uint32
	tag    *string
	config *processpb.ProcessConfig

	reaper *reaper.Reaper
	out    fanout
	killed atomic.Bool
	ended  chan struct{}
	limit  *stream.Timer

	input input
	// stdinMu guards stdin, which is nil once closed.
	stdinMu    sync.Mutex
	stdin      *os.File
	pty        *terminal
	discipline *discipline // nil where the kernel's own is whole
	size       size
	outputs    []*os.File
}

type output func([]byte) *processpb.ProcessEvent_DataEvent

func stdoutEvent(b []byte) *processpb.ProcessEvent_DataEvent {
	return &processpb.ProcessEvent_DataEvent{Output: &processpb.ProcessEvent_DataEvent_Stdout{Stdout: b}}
}

func stderrEvent(b []byte) *processpb.ProcessEvent_DataEvent {
	return &processpb.ProcessEvent_DataEvent{Output: &processpb.ProcessEvent_DataEvent_Stderr{Stderr: b}}
}

func ptyEvent(b []byte) *processpb.ProcessEvent_DataEvent {
	return &processpb.ProcessEvent_DataEvent{Output: &processpb.ProcessEvent_DataEvent_Pty{Pty: b}}
}

// follow publishes the output and, after the process ended and its output is
// read, the end. Then it releases everything and calls done.
func (p *proc) follow(exit <-chan syscall.WaitStatus, done func()) {
	var readers sync.WaitGroup
	if p.pty != nil {
		readers.Go(p.readTerminal)
	} else {
		readers.Go(func() { p.read(p.outputs[0], stdoutEvent) })
		readers.Go(func() { p.read(p.outputs[1], stderrEvent) })
	}
	ws := <-exit
	if p.discipline != nil && !p.killed.Load() {
		p.hangUpForeground(ws)
	}
	if p.killed.Load() || p.pty != nil {
		p.stopReading()
	}
	// A process that ended without a signal from us may have left others behind that still
	// write: their output counts, as it does in a shell pipeline.
	readers.Wait()
	p.limit.Stop()
	close(p.ended)
	p.closeStdin()
	for _, f := range p.outputs {
		f.Close()
	}
	if p.pty != nil {
		p.pty.close()
	}
	done()
	p.out.finish(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_End{End: endEvent(ws)}})
}

func (p *proc) read(f *os.File, wrap output) {
	buf := make([]byte, pipeChunk)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			data := append([]byte(nil), buf[:n]...)
			p.out.publish(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: wrap(data)}})
		}
		// An error says nothing that the exit status does not say
		// better.
		if err != nil {
			return
		}
	}
}

func (p *proc) readTerminal() {
	p.pty.read(func(b []byte) {
		data := ptyEvent(append([]byte(nil), b...))
		p.out.publish(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: data}})
	})
}

func (p *proc) stopReading() {
	deadline := time.Now().Add(drainAfterKill)
	for _, f := range p.outputs {
		_ = f.SetReadDeadline(deadline)
	}
	if p.pty != nil {
		p.pty.stop(deadline)
	}
}

// kill ends the process and everything in its process group. The jobs of a
// terminal, which have separate groups, are hung up: the shell that would
// do so is gone.
func (p *proc) kill() error {
	p.killed.Store(true)
	err := p.reaper.Signal(int(p.pid), syscall.SIGKILL, true)
	if p.pty != nil && err == nil {
		p.hangUpJobs()
	}
	if errors.Is(err, reaper.ErrGone) {
		// Only its output is still held open, by something it started.
		p.stopReading()
		select {
		case <-p.ended:
		default:
			return nil
		}
	}
	return err
}

func (p *proc) terminate() error { return p.reaper.Signal(int(p.pid), syscall.SIGTERM, false) }

// endEvent puts the wait status in the words of Go's os.ProcessState.
func endEvent(ws syscall.WaitStatus) *processpb.ProcessEvent_EndEvent {
	end := &processpb.ProcessEvent_EndEvent{ExitCode: int32(ws.ExitStatus()), Exited: ws.Exited()}
	switch {
	case ws.Exited():
		end.Status = fmt.Sprintf("exit status %d", ws.ExitStatus())
	case ws.Signaled():
		end.Status = "signal: " + ws.Signal().String()
		if ws.CoreDump() {
			end.Status += " (core dumped)"
		}
	}
	if ws != 0 {
		end.Error = &end.Status
	}
	return end
}
