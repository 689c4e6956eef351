//go:build linux

package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"gvisor.dev/gvisor/pkg/sentry/checkpoint"
	"gvisor.dev/gvisor/pkg/sentry/state/checkpointfiles"
	"gvisor.dev/gvisor/pkg/state/statefile"
	"gvisor.dev/gvisor/runsc/sandbox"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
)

// snapshotTree guards the making and removal of the directories that hold the
// snapshots of one machine id.
var snapshotTree sync.Mutex

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

// snapshot must be called by the holder of m.turn.
func (d *Driver) snapshot(ctx context.Context, m *machine, snapshot string, onlyFiles bool) (err error) {
	status, exit := d.machines.state(m)
	if exit != "" || status != vm.StatusRunning && status != vm.StatusStopped || m.pending != "" && m.cold != onlyFiles {
		return vm.TransitionError("snapshot", m.id, status, status)
	}
	dir := d.dirs.Snapshot(m.id, snapshot)
	if exists(dir) {
		return fmt.Errorf("%w: snapshot %s", vm.ErrAlreadyExists, snapshot)
	}
	lower, err := m.liftForSave(&d.headroom)
	if err != nil {
		return err
	}
	defer lower()
	kills := m.group.OOMKills()
	staging, err := os.MkdirTemp(d.dirs.Pending(), "snapshot-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(staging)
		}
	}()
	d.points.reached(stepSnapshotStaging, m.id)
	switch {
	case m.pending != "":
		err = linkImages(m.pending, staging)
	case onlyFiles:
		err = m.saveFiles(staging)
	default:
		err = m.c.Sandbox.Checkpoint(m.runsc, m.key, staging, sandbox.CheckpointOpts{
			Compression: statefile.CompressionLevelNone, Resume: true})
	}
	if err = m.outOfMemory("saving it", kills, err); err != nil {
		return err
	}
	d.points.reached(stepSnapshotSaved, m.id)
	if err := errors.Join(d.points.inject("snapshot", m.id), ctx.Err()); err != nil {
		return err
	}
	if err := d.seal(m, staging, onlyFiles); err != nil {
		return err
	}
	d.points.reached(stepSnapshotSealed, m.id)
	if err := d.commit(m.id, staging, dir); err != nil {
		return err
	}
	d.points.reached(stepSnapshotCommitted, m.id)
	d.machines.saved(m, snapshot)
	return nil
}

// saveFiles writes the machine's writable layers into dir. The guest stands
// still meanwhile.
func (m *machine) saveFiles(dir string) error {
	var layers []checkpoint.ResourceID
	if !m.spec.RootfsReadOnly {
		layers = append(layers, checkpoint.ResourceID{Path: "/"})
	}
	_, own := below(m.spec, m.oneLayer)
	for _, mount := range own {
		if mount.Overlay {
			layers = append(layers, checkpoint.ResourceID{Path: mount.Target})
		}
	}
	if len(layers) == 0 {
		return nil // gVisor would call it an error.
	}
	if err := m.c.Sandbox.FSSave(m.runsc, m.key, dir, sandbox.FSSaveOpts{Paths: layers}); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(dir, checkpointfiles.PagesFileName))
	if err != nil {
		return err
	}
	// gVisor saves the content of deleted files that are still open, and never
	// finds out that they are unused. A guest must not fill the host's
	// disk with that from one snapshot to the next.
	limit := 2 * int64(m.spec.DiskMiB) << 20 * int64(len(layers))
	if limit > 0 && info.Size() > limit {
		return &vm.Error{Op: "snapshot", ID: m.id, Kind: vm.ErrUnavailable,
			Err:  fmt.Errorf("deleted files make it %d MiB for a disk of %d MiB", info.Size()>>20, m.spec.DiskMiB),
			Hint: "save it with memory"}
	}
	return nil
}

// seal writes the manifest of the images in dir and makes all durable.
func (d *Driver) seal(m *machine, dir string, onlyFiles bool) error {
	rootfs, err := describe(filepath.Clean(m.spec.Rootfs))
	if err != nil {
		return err
	}
	out := newManifest(d.version, m.spec)
	out.Filesystem, out.Rootfs, out.OneLayer = onlyFiles, rootfs, m.oneLayer
	if m.pending != "" { // Nothing was opened yet, and nothing done.
		out.HostFiles, out.SetUID = m.hostFiles, m.savedSetUID
	} else if out.SetUID = m.setUID; !onlyFiles {
		if out.HostFiles, err = hostFiles(m.sandbox.pid, d.own); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !isImage(entry.Name()) {
			continue
		}
		out.Files[entry.Name()] = info.Size()
		if err := files.Sync(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, manifestFile)
	if err := files.WriteJSON(file, out); err != nil {
		return err
	}
	return errors.Join(files.Sync(file), files.Sync(dir))
}

// commit makes the complete snapshot in staging visible as dir.
func (d *Driver) commit(id, staging, dir string) error {
	snapshotTree.Lock()
	defer snapshotTree.Unlock()
	parent := filepath.Dir(dir)
	for again := true; ; again = false {
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return err
		}
		d.points.reached(stepSnapshotParent, id)
		err := os.Rename(staging, dir)
		if again && errors.Is(err, fs.ErrNotExist) {
			continue // Another process took it for the rest of a deletion.
		}
		if err != nil {
			return err
		}
		// The parent may be new: then its name has to be on the disk, too.
		return errors.Join(files.Sync(parent), files.Sync(filepath.Dir(parent)))
	}
}

// linkImages gives the images in from a second name in the new or empty
// directory to.
func linkImages(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !isImage(entry.Name()) {
			continue
		}
		if err := os.Link(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
