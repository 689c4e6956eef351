package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
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
		return errors.Join(r.dropUnfinished(ctx), r.reviewUnclaimed(ctx, 0), r.sealUnsealed(ctx), r.prune(ctx))
	}()
	if err != nil {
		r.log.Warn("could not remove all that nothing needs any more", "error", err)
	}
}

// dropUnfinished gives up this instance's claims that nobody is about to fill or
// to drop any more, and seals those that their process had no time to.
func (r *Runtime) dropUnfinished(ctx context.Context) error {
	// Before what is in use: a claim is in use before it is written.
	rows, err := r.cfg.Store.Claims(ctx)
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
		default:
			errs = append(errs, r.dropUnneeded(ctx, row))
		}
	}
	return errors.Join(errs...)
}

// dropUnneeded gives up a claim that nothing uses, if it is known why: its save was
// not finished, its fork was, or its sandbox has been resumed since. A claim that
// the row of a sandbox names stays, whatever the row says; so does one of a kind
// that a newer program made. A pause of a sandbox that has no row contradicts all
// that this program writes: it is released, and its files are set aside.
func (r *Runtime) dropUnneeded(ctx context.Context, claim store.Snapshot) error {
	source, err := r.cfg.Store.Sandbox(ctx, claim.Source)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if known && source.SnapshotID == claim.ID && source.State != sandbox.StateKilled {
		return nil
	}
	switch claim.Kind {
	case kindFork:
		return r.drop(ctx, claim.ID)
	case kindPause, kindFilesystemPause:
		if claim.State == store.SnapshotReady && !known {
			return r.cfg.Store.ReleaseSnapshot(ctx, claim.ID)
		}
		return r.drop(ctx, claim.ID)
	case kindSnapshot, kindContinuation:
		if claim.State == store.SnapshotSaving {
			return r.drop(ctx, claim.ID)
		}
	}
	return nil
}

// sealUnsealed seals the snapshots that an earlier process had no time to.
func (r *Runtime) sealUnsealed(ctx context.Context) error {
	rows, err := r.cfg.Store.Unsealed(ctx, r.cfg.Instance)
	for _, row := range rows {
		if row.Kind != kindFork {
			r.seal(row)
		}
	}
	return err
}

// reviewUnclaimed looks at the driver's snapshots that no row claims and that are
// at least so old, those that cannot be read included. It deletes what is known to
// be garbage and sets the others aside: their rows may have been lost.
func (r *Runtime) reviewUnclaimed(ctx context.Context, minAge time.Duration) error {
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
	claimed, err := r.claims(ctx)
	if err != nil {
		return err
	}
	garbage, err := r.cfg.Store.Garbage(ctx)
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
	r.tellDamaged(damaged, claimed)
	unclaimed := snapshot.Plan(present, claimed, time.Now(), minAge)
	orphans := map[[2]string]bool{}
	var errs []error
	for _, u := range unclaimed {
		key := [2]string{u.VMID, u.SnapshotID}
		switch {
		case garbage[key]:
			errs = append(errs, r.deleteUnclaimed(ctx, u, damaged[u.Ref]))
		case !r.cfg.Ephemeral:
			orphans[key] = true
			errs = append(errs, r.setAsideSnapshot(ctx, u, damaged[u.Ref]))
		}
	}
	if r.cfg.Ephemeral {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, r.reviewOrphans(ctx, orphans, minAge), r.cfg.Store.ForgetGarbage(ctx, time.Now().Add(-garbageKept), there))...)
}

// garbageKept is how long the record of a deletion is kept: until the disk has the
// deletion for certain, or after a power cut nothing would say what came back.
const garbageKept = time.Hour

// claims are the driver's snapshots that rows are about.
func (r *Runtime) claims(ctx context.Context) ([]snapshot.Ref, error) {
	rows, err := r.cfg.Store.Claims(ctx)
	if err != nil {
		return nil, err
	}
	templates, err := r.cfg.Store.Templates(ctx)
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

func (r *Runtime) deleteUnclaimed(ctx context.Context, u snapshot.Deletion, damage string) error {
	r.log.Info("removing a snapshot", "machine", u.VMID, "snapshot", u.SnapshotID, "reason", u.Why, "damage", damage)
	err := r.deleteFiles(ctx, u.VMID, u.SnapshotID)
	if err == nil {
		r.countFreed("snapshot")
	}
	return err
}

// setAsideSnapshot keeps a snapshot that no row claims until its time is over.
func (r *Runtime) setAsideSnapshot(ctx context.Context, u snapshot.Deletion, damage string) error {
	o, over, err := r.setAside(ctx, store.OrphanSnapshot, u.VMID, u.SnapshotID)
	if err != nil || !over {
		return err
	}
	if err := r.deleteUnclaimed(ctx, u, damage); err != nil {
		return err
	}
	return r.cfg.Store.ForgetOrphan(ctx, o)
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
	if orphans, err := r.cfg.Store.Orphans(ctx); err != nil || len(orphans) > 0 {
		return err // Nothing says which image they need.
	}
	tpl, found, err := r.storedBase(ctx)
	if err != nil || !found {
		return err
	}
	specs, err := r.cfg.Store.Specs(ctx) // No sandbox is live: they are those of snapshots.
	if err != nil {
		return err
	}
	specs = append(specs, string(tpl.Spec))
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
