package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Reboot is Connect for a sandbox whose memory is not wanted any more, or
// cannot be resumed: one that is paused with its memory boots afresh from its
// files. The saved memory is given up only when it runs.
func (r *Runtime) Reboot(ctx context.Context, id string, timeout time.Duration) (sandbox.Sandbox, bool, error) {
	if _, err := r.saver(claim.KindFilesystemPause); err != nil {
		return sandbox.Sandbox{}, false, err
	}
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return sandbox.Sandbox{}, false, err
	}
	sb.SetForgetting(true)
	defer sb.SetForgetting(false)
	return r.Connect(ctx, id, timeout)
}

// relaunch is launch, from the files alone if that was asked for.
func (r *Runtime) relaunch(ctx context.Context, sb *live.Sandbox, l machine.Launch) error {
	if !l.Origin.Filesystem && !sb.Forgetting() {
		return r.launch(ctx, sb, l)
	}
	// What it was given is in no memory any more.
	var err error
	if l.Env, err = r.cfg.Store.Environment(ctx, sb.ID); err != nil {
		return err
	}
	if l.Origin.Filesystem {
		return r.launch(ctx, sb, l)
	}
	snap := r.claims.Claim(sb.Row(), claim.KindFilesystemPause)
	defer r.held.Hold(snap.ID)()
	// The machine has read it when it runs, and it is of no use if it does not.
	defer func() {
		ctx, cancel := background.Detached(ctx)
		defer cancel()
		if err := r.claims.Drop(ctx, snap.ID); err != nil {
			r.log.Warn("could not remove the files that a sandbox was booted from", "sandbox_id", sb.ID, "error", err)
		}
	}()
	if err := r.filesOf(ctx, sb, l, &snap); err != nil {
		return fmt.Errorf("boot from its files: %w", err)
	}
	l.Origin, l.Resumed = claim.OfSnapshot(snap), false
	return r.launch(ctx, sb, l)
}

// filesOf saves the files of what a paused sandbox resumes from, since they are
// in the same images as its memory. For that its machine is restored, frozen at
// once, saved and ended; no other call reaches it meanwhile.
func (r *Runtime) filesOf(ctx context.Context, sb *live.Sandbox, l machine.Launch, snap *store.Snapshot) error {
	saver, err := r.saver(claim.KindFilesystemPause)
	if err != nil {
		return err
	}
	if err := r.admission.CheckSnapshot(); err != nil {
		return err
	}
	// Its programs do not go on, whatever the host has below them now.
	l.Origin.AnyHostFiles = true
	if err := r.restore(ctx, sb, l, true); err != nil {
		return err
	}
	if err := r.machines.Freeze(ctx, sb.ID); err != nil {
		return err
	}
	if err := r.saveFiles(ctx, sb.ID, snap, saver); err != nil {
		return err
	}
	// The capacity stays reserved for the machine that comes next.
	if err := r.machines.Destroy(ctx, sb.ID); err != nil {
		return err
	}
	if err := r.cfg.Network.Release(ctx, sb.Row().SlotID); err != nil {
		return fmt.Errorf("free network: %w", err)
	}
	sb.Update(func(row *store.Sandbox) { row.SlotID = "" })
	return nil
}

func (r *Runtime) saveFiles(ctx context.Context, id string, snap *store.Snapshot, saver saver) error {
	if err := r.cfg.Store.PutSnapshot(ctx, snap); err != nil {
		return err
	}
	if err := saver(ctx, id, snap.Snapshot); err != nil {
		return err
	}
	return r.claims.Saved(ctx, snap)
}
