package runtime

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// collect removes the snapshots and images that nothing needs any more. What
// cannot be removed now is logged and left for the next start.
func (r *Runtime) collect(ctx context.Context) {
	err := func() error {
		// A template that is being built has a snapshot before it has a row.
		unlock, err := r.cfg.LockTemplates(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		return errors.Join(r.dropUnfinished(ctx), r.deleteUnclaimed(ctx), r.prune(ctx))
	}()
	if err != nil {
		r.log.Warn("could not remove all that nothing needs any more", "error", err)
	}
}

// dropUnfinished gives up this instance's claims that a process which ended was
// about to fill or to drop, and seals those that it had no time to.
func (r *Runtime) dropUnfinished(ctx context.Context) error {
	rows, err := r.cfg.Store.Snapshots(ctx)
	if err != nil {
		return err
	}
	held := map[string]bool{}
	r.mu.Lock()
	for _, sb := range r.sandboxes {
		held[sb.snapshot().SnapshotID] = true
	}
	r.mu.Unlock()
	var errs []error
	for _, row := range rows {
		pause := row.Kind == kindPause || row.Kind == kindFilesystemPause
		switch {
		case row.Instance != r.cfg.Instance || held[row.ID]:
		case row.State != store.SnapshotReady, row.Kind == kindFork, pause:
			errs = append(errs, r.drop(ctx, row.ID))
			continue
		}
		if row.Instance == r.cfg.Instance && row.State == store.SnapshotReady && row.Manifest == "" {
			r.seal(row) // The one that saved it had no time to.
		}
	}
	return errors.Join(errs...)
}

// deleteUnclaimed removes the driver's snapshots that no row claims.
func (r *Runtime) deleteUnclaimed(ctx context.Context) error {
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
	claimed := map[[2]string]bool{}
	for _, row := range rows {
		claimed[[2]string{row.VMID, row.Snapshot}] = true
	}
	for _, t := range templates {
		claimed[[2]string{t.VMID, t.Snapshot}] = true
	}
	var errs []error
	for _, s := range found {
		if !claimed[[2]string{s.VMID, s.SnapshotID}] {
			r.log.Info("removing a snapshot that nothing claims", "machine", s.VMID, "snapshot", s.SnapshotID)
			errs = append(errs, r.deleteFiles(ctx, s.VMID, s.SnapshotID))
		}
	}
	return errors.Join(errs...)
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
