package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// pauseTimeout is the deadline of the state pausing: saving is bounded by the
// memory of a sandbox and the speed of a disk.
const pauseTimeout = 5 * time.Minute

// Pause saves a running sandbox, with its memory or only its files, and ends
// its machine. It returns when nothing of the machine is left. The order is:
// write the intent, freeze, save, write that it is saved, end the machine, free
// the network, release the capacity, write the outcome. What fails before it is
// saved is undone, and the sandbox runs on; afterwards it is carried on with
// until it is done. A client that goes away does not break it off. A sandbox
// that another call paused in the meantime is paused: that is what was asked.
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
	_, err = await(ctx, r, func() (struct{}, error) {
		defer sb.Life.Unlock()
		switch s := sb.State(); {
		case s == sandbox.StateRunning:
			return struct{}{}, r.pauseLocked(sb, kind)
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

// pauseLocked is Pause of a running sandbox. The caller holds sb.Life.
func (r *Runtime) pauseLocked(sb *live.Sandbox, kind string) (err error) {
	saver, err := r.saver(kind)
	if err != nil {
		return err
	}
	if err := r.admission.CheckSnapshot(); err != nil {
		return err
	}
	ctx, end := r.holding(sb, pauseTimeout)
	defer end()
	ctx, done := r.steps.Stage(ctx, latency.Pause, slog.String("sandbox", sb.ID), slog.String("kind", kind))
	defer func() { done(err) }()
	snap := r.claims.Claim(sb.Row(), kind)
	row := sb.Update(func(row *store.Sandbox) {
		row.State, row.SnapshotID, row.Deadline = sandbox.StatePausing, snap.ID, time.Now().Add(pauseTimeout)
		row.FilesystemOnly = kind == claim.KindFilesystemPause
	})
	sb.Disarm()
	inSave, saved := r.steps.Stage(ctx, latency.SnapshotSave)
	err = r.savePaused(inSave, sb, row, &snap, saver)
	if saved(err); err != nil {
		if undo := r.undoPause(sb); undo != nil {
			r.log.Warn("a pause failed and cannot be undone yet", "sandbox_id", sb.ID, "error", undo)
			r.retry(sb, "a pause failed and cannot be undone yet", sandbox.StatePausing, r.undoPause)
		}
		return live.BrokenOff(ctx, err)
	}
	r.claims.Seal(snap)
	if err := r.finishPause(sb); err != nil {
		r.retry(sb, "sandbox paused; could not destroy its machine yet", sandbox.StatePausing, r.finishPause)
		return fmt.Errorf("%w (it is saved; ending its machine is being retried)", err)
	}
	return nil
}

// savePaused writes the intent, freezes the machine and saves it.
func (r *Runtime) savePaused(ctx context.Context, sb *live.Sandbox, row store.Sandbox, snap *store.Snapshot, saver saver) error {
	if err := r.cfg.Store.PutSnapshot(ctx, snap); err != nil {
		return err
	}
	if err := r.put(ctx, sb, &row); err != nil {
		return err
	}
	if err := r.steps.At(step.PauseIntent); err != nil {
		return err
	}
	// Frozen first: what the guest did after it was saved would be lost.
	if err := r.machines.Freeze(ctx, sb.ID); err != nil {
		return err
	}
	if err := r.steps.At(step.PauseStopped); err != nil {
		return err
	}
	if err := saver(ctx, sb.ID, snap.Snapshot); err != nil {
		return err
	}
	if err := r.steps.At(step.PauseSaved); err != nil {
		return err
	}
	if err := r.claims.Saved(ctx, snap); err != nil {
		return err
	}
	return r.steps.At(step.PauseClaimed)
}

// finishPause ends the machine of a sandbox that is saved. It can be repeated.
func (r *Runtime) finishPause(sb *live.Sandbox) error {
	ctx, cancel := background.Detached(r.life)
	defer cancel()
	if err := r.unmake(ctx, sb, step.PauseEnded, step.PauseFreed); err != nil {
		return err
	}
	if err := r.nowPaused(ctx, sb); err != nil {
		return err
	}
	sb.CountPause()
	r.log.Info("sandbox paused", "sandbox_id", sb.ID)
	_ = r.steps.At(step.PauseOutcome)
	return nil
}

// nowPaused writes the outcome of a pause, or of a resume that was undone.
func (r *Runtime) nowPaused(ctx context.Context, sb *live.Sandbox) error {
	row := sb.Row()
	row.State, row.Deadline = sandbox.StatePaused, time.Time{}
	if err := r.put(ctx, sb, &row); err != nil {
		return err
	}
	sb.Update(func(r *store.Sandbox) { *r = row })
	r.admission.Places.Rest(sb.Place)
	return nil
}

// retry repeats the end of an operation, with growing pauses, until it is done
// or the sandbox has left the state.
func (r *Runtime) retry(sb *live.Sandbox, what string, in sandbox.State, try func(*live.Sandbox) error) {
	r.background.Go(func() {
		// When the daemon ends first, the next Open carries on.
		_ = retries.Again(r.life, func() error {
			if err := sb.Life.Lock(r.life); err != nil {
				return err
			}
			defer sb.Life.Unlock()
			if sb.State() == in {
				if err := try(sb); err != nil {
					return err
				}
			}
			r.notes.Note(sb.ID, nil)
			return nil
		}, func(err error, pause time.Duration) {
			r.log.Warn(what, "sandbox_id", sb.ID, "error", err, "retry_in", pause)
		})
	})
}
