package claim

import (
	"context"
	"errors"
	"time"

	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// DropUnfinished gives up this instance's claims that are not about to be filled or
// to drop any more, and seals those that their process had no time to.
func (c *Claims) DropUnfinished(ctx context.Context) error {
	// Before what is in use: a claim is in use before it is written.
	rows, err := c.cfg.Store.Snapshots.Claims(ctx)
	if err != nil {
		return err
	}
	used := c.cfg.InUse()
	var errs []error
	for _, row := range rows {
		if row.Instance != c.cfg.Instance || used[row.ID] || c.Here(row) != nil {
			continue
		}
		// It may have had its outcome since it was listed.
		row, err := ByID(ctx, c.cfg.Store.Snapshots, row.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, c.dropUnneeded(ctx, row))
		}
	}
	return errors.Join(errs...)
}

// dropUnneeded gives up a claim that nothing uses, if it is known why: its save was
// not finished, its fork was, or its sandbox has been resumed since. A claim that
// the row of a sandbox names stays, whatever the row says; so does one of a kind
// that a newer program made. A pause of a sandbox that has no row contradicts all
// that this program writes: it is released, and its files are set aside.
func (c *Claims) dropUnneeded(ctx context.Context, claim store.Snapshot) error {
	source, err := c.cfg.Store.Sandboxes.Get(ctx, claim.Source)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if known && source.SnapshotID == claim.ID && source.State != sandbox.StateKilled {
		return nil
	}
	switch claim.Kind {
	case KindFork:
		return c.drop(ctx, claim)
	case KindPause, KindFilesystemPause:
		if claim.State == store.SnapshotReady && !known {
			return c.cfg.Store.Snapshots.Release(ctx, claim.ID, claim.Version)
		}
		return c.drop(ctx, claim)
	case KindSnapshot, KindContinuation, KindTemplate, KindLayer:
		if claim.State == store.SnapshotSaving {
			return c.drop(ctx, claim)
		}
	}
	return nil
}

// SealUnsealed seals the snapshots that an earlier process had no time to.
func (c *Claims) SealUnsealed(ctx context.Context) error {
	rows, err := c.cfg.Store.Snapshots.Unsealed(ctx, c.cfg.Instance)
	for _, row := range rows {
		if row.Kind != KindFork && c.Here(row) == nil {
			c.Seal(row)
		}
	}
	return err
}

// Review checks the driver's snapshots that no row claims and that are at least so
// old, including those that cannot be read. It deletes known garbage and sets the
// others aside: their rows may have been lost.
func (c *Claims) Review(ctx context.Context, minAge time.Duration) error {
	inspector, ok := c.cfg.Driver.(vm.SnapshotInspector)
	if !ok {
		return nil
	}
	// Before the rows: a claim is written before its snapshot is made, so what
	// is found now and is claimed has its row by then.
	found, err := inspector.Snapshots(ctx)
	if err != nil {
		return err
	}
	claimed, err := c.claimed(ctx)
	if err != nil {
		return err
	}
	garbage, err := c.cfg.Store.Garbage.All(ctx)
	if err != nil {
		return err
	}
	present := make([]snapshot.Present, len(found))
	there := map[[2]string]bool{}
	damaged := map[snapshot.Ref]string{}
	for i, s := range found {
		ref := artifact(s.VMID, s.SnapshotID)
		there[[2]string{s.VMID, s.SnapshotID}] = true
		present[i] = snapshot.Present{Ref: ref, VMID: s.VMID, SnapshotID: s.SnapshotID, ModifiedAt: s.CreatedAt}
		if s.Damaged != "" {
			damaged[ref] = s.Damaged
		}
	}
	c.reportDamaged(damaged, claimed)
	unclaimed := snapshot.Plan(present, claimed, time.Now(), minAge)
	orphans := map[[2]string]bool{}
	var errs []error
	for _, u := range unclaimed {
		key := [2]string{u.VMID, u.SnapshotID}
		switch {
		case garbage[key]:
			errs = append(errs, c.deleteUnclaimed(ctx, u, damaged[u.Ref]))
		case !c.cfg.Ephemeral:
			orphans[key] = true
			errs = append(errs, c.setAside(ctx, u, damaged[u.Ref]))
		}
	}
	if c.cfg.Ephemeral {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, c.cfg.Orphans.Review(ctx, orphans, minAge), c.cfg.Store.Garbage.Forget(ctx, time.Now().Add(-garbageKept), there))...)
}

// garbageKept is how long the record of a deletion is kept: until the disk has the
// deletion for certain, or after a power cut nothing would say what came back.
const garbageKept = time.Hour

// claims are the driver's snapshots that rows are about.
func (c *Claims) claimed(ctx context.Context) ([]snapshot.Ref, error) {
	rows, err := c.cfg.Store.Snapshots.Claims(ctx)
	if err != nil {
		return nil, err
	}
	templates, err := c.cfg.Store.Templates.All(ctx)
	if err != nil {
		return nil, err
	}
	var claimed []snapshot.Ref
	for _, row := range rows {
		claimed = append(claimed, artifact(row.VMID, row.Snapshot))
	}
	for _, t := range templates {
		claimed = append(claimed, artifact(t.VMID, t.Snapshot))
	}
	return claimed, nil
}

func (c *Claims) deleteUnclaimed(ctx context.Context, u snapshot.Deletion, damage string) error {
	c.cfg.Log.Info("removing snapshot", "machine_id", u.VMID, "snapshot_id", u.SnapshotID, "reason", u.Why, "damage", damage)
	err := c.DeleteFiles(ctx, u.VMID, u.SnapshotID)
	if err == nil {
		c.cfg.Freed("snapshot")
	}
	return err
}

// setAsideSnapshot keeps a snapshot that no row claims until its time is over.
func (c *Claims) setAside(ctx context.Context, u snapshot.Deletion, damage string) error {
	o, over, err := c.cfg.Orphans.SetAside(ctx, store.OrphanSnapshot, u.VMID, u.SnapshotID)
	if err != nil || !over {
		return err
	}
	if err := c.deleteUnclaimed(ctx, u, damage); err != nil {
		return err
	}
	return c.cfg.Orphans.Forget(ctx, o)
}

// artifact names a snapshot of the driver, whether or not a row is about it.
func artifact(vmID, name string) snapshot.Ref { return snapshot.Ref(vmID + "/" + name) }

// reportDamaged logs, once, each claimed snapshot that cannot be read. It is kept:
// the fault may be the disk's, and pass.
func (c *Claims) reportDamaged(damaged map[snapshot.Ref]string, claimed []snapshot.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ref := range claimed {
		why := damaged[ref]
		if why == "" || c.reported[string(ref)] {
			continue
		}
		c.reported[string(ref)] = true
		c.cfg.Log.Error("could not read a snapshot that is in use", "snapshot_id", ref, "damage", why)
	}
}
