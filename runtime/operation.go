package runtime

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
	// errInterrupted is the cause of the end of an operation's context when the
	// sandbox is to be killed: a kill waits neither for a resume in the queue nor
	// for a pause that writes gigabytes.
	errInterrupted = fmt.Errorf("%w any more: it is being killed", sandbox.ErrNotFound)
	// errStuck is the cause when an operation did not keep its deadline.
	errStuck = fmt.Errorf("it took too long: %w", context.DeadlineExceeded)
)

// operation returns a context for a lifecycle call that ends with the deadline,
// when the runtime closes, and when the sandbox is killed; not when the caller
// goes away: a client that hangs up changes its mind by another call.
func (r *Runtime) operation(sb *handle, timeout time.Duration) (context.Context, func()) {
	return sb.operation(r.life, timeout)
}

// holding is operation for a caller that has sb.life, which is then expected
// back at the deadline.
func (r *Runtime) holding(sb *handle, timeout time.Duration) (context.Context, func()) {
	sb.life.extend(time.Now().Add(timeout))
	return sb.operation(r.life, timeout)
}

func (sb *handle) operation(ctx context.Context, timeout time.Duration) (context.Context, func()) {
	ctx, stop := context.WithTimeoutCause(ctx, timeout, errStuck)
	ctx, cancel := context.WithCancelCause(ctx)
	op := &operation{cancel}
	sb.mu.Lock()
	sb.operations[op] = struct{}{}
	if sb.doom != "" {
		cancel(errInterrupted)
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

// interrupt breaks off the operations in progress, which undo their work.
func (sb *handle) interrupt() { sb.breakOff(errInterrupted) }

// breakOff ends the contexts of the operations in progress.
func (sb *handle) breakOff(cause error) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	for op := range sb.operations {
		op.cancel(cause)
	}
}

// condemn says that the sandbox ends, for a reason, whatever becomes of the
// calls in progress: they are broken off, and none of them undoes its work,
// which is the kill's now. The first reason stays.
func (sb *handle) condemn(reason string) {
	sb.mu.Lock()
	if sb.doom == "" {
		sb.doom = reason
		sb.updateRoster()
	}
	sb.mu.Unlock()
	sb.breakOff(errInterrupted)
}

// condemned reports whether a kill owns what is left of the sandbox.
func (sb *handle) condemned() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.doom != ""
}

// brokenOff says why an operation with this context failed, if it was broken
// off. That its context ended is of no use to the client, and left out.
func brokenOff(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || !errors.Is(cause, errInterrupted) && !errors.Is(cause, errStuck) {
		return err
	}
	return fmt.Errorf("%w: %v", cause, err) //nolint:errorlint // The ended context must not decide how the error is classified.
}

// await runs f to its end, which is bounded by f's own deadline, and waits for
// the result as long as ctx: a call of the driver that heeds no context holds up
// no client. A caller that gives up learns nothing of the outcome.
func await[T any](ctx context.Context, r *Runtime, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	run := func() {
		value, err := f()
		done <- result{value, err}
	}
	if !r.background.Go(run) {
		run() // The runtime is closing, so that f's context has ended.
	}
	select {
	case got := <-done:
		return got.value, got.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
