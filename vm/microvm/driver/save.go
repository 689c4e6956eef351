//go:build linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// Snapshot implements vm.Provider.
func (d *Driver) Snapshot(ctx context.Context, id, snapshot string) error {
	return d.save(ctx, id, snapshot, false)
}

// SnapshotFilesystem implements vm.FilesystemSnapshotter. It saves the machine's disk, after the guest has written what it had in memory.
func (d *Driver) SnapshotFilesystem(ctx context.Context, id, snapshot string) error {
	return d.save(ctx, id, snapshot, true)
}

func (d *Driver) save(ctx context.Context, id, snapshot string, onlyFiles bool) error {
	if err := vm.ValidateSnapshotID(snapshot); err != nil {
		return &vm.Error{Op: "snapshot", ID: id, Err: err}
	}
	return d.do(ctx, "snapshot", id, func(m *vmachine) (err error) {
		id, status, exit := d.machines.State(m)
		if exit != "" || status != vm.StatusRunning && status != vm.StatusStopped || m.Cold && !onlyFiles {
			return vm.TransitionError("snapshot", id, status, status)
		}
		if d.Store.Has(id, snapshot) {
			return fmt.Errorf("%w: snapshot %s", vm.ErrAlreadyExists, snapshot)
		}
		staging, err := os.MkdirTemp(d.dirs.pending(), "save-")
		if err != nil {
			return err
		}
		defer func() {
			if err != nil {
				_ = os.RemoveAll(staging)
			}
		}()
		d.reached(stepSnapshotStaging, id)
		if err := m.Save(status == vm.StatusRunning, staging, onlyFiles); err != nil {
			return err
		}
		d.reached(stepSnapshotSaved, id)
		if err := errors.Join(d.inject("snapshot", id), ctx.Err()); err != nil {
			return err
		}
		if err := d.Store.Describe(m.Spec, m.Version, kernel.HostKHz(), staging, onlyFiles); err != nil {
			return err
		}
		if err := d.Store.Commit(staging, id, snapshot); err != nil {
			return err
		}
		d.reached(stepSnapshotCommitted, id)
		d.machines.Saved(m, snapshot)
		return nil
	})
}
