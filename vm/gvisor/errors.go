//go:build linux

package gvisor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/rundlet/rundlet/vm"
)

// failure makes the error of an operation on a machine. kind may be nil: it is
// then found from err. err is cut to its first line: gVisor's errors carry the
// sentry's stacks.
func failure(op, id string, kind, err error) error {
	if err == nil && kind == nil {
		return nil
	}
	var already *vm.Error
	if errors.As(err, &already) {
		return err
	}
	e := &vm.Error{Op: op, ID: id, Kind: kind, Err: brief(err)}
	if e.Kind == nil {
		e.Kind = classify(err)
	}
	e.Hint = hint(err)
	return e
}

// briefError shows one line of an error and keeps the whole for errors.Is.
type briefError struct {
	text string
	err  error
}

func (e *briefError) Error() string { return e.text }
func (e *briefError) Unwrap() error { return e.err }

const maxErrorText = 300

func brief(err error) error {
	if err == nil {
		return nil
	}
	return &briefError{text: firstLine(err.Error()), err: err}
}

func firstLine(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "..."
	}
	return text
}

func classify(err error) error {
	for _, kind := range []error{vm.ErrNotFound, vm.ErrAlreadyExists, vm.ErrInvalid,
		vm.ErrInvalidTransition, vm.ErrUnsupported, vm.ErrUnavailable, vm.ErrIncompatible, vm.ErrOutOfMemory} {
		if errors.Is(err, kind) {
			return nil // It is in the chain already.
		}
	}
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE),
		errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ECONNREFUSED):
		return vm.ErrUnavailable
	case errors.Is(err, fs.ErrPermission):
		return vm.ErrUnsupported
	}
	return nil
}

// hint says what to do about a known cause. gVisor keeps few causes as values,
// so its texts are searched too.
func hint(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	switch {
	case errors.Is(err, syscall.ENOSPC) || strings.Contains(text, "no space left"):
		return "free disk space or memory on the host"
	case strings.Contains(text, "control group") || strings.Contains(text, "cgroup"):
		return "check that control groups are mounted and writable, or switch limits off"
	case errors.Is(err, fs.ErrPermission) || strings.Contains(text, "operation not permitted"):
		if os.Geteuid() != 0 {
			return "run as root"
		}
		return "check that this container or host allows new user, mount and network namespaces"
	case strings.Contains(text, "permission denied"):
		return "check that every user may execute and read this program"
	}
	return ""
}
