package save

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// PauseTimeout is the deadline of the state pausing: saving is bounded by the
// memory of a sandbox and the speed of a disk.
const PauseTimeout = 5 * time.Minute

// Pause pauses a running sandbox. The order is: write the intent, freeze, save, write
// that it is saved, end the machine, free the network, release the capacity, write the
// outcome. The caller holds sb.Life.
func (v *Saver) Pause(sb *live.Sandbox, kind string) (err error) {
	save, err := v.By(kind)
	if err != nil {
		return err
	}
	if err := v.cfg.Admission.CheckSnapshot(); err != nil {
		return err
	}
	ctx, end := sb.Hold(v.life, PauseTimeout)
	defer end()
	ctx, done := v.cfg.Steps.Stage(ctx, latency.Pause, slog.String("sandbox", sb.ID), slog.String("kind", kind))
	defer func() { done(err) }()
	snap := v.cfg.Claims.Claim(sb.Row(), kind)
	row := sb.Update(func(row *store.Sandbox) {
		row.State, row.SnapshotID, row.Deadline = sandbox.StatePausing, snap.ID, time.Now().Add(PauseTimeout)
		row.FilesystemOnly = kind == claim.KindFilesystemPause
	})
	sb.Disarm()
	inSave, saved := v.cfg.Steps.Stage(ctx, latency.SnapshotSave)
	err = v.savePaused(inSave, sb, row, &snap, save)
	if saved(err); err != nil {
		if undo := v.Undo(sb); undo != nil {
			v.cfg.Log.Warn("a pause failed and cannot be undone yet", "sandbox_id", sb.ID, "error", undo)
			v.cfg.Ender.Retry(sb, "a pause failed and cannot be undone yet", sandbox.StatePausing, v.Undo)
		}
		return live.BrokenOff(ctx, err)
	}
	v.cfg.Claims.Seal(snap)
	if err := v.Finish(sb); err != nil {
		v.cfg.Ender.Retry(sb, "sandbox paused; could not destroy its machine yet", sandbox.StatePausing, v.Finish)
		return fmt.Errorf("%w (it is saved; ending its machine is being retried)", err)
	}
	return nil
}

// savePaused writes the intent, freezes the machine and saves it.
func (v *Saver) savePaused(ctx context.Context, sb *live.Sandbox, row store.Sandbox, snap *store.Snapshot, save Func) error {
	if err := v.cfg.Store.Snapshots.Put(ctx, snap); err != nil {
		return err
	}
	if err := v.cfg.Rows.Put(ctx, sb, &row); err != nil {
		return err
	}
	if err := v.cfg.Steps.At(step.PauseIntent); err != nil {
		return err
	}
	// Frozen first: what the guest did after it was saved would be lost.
	if err := v.cfg.Machines.Freeze(ctx, sb.ID); err != nil {
		return err
	}
	if err := v.cfg.Steps.At(step.PauseStopped); err != nil {
		return err
	}
	if err := save(ctx, sb.ID, snap.Snapshot); err != nil {
		return err
	}
	if err := v.cfg.Steps.At(step.PauseSaved); err != nil {
		return err
	}
	if err := v.cfg.Claims.Saved(ctx, snap); err != nil {
		return err
	}
	return v.cfg.Steps.At(step.PauseClaimed)
}

// Finish ends the machine of a sandbox that is saved. It can be repeated.
func (v *Saver) Finish(sb *live.Sandbox) error {
	ctx, cancel := background.Detached(v.life)
	defer cancel()
	if err := v.cfg.Ender.Unmake(ctx, sb, step.PauseEnded, step.PauseFreed); err != nil {
		return err
	}
	if err := v.Paused(ctx, sb); err != nil {
		return err
	}
	sb.CountPause()
	v.cfg.Log.Info("sandbox paused", "sandbox_id", sb.ID)
	_ = v.cfg.Steps.At(step.PauseOutcome)
	return nil
}

// Paused writes the outcome of a pause, or of a resume that was undone.
func (v *Saver) Paused(ctx context.Context, sb *live.Sandbox) error {
	row := sb.Row()
	row.State, row.Deadline = sandbox.StatePaused, time.Time{}
	if err := v.cfg.Rows.Put(ctx, sb, &row); err != nil {
		return err
	}
	sb.Update(func(now *store.Sandbox) { *now = row })
	v.cfg.Admission.Places.Rest(sb.Place)
	return nil
}

// Undo lets a sandbox run on whose pause failed before it was saved. It can
// be repeated. An error means that its machine could be neither continued nor
// found dead: the sandbox is pausing still, and nothing of it is lost.
func (v *Saver) Undo(sb *live.Sandbox) error {
	if sb.Condemned() {
		return nil // The kill that broke the pause off does the rest.
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.life), background.CleanupTimeout)
	defer cancel()
	ended, err := v.cfg.Machines.GoOn(ctx, sb.ID)
	if err != nil {
		return fmt.Errorf("continue the machine of %s after a pause that failed: %w", sb.ID, err)
	}
	if ended != "" {
		// The claim goes with the sandbox. What cannot be ended now is retried.
		if err := v.cfg.Ender.EndHeld(ctx, sb, ended); err != nil {
			v.cfg.Log.Warn("sandbox cannot be ended yet", "sandbox_id", sb.ID, "error", err)
		}
		return nil
	}
	snap := sb.Row().SnapshotID
	row := sb.Update(func(row *store.Sandbox) {
		row.State, row.SnapshotID, row.Deadline = sandbox.StateRunning, "", time.Time{}
	})
	// If this is not written, the next start finds a machine that runs and a
	// snapshot that is not complete, and comes to the same.
	written := v.cfg.Rows.Put(ctx, sb, &row)
	if written != nil {
		v.cfg.Log.Warn("could not write that a pause was undone", "sandbox_id", sb.ID, "error", written)
	}
	// Another writer may have named the claim in the row; if not, it is collected.
	if errors.Is(written, store.ErrStale) {
		sb.Arm(ExpireRetry, func() { v.Expire(sb) })
		return nil
	}
	if err := v.cfg.Claims.Drop(ctx, snap); err != nil {
		v.cfg.Log.Warn("could not remove what a failed pause saved", "sandbox_id", sb.ID, "error", err)
	}
	sb.Arm(ExpireRetry, func() { v.Expire(sb) })
	return nil
}
