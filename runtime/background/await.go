package background

import "context"

// Await runs f to its end, which is bounded by f's own deadline, and waits for
// the result as long as ctx: a call of the driver that heeds no context holds up
// no client. A caller that gives up learns nothing of the outcome.
func Await[T any](ctx context.Context, g *Group, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	run := func() {
		value, err := f()
		done <- result{value, err}
	}
	if !g.Go(run) {
		run() // The group has been stopped, so that f's context has ended.
	}
	select {
	case got := <-done:
		return got.value, got.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
