package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/snapshot"
	"github.com/rundlet/rundlet/vm"
)

// collect removes the snapshots and images that nothing needs any more. What
// cannot be removed now is logged and left for the next time.
func (r *Runtime) collect(ctx context.Context) {
	err := func() error {
		// A template that is being built has a snapshot before it has a row.
		unlock, err := r.cfg.LockTemplates(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		return errors.Join(r.dropUnfinished(ctx), r.deleteUnclaimed(ctx, 0), r.sealUnsealed(ctx), r.prune(ctx))
	}()
	if err != nil {
		r.log.Warn("could not remove all that nothing needs any more", "error", err)
	}
}

// dropUnfinished gives up this instance's claims that nobody is about to fill or
// to drop any more, and seals those that their process had no time to.
func (r *Runtime) dropUnfinished(ctx context.Context) error {
	// Before what is in use: a claim is in use before it is written.
	rows, err := r.cfg.Store.Snapshots(ctx)
	if err != nil {
		return err
	}
	used := r.inUse()
	var errs []error
	for _, row := range rows {
		if row.Instance != r.cfg.Instance || used[row.ID] {
			continue
		}
		// It may have had its outcome since it was listed.
		row, err := r.cfg.Store.Snapshot(ctx, row.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			errs = append(errs, err)
		case row.State != store.SnapshotReady, row.Kind == kindFork, row.Kind == kindPause, row.Kind == kindFilesystemPause:
			errs = append(errs, r.drop(ctx, row.ID))
		}
	}
	return errors.Join(errs...)
}

// sealUnsealed seals the snapshots that an earlier process had no time to.
func (r *Runtime) sealUnsealed(ctx context.Context) error {
	rows, err := r.cfg.Store.Snapshots(ctx)
	for _, row := range rows {
		if row.Instance == r.cfg.Instance && row.State == store.SnapshotReady && row.Manifest == "" && row.Kind != kindFork {
			r.seal(row)
		}
	}
	return err
}

// deleteUnclaimed removes the driver's snapshots that no row claims and that are
// at least so old, those that cannot be read included.
func (r *Runtime) deleteUnclaimed(ctx context.Context, minAge time.Duration) error {
	inspector, ok := r.cfg.Driver.(vm.SnapshotInspector)
	if !ok {
		return nil
	}
	// Before the rows: a claim is written before its snapshot is made, so what
	// is found now and is claimed has its row by then.
	found, err := inspector.Snapshots(ctx)
	if err != nil {
		return err
	}
	rows, err := r.cfg.Store.Snapshots(ctx)
	if err != nil {
		return err
	}
	templates, err := r.cfg.Store.Templates(ctx)
	if err != nil {
		return err
	}
	var claimed []snapshot.Ref
	for _, row := range rows {
		claimed = append(claimed, artifact(row.VMID, row.Snapshot))
	}
	for _, t := range templates {
		claimed = append(claimed, artifact(t.VMID, t.Snapshot))
	}
	present := make([]snapshot.Present, len(found))
	damaged := map[snapshot.Ref]string{}
	for i, s := range found {
		ref := artifact(s.VMID, s.SnapshotID)
		present[i] = snapshot.Present{Ref: ref, VMID: s.VMID, SnapshotID: s.SnapshotID, ModifiedAt: s.CreatedAt}
		if s.Damaged != "" {
			damaged[ref] = s.Damaged
		}
	}
	r.tellDamaged(damaged, claimed)
	deletions, _ := snapshot.Plan(present, nil, claimed, time.Now(), minAge)
	var errs []error
	for _, d := range deletions {
		r.log.Info("removing a snapshot", "machine", d.VMID, "snapshot", d.SnapshotID, "reason", d.Why, "damage", damaged[d.Ref])
		err := r.deleteFiles(ctx, d.VMID, d.SnapshotID)
		if err == nil {
			r.countFreed("snapshot")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// artifact names a snapshot of the driver, whether or not a row is about it.
func artifact(vmID, name string) snapshot.Ref { return snapshot.Ref(vmID + "/" + name) }

// tellDamaged reports each snapshot once that something needs and that cannot
// be read. It is kept: what is wrong may be the disk's, and pass.
func (r *Runtime) tellDamaged(damaged map[snapshot.Ref]string, claimed []snapshot.Ref) {
	for _, ref := range claimed {
		why := damaged[ref]
		if why == "" || r.sup.told[string(ref)] {
			continue
		}
		if r.sup.told == nil {
			r.sup.told = map[string]bool{}
		}
		r.sup.told[string(ref)] = true
		r.log.Error("a snapshot that is needed cannot be read", "snapshot", ref, "damage", why)
	}
}

// prune removes the images of former bases. A running sandbox may have any of
// them as its root, so it waits for a start at which there is none.
func (r *Runtime) prune(ctx context.Context) error {
	if r.cfg.Prune == nil {
		return nil
	}
	live, err := r.cfg.Store.CountLive(ctx)
	if err != nil || live > 0 {
		return err
	}
	tpl, found, err := r.storedBase(ctx)
	if err != nil || !found {
		return err
	}
	rows, err := r.cfg.Store.Snapshots(ctx)
	if err != nil {
		return err
	}
	specs := []string{string(tpl.Spec)}
	for _, row := range rows {
		specs = append(specs, row.Spec)
	}
	var keep []string
	for _, text := range specs {
		var spec vm.Spec
		if err := json.Unmarshal([]byte(text), &spec); err != nil {
			return err // Better too many images than one too few.
		}
		keep = append(keep, spec.Rootfs)
	}
	return r.cfg.Prune(ctx, keep)
}
