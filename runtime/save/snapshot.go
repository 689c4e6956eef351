package save

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// SnapshotTimeout bounds the saving of a sandbox that keeps running.
const SnapshotTimeout = 5 * time.Minute

// Capture claims the state of a sandbox as it is, for a caller that has sb.Life.
func (v *Saver) Capture(ctx context.Context, sb *live.Sandbox, change func(*store.Snapshot)) (snap store.Snapshot, err error) {
	row := sb.Row()
	switch s := sb.State(); s {
	case sandbox.StatePaused:
		snap, err := v.share(ctx, row, change)
		return snap, fault.Classify(err)
	case sandbox.StateRunning:
	default:
		return snap, live.StateError(sb, s)
	}
	if err := v.cfg.Admission.CheckSnapshot(); err != nil {
		return snap, err
	}
	ctx, end := sb.Hold(v.life, SnapshotTimeout)
	defer end()
	snap = v.cfg.Claims.Claim(row, claim.KindSnapshot)
	change(&snap)
	defer v.cfg.Held.Hold(snap.ID)()
	return snap, fault.ClassifySave(sb.ID, live.BrokenOff(ctx, v.save(ctx, row, &snap)))
}

// save takes the snapshot of a running sandbox that a claim is for. The caller
// holds the sandbox's life.
func (v *Saver) save(ctx context.Context, row store.Sandbox, snap *store.Snapshot) (err error) {
	ctx, done := v.cfg.Steps.Stage(ctx, latency.SnapshotSave, slog.String("sandbox", snap.VMID), slog.String("kind", snap.Kind))
	defer func() { done(err) }()
	name := snap.Name
	snap.Name = "" // It moves when there is something to move to.
	defer func() {
		if err != nil {
			if undo := v.cfg.Claims.Drop(ctx, snap.ID); undo != nil {
				v.cfg.Log.Warn("could not remove the files of a failed snapshot", "snapshot_id", snap.ID, "error", undo)
			}
		}
	}()
	if err := v.cfg.Claims.Add(ctx, snap); err != nil {
		return err
	}
	if err := v.cfg.Store.Environments.Copy(ctx, snap.ID, snap.VMID); err != nil {
		return err
	}
	if err := v.cfg.Steps.At(step.SnapshotIntent); err != nil {
		return err
	}
	if err := v.cfg.Driver.Snapshot(ctx, snap.VMID, snap.Snapshot); err != nil {
		return err
	}
	if err := v.cfg.Steps.At(step.SnapshotSaved); err != nil {
		return err
	}
	snap.Name = name
	checkpoint := v.cfg.Journal.Checkpoint(row, *snap)
	if err := v.cfg.Claims.Saved(ctx, snap, checkpoint...); err != nil {
		return err
	}
	v.cfg.Journal.Wrote(checkpoint)
	_ = v.cfg.Steps.At(step.SnapshotOutcome)
	if snap.Kind != claim.KindFork {
		v.cfg.Claims.Seal(*snap)
	}
	return nil
}

// share makes another claim on the snapshot of a paused sandbox.
func (v *Saver) share(ctx context.Context, row store.Sandbox, change func(*store.Snapshot)) (store.Snapshot, error) {
	snap, err := claim.ByID(ctx, v.cfg.Store.Snapshots, row.SnapshotID)
	if err != nil {
		return snap, err
	}
	filesystem := snap.Kind == claim.KindFilesystemPause
	sealed := snap.Manifest
	snap.ID, snap.CreatedAt, snap.Version, snap.Freshness = sandbox.NewID()[1:], time.Now(), 0, row.Freshness
	change(&snap)
	if filesystem {
		return snap, fmt.Errorf("%w: it was paused without its memory; resume it first", sandbox.ErrUnsupported)
	}
	snap.Manifest = ""
	if sealed != "" {
		if snap.Kind == claim.KindFork {
			snap.Manifest = sealed // It is of no kind that is sealed, and is gone in a moment.
		} else if snap.Manifest, err = claim.Resealed(sealed, snap); err != nil {
			return snap, err
		}
	}
	defer v.cfg.Held.Hold(snap.ID)()
	checkpoint := v.cfg.Journal.Checkpoint(row, snap)
	if err := v.cfg.Claims.Publish(ctx, &snap, row.ID, checkpoint...); err != nil {
		return snap, err
	}
	v.cfg.Journal.Wrote(checkpoint)
	if sealed == "" && snap.Kind != claim.KindFork {
		v.cfg.Claims.Seal(snap)
	}
	return snap, nil
}
