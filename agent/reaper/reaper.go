//go:build linux

// Package reaper starts the agent's child processes and owns every wait for
// them. As PID 1 it also collects the guest's orphans; since one place does all
// waiting, no orphan collection can steal the exit status of a process that
// somebody waits for. It may import the standard library only; agent/process
// and cmd/rundlet-agent import it.
package reaper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// ErrGone is a signal for a process that has ended.
var ErrGone = errors.New("process has ended")

// oomScoreAdj makes the kernel take a started process before this one.
var oomScoreAdj = []byte("100")

// Reaper starts processes and waits for them. Nothing runs while no child
// ends. It is safe for concurrent use.
type Reaper struct {
	orphans bool
	chld    chan os.Signal
	stop    chan struct{}
	done    chan struct{}

	// mu is held around fork and around each (never blocking) wait, so that a
	// pid is known before it can be collected, and a pid that Signal uses
	// cannot have been collected and given to another process.
	mu       sync.Mutex
	children map[int]chan syscall.WaitStatus
	// oom is this process's oom_score_adj, whose value is ownScore; nil on a
	// kernel without it. mu guards both.
	oom      *os.File
	ownScore []byte
}

// New returns a running Reaper. With orphans it waits for every child of this
// process (PID 1 or a subreaper must): then nothing else in the process may
// wait for children, os/exec included. Close ends it.
func New(orphans bool) *Reaper {
	r := &Reaper{
		orphans:  orphans,
		chld:     make(chan os.Signal, 1),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
		children: map[int]chan syscall.WaitStatus{},
	}
	r.openScore()
	signal.Notify(r.chld, syscall.SIGCHLD)
	go r.run()
	return r
}

// Close stops collecting. Processes go on; their exit is not reported.
func (r *Reaper) Close() {
	signal.Stop(r.chld)
	close(r.stop)
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.oom != nil {
		r.oom.Close()
		r.oom = nil
	}
}

// openScore prepares score. What it cannot open it leaves alone: then a started
// process has the score of this one, and nothing else is lost.
func (r *Reaper) openScore() {
	f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return
	}
	own := make([]byte, 16)
	n, err := f.ReadAt(own, 0)
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return
	}
	r.oom, r.ownScore = f, own[:n]
}

// score sets this process's oom_score_adj, which a fork inherits. That is one
// write to an open file, where a write to the new process's own would have to
// find it in /proc while the process already runs, and perhaps forks.
func (r *Reaper) score(value []byte) {
	if r.oom != nil {
		_, _ = r.oom.WriteAt(value, 0)
	}
}

// Start runs a program. The channel delivers its exit status, once. Errors of
// fork, chdir and exec are the bare errno, wrapped.
func (r *Reaper) Start(path string, argv []string, attr *syscall.ProcAttr) (pid int, exit <-chan syscall.WaitStatus, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.score(oomScoreAdj)
	pid, err = syscall.ForkExec(path, argv, attr)
	r.score(r.ownScore)
	if err != nil {
		return 0, nil, fmt.Errorf("fork/exec %s: %w", path, err)
	}
	ch := make(chan syscall.WaitStatus, 1)
	r.children[pid] = ch
	return pid, ch, nil
}

// Signal sends sig to a process that Start returned, or to its whole process
// group. The error is ErrGone once the process has been collected.
func (r *Reaper) Signal(pid int, sig syscall.Signal, group bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.children[pid] == nil {
		return fmt.Errorf("signal %d: %w", pid, ErrGone)
	}
	target := pid
	if group {
		target = -pid
	}
	if err := syscall.Kill(target, sig); err != nil {
		return fmt.Errorf("signal %d: %w", target, err)
	}
	return nil
}

func (r *Reaper) run() {
	defer close(r.done)
	for {
		select {
		case <-r.stop:
			return
		case <-r.chld:
		}
		// One SIGCHLD may stand for many children.
		r.collect()
	}
}

func (r *Reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.orphans {
		for r.wait(-1) {
		}
		return
	}
	for pid := range r.children {
		r.wait(pid)
	}
}

// wait collects one ended child, if there is one.
func (r *Reaper) wait(pid int) bool {
	var ws syscall.WaitStatus
	for {
		got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || got == 0 {
			return false
		}
		if ch := r.children[got]; ch != nil {
			delete(r.children, got)
			ch <- ws
		}
		return true
	}
}
