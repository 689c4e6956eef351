package start

import (
	"context"
	"fmt"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/store"
)

// relaunch is launch, from the files alone if that was asked for.
func (t *Starter) relaunch(ctx context.Context, sb *live.Sandbox, l machine.Launch) error {
	if !l.Origin.Filesystem && !sb.Forgetting() {
		return t.launch(ctx, sb, l)
	}
	// Its environment is in no memory any more.
	var err error
	if l.Env, err = t.cfg.Store.Environments.Get(ctx, sb.ID); err != nil {
		return err
	}
	if l.Origin.Filesystem {
		return t.launch(ctx, sb, l)
	}
	snap := t.cfg.Claims.Claim(sb.Row(), claim.KindFilesystemPause)
	defer t.cfg.Held.Hold(snap.ID)()
	// The machine has read it when it runs, and it is of no use if it does not.
	defer func() {
		if err := t.cfg.Claims.Drop(ctx, snap.ID); err != nil {
			t.cfg.Log.Warn("could not remove the files that a sandbox was booted from", "sandbox_id", sb.ID, "error", err)
		}
	}()
	if err := t.filesOf(ctx, sb, l, &snap); err != nil {
		return fmt.Errorf("boot from its files: %w", err)
	}
	l.Origin, l.Resumed = claim.OfSnapshot(snap), false
	return t.launch(ctx, sb, l)
}

// filesOf saves the files in the snapshot of a paused sandbox, since they are in the
// same images as its memory. For that its machine is restored, frozen at
// once, saved and ended; no other call reaches it meanwhile.
func (t *Starter) filesOf(ctx context.Context, sb *live.Sandbox, l machine.Launch, snap *store.Snapshot) error {
	saver, err := t.cfg.Saver.By(claim.KindFilesystemPause)
	if err != nil {
		return err
	}
	if err := t.cfg.Admission.CheckSnapshot(); err != nil {
		return err
	}
	// Its programs do not go on, whatever the host has below them now.
	l.Origin.AnyHostFiles = true
	if err := t.restore(ctx, sb, l, true); err != nil {
		return err
	}
	if err := t.cfg.Machines.Freeze(ctx, sb.ID); err != nil {
		return err
	}
	if err := t.cfg.Saver.Files(ctx, sb.ID, snap, saver); err != nil {
		return err
	}
	// The capacity stays reserved for the machine that comes next.
	if err := t.cfg.Machines.Destroy(ctx, sb.ID); err != nil {
		return err
	}
	if err := t.cfg.Network.Release(ctx, sb.Row().SlotID); err != nil {
		return fmt.Errorf("free network: %w", err)
	}
	sb.Update(func(row *store.Sandbox) { row.SlotID = "" })
	return nil
}
