package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
)

// EndRunning ends the running sandboxes and returns when nothing is left of them, or
// the errors of those that could not be ended. Saved data stays: it keeps paused
// sandboxes and those that this process could not inspect, waits for a pause in
// progress, and undoes a resume in progress. No new sandboxes
// are admitted.
func (r *Runtime) EndRunning(ctx context.Context, reason string) error {
	return r.ender.Each(ctx, func(sb *live.Sandbox) error {
		switch sb.State() {
		case sandbox.StatePaused, sandbox.StatePausing:
			// Its client asked for it to be kept, and saving is bounded.
		default:
			sb.Interrupt()
		}
		if sb.Life.LockWithin(ctx, background.Grace) != nil {
			if sb.State() == sandbox.StateRunning { // Its snapshot hangs.
				return r.ender.End(ctx, sb, reason)
			}
			if err := sb.Life.Lock(ctx); err != nil {
				return err
			}
		}
		defer sb.Life.Unlock()
		switch sb.State() {
		case sandbox.StateCreating, sandbox.StateRunning, sandbox.StateKilling:
			return r.ender.EndHeld(ctx, sb, reason)
		}
		// Paused, or between: the next Open carries on with that.
		return nil
	})
}

// KillAll ends every sandbox, including paused ones, and deletes the snapshots that
// they would resume from. It is for an instance that is not opened again. It
// returns when nothing is left of them, or the errors of those that could not be
// ended. No new ones are admitted.
func (r *Runtime) KillAll(ctx context.Context, reason string) error {
	return r.ender.Each(ctx, func(sb *live.Sandbox) error {
		return r.ender.End(ctx, sb, reason)
	})
}

// EndTimeout is how long EndRunning and KillAll should have: for the pauses under way
// and the slowest ends, and for each sandbox, since it is work for a processor.
func (r *Runtime) EndTimeout() time.Duration {
	return endTimeout + time.Duration(len(r.live.All()))*endEachTime
}

const (
	endTimeout = time.Minute
	// endEachTime is the measured time of the end of one of many on two busy processors.
	endEachTime = 100 * time.Millisecond
)
