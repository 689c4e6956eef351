package runtime

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
)

// EndRunning ends the sandboxes that run and returns when nothing is left of
// them, or the errors of those that could not be ended. What is saved stays: a
// paused sandbox and one that this process could not look at are kept, a pause
// under way is waited for, and a resume under way is undone. No new sandboxes
// are admitted.
func (r *Runtime) EndRunning(ctx context.Context, reason string) error {
	return r.endEach(ctx, func(sb *live.Sandbox) error {
		switch sb.State() {
		case sandbox.StatePaused, sandbox.StatePausing:
			// Its client asked for it to be kept, and saving is bounded.
		default:
			sb.Interrupt()
		}
		if sb.Life.LockWithin(ctx, supervise.Grace) != nil {
			if sb.State() == sandbox.StateRunning { // Its snapshot hangs.
				return r.terminate(ctx, sb, reason)
			}
			if err := sb.Life.Lock(ctx); err != nil {
				return err
			}
		}
		defer sb.Life.Unlock()
		switch sb.State() {
		case sandbox.StateCreating, sandbox.StateRunning, sandbox.StateKilling:
			return r.terminateLocked(ctx, sb, reason)
		}
		// Paused, or between: the next Open carries on with that.
		return nil
	})
}

// KillAll ends every sandbox, those that are paused included, and deletes what
// they would resume from. It is for an instance that is not opened again. It
// returns when nothing is left of them, or the errors of those that could not be
// ended. No new ones are admitted.
func (r *Runtime) KillAll(ctx context.Context, reason string) error {
	return r.endEach(ctx, func(sb *live.Sandbox) error {
		return r.terminate(ctx, sb, reason)
	})
}

// EndTimeout is how long EndRunning and KillAll should have: for the pauses under way
// and the slowest ends, and for each sandbox, since it is work for a processor.
func (r *Runtime) EndTimeout() time.Duration {
	return endTimeout + time.Duration(len(r.live.All()))*endEachTime
}

const (
	endTimeout = time.Minute
	// endEachTime is what the end of one of many took on two busy processors.
	endEachTime = 100 * time.Millisecond
)

// endsAtOnce bounds the calls of endEach. Each has a bound of its own, so that
// one that hangs holds up no other for long.
const endsAtOnce = 32

// endEach admits nothing new and calls end for every sandbox.
func (r *Runtime) endEach(ctx context.Context, end func(*live.Sandbox) error) error {
	all := slices.DeleteFunc(r.live.Close(), func(sb *live.Sandbox) bool { return sb.Elsewhere != nil })
	errs := make([]error, len(all))
	var group errgroup.Group
	group.SetLimit(endsAtOnce)
	for i, sb := range all {
		group.Go(func() error {
			if err := end(sb); !errors.Is(err, sandbox.ErrNotFound) && !errors.Is(err, errUnwritten) {
				errs[i] = err
			}
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(errs...)
}
