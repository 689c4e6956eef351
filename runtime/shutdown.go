package runtime

import (
	"context"
	"errors"
	"sync"
)

// EndRunning ends the sandboxes that run and returns when nothing is left of
// them, or the errors of those that could not be ended. What is saved stays: a
// paused sandbox and one that this process could not look at are kept, a pause
// under way is waited for, and a resume under way is undone. No new sandboxes
// are admitted.
func (r *Runtime) EndRunning(ctx context.Context, reason string) error {
	return r.endEach(ctx, func(sb *sandbox) error {
		switch sb.state() {
		case StatePaused, StatePausing:
			// Its client asked for it to be kept, and saving is bounded.
		default:
			sb.interrupt()
		}
		if err := sb.life.lock(ctx); err != nil {
			return err
		}
		defer sb.life.unlock()
		switch sb.state() {
		case StateCreating, StateRunning, StateKilling:
			return r.terminateLocked(ctx, sb, reason)
		}
		// Paused, or between: the next Open carries on with that.
		return nil
	})
}

// KillAll ends every sandbox, those that are paused included, and deletes what
// they would resume from. It is for an instance that nobody opens again. It
// returns when nothing is left of them, or the errors of those that could not be
// ended. No new ones are admitted.
func (r *Runtime) KillAll(ctx context.Context, reason string) error {
	return r.endEach(ctx, func(sb *sandbox) error {
		sb.interrupt()
		return r.terminate(ctx, sb, reason)
	})
}

// endEach closes the door and calls end for every sandbox at the same time.
func (r *Runtime) endEach(ctx context.Context, end func(*sandbox) error) error {
	r.mu.Lock()
	r.closed = true
	all := make([]*sandbox, 0, len(r.sandboxes))
	for _, sb := range r.sandboxes {
		all = append(all, sb)
	}
	r.mu.Unlock()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, sb := range all {
		wg.Go(func() {
			if err := end(sb); !errors.Is(err, ErrSandboxNotFound) && !errors.Is(err, errUnwritten) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
