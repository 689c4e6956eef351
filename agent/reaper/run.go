//go:build linux

package reaper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

const (
	// MaxOutput is how many bytes Run keeps of a program's output.
	MaxOutput = 4 << 10
	// drainAfterExit is how long output is still read that something the program
	// started holds open.
	drainAfterExit = 100 * time.Millisecond
)

// Run runs a program of the guest with the agent's rights, in the root directory and without input, and
// returns the beginning of its output. It waits for the end of the program, and kills its process group when ctx ends.
// A program that fails is an error.
func (r *Reaper) Run(ctx context.Context, argv, env []string) ([]byte, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	pid, exit, err := r.Start(argv[0], argv, &syscall.ProcAttr{
		// A group, to be killed as a whole, but no session, as for any command.
		Dir: "/", Env: env, Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	w.Close()
	if err != nil {
		return nil, err
	}
	output := make(chan []byte, 1)
	go func() {
		begin, _ := io.ReadAll(io.LimitReader(out, MaxOutput))
		_, _ = io.Copy(io.Discard, out) // so that it does not block
		output <- begin
	}()
	stop := context.AfterFunc(ctx, func() {
		// One that just ended needs no killing.
		_ = r.Signal(pid, syscall.SIGKILL, true)
	})
	status := <-exit
	overdue := !stop()
	_ = out.SetReadDeadline(time.Now().Add(drainAfterExit))
	begin := <-output
	switch {
	case overdue:
		return begin, fmt.Errorf("killed: %w", context.Cause(ctx))
	case status.Signaled():
		return begin, errors.New("signal: " + status.Signal().String())
	case status != 0:
		return begin, fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return begin, nil
}
