//go:build linux

package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rundlet/rundlet/vm"
)

// DeleteSnapshot implements vm.SnapshotDeleter. The machine need not exist any
// more.
func (d *Driver) DeleteSnapshot(ctx context.Context, vmID, snapshot string) error {
	if err := errors.Join(vm.ValidateID(vmID), vm.ValidateSnapshotID(snapshot), ctx.Err()); err != nil {
		return failure("delete snapshot", vmID, nil, err)
	}
	made := d.snapshots.EngineOf(vmID, snapshot)
	trash, err := d.snapshots.Detach(vmID, snapshot)
	if err != nil {
		return failure("delete snapshot", vmID, nil, err)
	}
	d.points.reached(stepDeleteMoved, vmID)
	d.machines.Deleted(vmID, snapshot)
	d.engines.freed(made)
	return failure("delete snapshot", vmID, nil, os.RemoveAll(trash))
}

// HostStamp implements vm.SnapshotInspector.
func (d *Driver) HostStamp() vm.Stamp { return d.snapshots.Stamp() }

// Snapshots implements vm.SnapshotInspector.
func (d *Driver) Snapshots(ctx context.Context) ([]vm.SnapshotInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, failure("list snapshots", "", nil, err)
	}
	all, err := d.snapshots.List()
	for i, info := range all {
		all[i].Damaged = firstLine(info.Damaged)
	}
	return all, failure("list snapshots", "", nil, err)
}

// InspectSnapshot implements vm.SnapshotInspector.
func (d *Driver) InspectSnapshot(ctx context.Context, vmID, snapshot string) (vm.SnapshotInfo, error) {
	if err := errors.Join(vm.ValidateID(vmID), vm.ValidateSnapshotID(snapshot), ctx.Err()); err != nil {
		return vm.SnapshotInfo{}, failure("inspect snapshot", vmID, nil, err)
	}
	info, err := d.snapshots.Inspect(vmID, snapshot)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return info, failure("inspect snapshot", vmID, vm.ErrNotFound, fmt.Errorf("snapshot %s", snapshot))
	case err != nil:
		return info, failure("inspect snapshot", vmID, vm.ErrIncompatible, err)
	}
	return info, nil
}
