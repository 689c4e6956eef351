//go:build linux

package process

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

const (
	// exitMissing and exitRefused are a shell's exit codes for a program that is
	// not there, and for one that cannot be executed.
	exitMissing = 127
	exitRefused = 126
	// maxString is the longest argument or variable that Linux takes, with its
	// final zero (MAX_ARG_STRLEN).
	maxString = 128 << 10
	// firstNoPID is above the largest process id of Linux (PID_MAX_LIMIT).
	firstNoPID = 1 << 22
)

// missingError is a program that is not there or cannot be executed. To clients
// it is a process that ends at once, as it is for those of E2B's agent, which
// starts commands through a shell.
type missingError struct {
	cmd   string
	errno syscall.Errno
}

func (e *missingError) Error() string { return fmt.Sprintf("'%s': %v", e.cmd, e.errno) }

// Unwrap makes it the error of the system call.
func (e *missingError) Unwrap() error { return e.errno }

// execError classifies the error of starting a program.
func execError(path string, argv, env []string, err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR, syscall.ENOEXEC, syscall.ELOOP:
		return &missingError{argv[0], errno}
	case syscall.EACCES:
		// It may be the directory that the user may not enter.
		if info, err := os.Stat(path); err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0) {
			return &missingError{argv[0], errno}
		}
	case syscall.ENAMETOOLONG:
		// gVisor says so of an argument that is too long.
		for _, list := range [][]string{argv, env} {
			for _, s := range list {
				if len(s) >= maxString {
					return fmt.Errorf("fork/exec %s: %w", path, syscall.E2BIG)
				}
			}
		}
	}
	return err
}

// noPIDs counts the processes that never were one.
var noPIDs atomic.Uint32

// missing returns an ended process for a program that could not be started,
// with what a subscriber of it receives.
func (s *Service) missing(req *processpb.StartRequest, why *missingError) (*proc, *subscription) {
	p := &proc{tag: req.Tag, config: req.GetProcess(), reaper: s.reaper, input: newInput(), ended: make(chan struct{})}
	p.pid = firstNoPID + noPIDs.Add(1)
	close(p.ended)
	code := syscall.WaitStatus(exitRefused << 8)
	if why.errno == syscall.ENOENT || why.errno == syscall.ENOTDIR {
		code = exitMissing << 8
	}
	wrap := stderrEvent
	if req.GetPty() != nil {
		wrap = ptyEvent
	}
	sub := p.out.subscribe()
	p.out.publish(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: wrap([]byte(why.Error() + "\n"))}})
	s.table.end(p)
	p.out.finish(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_End{End: endEvent(code)}})
	return p, sub
}
