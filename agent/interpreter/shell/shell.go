//go:build linux

// Package shell runs code of shells in a Bash that stays, so that variables, functions and the directory do. It may
// import agent/interpreter/kernel, golang.org/x/sys/unix and the standard library; only agent/interpreter imports it.
package shell

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

// fd is the descriptor of Bash that gets the status of each run. Code does not have it.
const fd = 9

// begin makes an interactive shell out of Bash, which is what returns to its input when it is interrupted,
// without what is for people alone.
const begin = "PS1= PS2=; set +H +o history; history -c; unset HISTFILE RUNDLET_FD\n"

// Config describes a shell.
type Config struct {
	Bash string   // Its path or name.
	Dir  string   // Its first directory.
	Env  []string // Its first environment.
}

// Shell is a kernel.Kernel.
type Shell struct {
	cmd                *exec.Cmd
	dir                string
	in                 *os.File
	out, errs, results int           // Descriptors that do not block; -1 is none.
	gone               int           // Descriptor of a pipe that ends with the shell; -1 is none.
	turn               chan struct{} // Holds a value while code runs.
	done               chan struct{}
	why                string
	count              int               // Of runs; guarded by turn.
	sandbox            map[string]string // The variables that it has taken over; guarded by turn.
	closed             chan struct{}     // Closed when output is not wanted any more.
	closing, freeing   sync.Once
}

// Start starts a shell.
func Start(ctx context.Context, cfg Config) (_ *Shell, err error) {
	s := &Shell{turn: make(chan struct{}, 1), done: make(chan struct{}), closed: make(chan struct{}), out: -1, errs: -1, results: -1, gone: -1}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
		if err != nil {
			s.free()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "shell-"); err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.in, theirs = write, append(theirs, read)
	for _, f := range []*int{&s.out, &s.errs, &s.results} {
		var pair [2]int
		if err := syscall.Pipe2(pair[:], syscall.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("pipe: %w", err)
		}
		*f, theirs = pair[0], append(theirs, os.NewFile(uintptr(pair[1]), "pipe"))
		if err := syscall.SetNonblock(pair[0], true); err != nil {
			return nil, err
		}
	}
	var pair [2]int
	if err := syscall.Pipe2(pair[:], syscall.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	gone := os.NewFile(uintptr(pair[1]), "pipe")
	s.gone = pair[0]
	s.cmd = exec.Command(cfg.Bash, "--norc", "--noprofile", "--noediting", "-i") //nolint:noctx // It lives until Close.
	s.cmd.Dir, s.cmd.Env, s.cmd.SysProcAttr = cfg.Dir, append(cfg.Env, "PS1=", "PS2="), &syscall.SysProcAttr{Setsid: true}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	s.cmd.ExtraFiles = make([]*os.File, fd-2)
	s.cmd.ExtraFiles[fd-3] = theirs[3]
	err = s.cmd.Start()
	for _, f := range theirs {
		f.Close() // The shell alone has them, so that they end with it.
	}
	theirs = nil
	if err != nil {
		gone.Close()
		return nil, fmt.Errorf("start shell: %w", err)
	}
	go s.wait(gone)
	stop := context.AfterFunc(ctx, func() { s.signal(syscall.SIGKILL) })
	defer stop()
	// What it says about the terminal that it lacks is dropped.
	if err := s.run(ctx, begin, func(kernel.Event) {}); err != nil {
		s.Close()
		return nil, fmt.Errorf("shell did not start: %w", err)
	}
	return s, nil
}

// wait waits for the shell. Its pipes do not say that it has ended: a part of it that runs in the background has them, too.
func (s *Shell) wait(gone *os.File) {
	err := kernel.Wait(s.cmd)
	s.why = "exit status 0"
	if err != nil {
		s.why = err.Error()
	}
	close(s.done)
	gone.Close()
}

// Run implements kernel.Kernel.
func (s *Shell) Run(ctx context.Context, run kernel.Run, emit kernel.Emit) error {
	select {
	case s.turn <- struct{}{}:
	case <-s.done:
		return kernel.ErrEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.count++
	file := filepath.Join(s.dir, "code")
	if err := os.WriteFile(file, []byte(run.Code), 0o600); err != nil {
		<-s.turn
		return err
	}
	var line strings.Builder
	if !maps.Equal(run.Sandbox, s.sandbox) {
		s.sandbox = run.Sandbox
		for _, name := range slices.Sorted(maps.Keys(run.Sandbox)) {
			fmt.Fprintf(&line, "export %s=%s\n", name, quoted(run.Sandbox[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(run.Env)) {
		fmt.Fprintf(&line, "%s=%s ", name, quoted(run.Env[name]))
	}
	fmt.Fprintf(&line, ". %s </dev/null %d>&-\n", quoted(file), fd)
	// The code may run on when the client is gone: then its output goes nowhere.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	events, result := make(chan kernel.Event), make(chan error, 1)
	count := kernel.Count(s.count)
	go func() {
		result <- s.run(ctx, line.String(), func(e kernel.Event) {
			select {
			case events <- e:
			case <-ctx.Done():
			case <-s.closed:
			}
		})
		<-s.turn
	}()
	for event := count; ; {
		if err := emit(event); err != nil {
			return err
		}
		select {
		case event = <-events:
		case err := <-result:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// quoted is text as one word of Bash, on one line.
func quoted(text string) string {
	return "$'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(text) + "'"
}

// Done implements kernel.Kernel.
func (s *Shell) Done() <-chan struct{} { return s.done }

// Why implements kernel.Kernel.
func (s *Shell) Why() string {
	<-s.done
	return s.why
}

func (s *Shell) signal(sig syscall.Signal) {
	select {
	case <-s.done:
	default:
		_ = syscall.Kill(-s.cmd.Process.Pid, sig)
	}
}

// Close implements kernel.Kernel.
func (s *Shell) Close() {
	s.closing.Do(func() { close(s.closed) })
	s.signal(syscall.SIGKILL)
	<-s.done
	s.turn <- struct{}{} // Nothing reads the pipes any more.
	s.free()
	<-s.turn
}

func (s *Shell) free() {
	s.freeing.Do(func() {
		if s.in != nil {
			s.in.Close()
		}
		for _, f := range []int{s.out, s.errs, s.results, s.gone} {
			if f >= 0 {
				_ = syscall.Close(f)
			}
		}
		if s.dir != "" {
			os.RemoveAll(s.dir)
		}
	})
}
