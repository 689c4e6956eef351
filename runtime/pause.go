package runtime

import (
	"context"
	"fmt"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

// Pause saves a running sandbox, with its memory or only its files, and ends
// its machine. It returns when nothing of the machine is left. The order is:
// write the intent, freeze, save, write that it is saved, end the machine, free
// the network, release the capacity, write the outcome. A failure before the save is
// complete is undone, and the sandbox keeps running; after it, the pause is retried
// until it is done. A client that goes away does not cancel it. A sandbox that
// another call paused in the meantime is a success.
func (r *Runtime) Pause(ctx context.Context, id string, memory bool) error {
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return err
	}
	before := sb.Pauses()
	if err := sb.LockSettled(ctx); err != nil {
		return fmt.Errorf("pause sandbox %s: %w", id, err)
	}
	kind := claim.KindPause
	if !memory {
		kind = claim.KindFilesystemPause
	}
	_, err = background.Await(ctx, r.background, func() (struct{}, error) {
		defer sb.Life.Unlock()
		switch s := sb.State(); {
		case s == sandbox.StateRunning:
			return struct{}{}, r.saver.Pause(sb, kind)
		case s == sandbox.StatePaused && sb.Pauses() != before && sb.Row().FilesystemOnly == !memory:
			return struct{}{}, nil
		case s == sandbox.StateKilling, s == sandbox.StateKilled:
			return struct{}{}, sb.Gone()
		default:
			return struct{}{}, fmt.Errorf("%w: it is %s", sandbox.ErrConflict, s)
		}
	})
	if err != nil {
		return fmt.Errorf("pause sandbox %s: %w", id, fault.ClassifySave(id, err))
	}
	return nil
}
