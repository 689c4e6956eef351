package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/runtime/live"
)

// operation returns a context for a lifecycle call that ends with the deadline,
// when the runtime closes, and when the sandbox is killed; not when the caller
// goes away: a client that hangs up changes its mind by another call.
func (r *Runtime) operation(sb *live.Sandbox, timeout time.Duration) (context.Context, func()) {
	return sb.Begin(r.life, timeout)
}

// holding is operation for a caller that has sb.Life, which is then expected
// back at the deadline.
func (r *Runtime) holding(sb *live.Sandbox, timeout time.Duration) (context.Context, func()) {
	sb.Life.Extend(time.Now().Add(timeout))
	return sb.Begin(r.life, timeout)
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
