// Package fault maps the errors of the layers below the runtime to the classes of
// package sandbox. It may import sandbox, store, host and vm; the parts of the
// runtime use it.
package fault

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Classify gives an error of the store, the driver or the host its class of
// package sandbox. For a call that saves a machine use ClassifySave.
func Classify(err error) error {
	var changed *vm.HostChangedError
	switch {
	case host.Lack(err) != "":
		return fmt.Errorf("%w: %w", sandbox.ErrLacking, err)
	case errors.Is(err, store.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", sandbox.ErrDiskFull, err)
	case errors.Is(err, store.ErrStale):
		return &sandbox.RecordError{Err: err}
	case errors.Is(err, vm.ErrOutOfMemory):
		return outOfMemory(err)
	case errors.As(err, &changed):
		return fmt.Errorf("%w: %w", sandbox.ErrNotRestorable, &sandbox.HostChangedError{File: changed.File, How: changed.How, Err: err})
	case errors.Is(err, vm.ErrIncompatible), errors.Is(err, vm.ErrNotFound):
		return fmt.Errorf("%w: %w", sandbox.ErrNotRestorable, err)
	}
	return err
}

// ClassifySave is Classify for a call that saves a machine: the only thing that
// the driver can miss there is the machine.
func ClassifySave(id string, err error) error {
	if errors.Is(err, vm.ErrNotFound) {
		return fmt.Errorf("%w (%w)", NotFound(id), err)
	}
	return Classify(err)
}

// outOfMemory is err with its figures set apart.
func outOfMemory(err error) error {
	detail := err
	var of *vm.Error
	if errors.As(err, &of) && of.Err != nil {
		detail = of.Err
	}
	return &sandbox.OutOfMemoryError{Detail: detail.Error(), Err: err}
}

// NotFound is the ErrNotFound of a sandbox.
func NotFound(id string) error {
	return fmt.Errorf("sandbox %q: %w", id, sandbox.ErrNotFound)
}

// Share is the refusal of a request for more than a share. Only the owner of the
// share can make room: nothing that was saved is ever deleted for that.
func Share(format string, have int) error {
	return &sandbox.CapacityError{Resource: sandbox.ResourceShare, Requested: 1, RetryAfter: RetryFull, Detail: fmt.Sprintf(format, have)}
}

// RetryFull is after how long a request that was refused for lack of capacity can
// be tried again.
const RetryFull = time.Second
