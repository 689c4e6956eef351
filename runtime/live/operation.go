package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// operation is a lifecycle call in progress, or about to begin, that can be
// broken off.
type operation struct {
	cancel context.CancelCauseFunc
}

var (
	// ErrInterrupted is the cause of the end of an operation's context when the
	// sandbox is to be killed: a kill waits neither for a resume in the queue nor
	// for a pause that writes gigabytes.
	ErrInterrupted = fmt.Errorf("%w: it is being killed", sandbox.ErrNotFound)
	// ErrStuck is the cause when an operation did not keep its deadline.
	ErrStuck = fmt.Errorf("it took too long: %w", context.DeadlineExceeded)
)

// Begin returns a context for a lifecycle call, which ends with ctx, after the
// timeout (ErrStuck), and when the sandbox is killed (ErrInterrupted). The caller
// calls end. ctx is rarely that of a request: a client that hangs up changes its mind by
// another call.
func (sb *Sandbox) Begin(ctx context.Context, timeout time.Duration) (_ context.Context, end func()) {
	ctx, stop := context.WithTimeoutCause(ctx, timeout, ErrStuck)
	ctx, cancel := context.WithCancelCause(ctx)
	op := &operation{cancel}
	sb.mu.Lock()
	sb.operations[op] = struct{}{}
	if sb.doom != "" {
		cancel(ErrInterrupted)
	}
	sb.mu.Unlock()
	return ctx, func() {
		sb.mu.Lock()
		delete(sb.operations, op)
		sb.mu.Unlock()
		cancel(nil)
		stop()
	}
}

// Interrupt cancels the operations in progress, which undo their work.
func (sb *Sandbox) Interrupt() { sb.BreakOff(ErrInterrupted) }

// BreakOff ends the contexts of the operations in progress.
func (sb *Sandbox) BreakOff(cause error) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	for op := range sb.operations {
		op.cancel(cause)
	}
}

// Condemn decides that the sandbox ends, for a reason. It cancels the calls in
// progress, and none of them undoes its work: the kill cleans up. The first reason
// stays.
func (sb *Sandbox) Condemn(reason string) {
	sb.mu.Lock()
	if sb.doom == "" {
		sb.doom = reason
		sb.Moves.announce()
		sb.updateRoster()
	}
	sb.mu.Unlock()
	sb.BreakOff(ErrInterrupted)
	sb.Syncs.interrupt()
}

// Condemned reports whether a kill owns the rest of the sandbox.
func (sb *Sandbox) Condemned() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.doom != ""
}

// BrokenOff returns the reason why an operation with this context failed, if it was
// cancelled. The error of the context itself would not help the client and is left
// out.
func BrokenOff(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || !errors.Is(cause, ErrInterrupted) && !errors.Is(cause, ErrStuck) {
		return err
	}
	return fmt.Errorf("%w: %v", cause, err) //nolint:errorlint // The ended context must not decide how the error is classified.
}

// Hold is Begin for a caller that has sb.Life, which is then expected back at the
// deadline.
func (sb *Sandbox) Hold(ctx context.Context, timeout time.Duration) (_ context.Context, end func()) {
	sb.Life.Extend(time.Now().Add(timeout))
	return sb.Begin(ctx, timeout)
}
