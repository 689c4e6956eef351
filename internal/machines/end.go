package machines

import (
	"cmp"
	"context"
	"errors"

	"github.com/rundlet/rundlet/vm"
)

// The methods of this file are how a machine ends: alone, or destroyed by one call, which may fail and be made again.

// BeginDestroy makes a call the one that destroys a machine, or reports false if there is one already.
func (t *Table[M]) BeginDestroy(m M) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := m.base()
	if b.destroying {
		return false
	}
	b.destroying = true
	return true
}

// CancelDestroy lets go of a machine to which nothing was done.
func (t *Table[M]) CancelDestroy(m M) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.base().destroying = false
}

// NotDestroyed makes it possible to destroy a machine again, to free the rest. Its processes were killed.
func (t *Table[M]) NotDestroyed(m M) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := m.base()
	b.destroying, b.status = false, vm.StatusStopped
	b.exitReason = cmp.Or(b.exitReason, "destroyed")
}

// Destroyed says that nothing is left of a machine but its id, until it is forgotten.
func (t *Table[M]) Destroyed(m M) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.base().status = vm.StatusDestroyed
}

// Ended makes known why the processes of a machine have ended, once.
func (t *Table[M]) Ended(m M, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := m.base()
	if b.destroying {
		reason = "destroyed"
	} else {
		b.exitReason = reason
		if b.status != "" {
			b.status = vm.StatusStopped
		}
	}
	b.reason = reason
	close(b.ended)
}

// Wait implements vm.Waiter.
func (t *Table[M]) Wait(ctx context.Context, id string) (string, error) {
	m, err := t.Find("wait", id)
	if err != nil {
		return "", err
	}
	b := m.base()
	select {
	case <-b.ended:
		return b.reason, nil
	default:
	}
	select {
	case <-b.ended:
		return b.reason, nil
	case <-ctx.Done():
		return "", Failure("wait", id, nil, ctx.Err())
	}
}

// Failure makes the error of an operation on a machine; nil if err and kind are nil. An error that is a vm.Error already stays as it is.
func Failure(op, id string, kind, err error) error {
	var already *vm.Error
	switch {
	case err == nil && kind == nil:
		return nil
	case errors.As(err, &already):
		return err
	}
	return &vm.Error{Op: op, ID: id, Kind: kind, Err: err}
}
