//go:build linux

package gvisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/control"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// Snapshot implements vm.Provider. gVisor cannot stop in the middle of saving:
// when the context ends meanwhile the machine stays busy, and the files of the save
// are removed when it has finished.
func (d *Driver) Snapshot(ctx context.Context, id, snapshot string) error {
	return d.save(ctx, id, snapshot, false)
}

// SnapshotFilesystem implements vm.FilesystemSnapshotter. It saves the writable
// layers of the root and of the mounts with Overlay: names, contents,
// owners, modes, links, deletions, and times to the second. Extended attributes
// are kept if their value is text and not empty. Sockets and mounts that
// the guest made are not in it, as after a reboot. ErrUnavailable if deleted
// files, of this and earlier boots, take as much room as the disk has.
func (d *Driver) SnapshotFilesystem(ctx context.Context, id, snapshot string) error {
	return d.save(ctx, id, snapshot, true)
}

func (d *Driver) save(ctx context.Context, id, snapshot string, onlyFiles bool) error {
	if err := vm.ValidateSnapshotID(snapshot); err != nil {
		return failure("snapshot", id, nil, err)
	}
	return d.do(ctx, "snapshot", id, func(m *machine) error { return d.snapshot(ctx, m, snapshot, onlyFiles) })
}

// snapshot must be called by the holder of m.Turn.
func (d *Driver) snapshot(ctx context.Context, m *machine, snapshot string, onlyFiles bool) (err error) {
	_, status, exit := d.machines.State(m)
	if exit != "" || status != vm.StatusRunning && status != vm.StatusStopped || m.pending != "" && m.cold != onlyFiles {
		return vm.TransitionError("snapshot", m.ID(), status, status)
	}
	if d.snapshots.Exists(m.ID(), snapshot) {
		return fmt.Errorf("%w: snapshot %s", vm.ErrAlreadyExists, snapshot)
	}
	lower, err := m.liftForSave(&d.headroom)
	if err != nil {
		return err
	}
	defer lower()
	kills := m.group.OOMKills()
	staging, err := d.snapshots.Stage()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(staging)
		}
	}()
	d.points.reached(stepSnapshotStaging, m.ID())
	switch {
	case m.pending != "":
		err = snapshots.LinkImages(m.pending, staging)
	case onlyFiles:
		err = m.saveFiles(staging)
	default:
		err = m.calls.Checkpoint(staging)
	}
	if err = m.outOfMemory("saving it", kills, err); err != nil {
		return err
	}
	d.points.reached(stepSnapshotSaved, m.ID())
	if err := errors.Join(d.points.inject("snapshot", m.ID()), ctx.Err()); err != nil {
		return err
	}
	manifest, err := m.manifest(d.snapshots, onlyFiles)
	if err == nil {
		err = d.engines.describe(m, manifest)
	}
	if err != nil {
		return err
	}
	if err := d.snapshots.Seal(staging, manifest); err != nil {
		return err
	}
	d.points.reached(stepSnapshotSealed, m.ID())
	if err := d.snapshots.Commit(staging, m.ID(), snapshot, func() { d.points.reached(stepSnapshotParent, m.ID()) }); err != nil {
		return err
	}
	d.points.reached(stepSnapshotCommitted, m.ID())
	d.machines.Saved(m, snapshot)
	return nil
}

// saveFiles writes the machine's writable layers into dir. The guest stands
// still meanwhile.
func (m *machine) saveFiles(dir string) error {
	var layers []string
	if !m.spec.RootfsReadOnly {
		layers = append(layers, "/")
	}
	_, own := oci.Below(m.spec, m.oneLayer)
	for _, mount := range own {
		if mount.Overlay {
			layers = append(layers, mount.Target)
		}
	}
	if len(layers) == 0 {
		return nil // gVisor would call it an error.
	}
	if err := m.calls.FSSave(dir, layers); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(dir, control.PagesFile))
	if err != nil {
		return err
	}
	// gVisor saves the content of deleted files that are still open, and never
	// finds out that they are unused. A guest must not fill the host's
	// disk with that from one snapshot to the next.
	limit := 2 * int64(m.spec.DiskMiB) << 20 * int64(len(layers))
	if limit > 0 && info.Size() > limit {
		return &vm.Error{Op: "snapshot", ID: m.ID(), Kind: vm.ErrUnavailable,
			Err:  fmt.Errorf("deleted files make it %d MiB for a disk of %d MiB", info.Size()>>20, m.spec.DiskMiB),
			Hint: "save it with memory"}
	}
	return nil
}

// manifest describes a snapshot that was just taken of the machine.
func (m *machine) manifest(s *snapshots.Store, onlyFiles bool) (*snapshots.Manifest, error) {
	out, err := s.Describe(m.spec)
	if err != nil {
		return nil, err
	}
	out.Filesystem, out.OneLayer = onlyFiles, m.oneLayer
	if !onlyFiles {
		out.NameRoot(m.savedRoot)
	}
	if m.pending != "" { // Nothing was opened yet, and nothing done.
		out.HostFiles, out.SetUID = m.hostFiles, m.savedSetUID
		return out, nil
	}
	out.SetUID = m.setUID
	if !onlyFiles {
		out.HostFiles, err = s.HostFiles(m.sandbox.PID, m.spec)
	}
	return out, err
}
