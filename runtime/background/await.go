package background

import "context"

// Deliver is Await of a result that has to be freed: if the caller has given up, late gets it, unless there was an error.
func Deliver[T any](ctx context.Context, g *Group, f func() (T, error), late func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result) // Without a buffer: it is received, or late gets it.
	g.Go(func() {
		value, err := f()
		select {
		case done <- result{value, err}:
		case <-ctx.Done():
			if err == nil {
				late(value)
			}
		}
	})
	select {
	case got := <-done:
		return got.value, got.err
	case <-ctx.Done(): // Also if the group was stopped: ctx ends with it.
		var none T
		return none, context.Cause(ctx)
	}
}

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
