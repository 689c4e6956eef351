//go:build linux

package gvisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/state/statefile"
	"gvisor.dev/gvisor/runsc/sandbox"

	"github.com/rundlet/rundlet/vm"
)

// snapshotTree guards the making and removal of the directories that hold the
// snapshots of one machine id.
var snapshotTree sync.Mutex

func (c Config) snapshotDir(vmID, snapshot string) string {
	return filepath.Join(c.snapshotsDir(), vmID, snapshot)
}

// Snapshot implements vm.Provider. gVisor cannot stop in the middle of saving:
// a context that ends meanwhile takes effect, and removes what was saved, when
// it has finished.
func (d *Driver) Snapshot(ctx context.Context, id, snapshot string) error {
	if err := vm.ValidateSnapshotID(snapshot); err != nil {
		return failure("snapshot", id, nil, err)
	}
	m, err := d.acquire(ctx, "snapshot", id)
	if err != nil {
		return err
	}
	defer m.unlock()
	return failure("snapshot", id, nil, d.snapshot(ctx, m, snapshot))
}

// snapshot must be called by the holder of m.op.
func (d *Driver) snapshot(ctx context.Context, m *machine, snapshot string) (err error) {
	status, exit := d.state(m)
	if exit != "" || status != vm.StatusRunning && status != vm.StatusStopped {
		return vm.TransitionError("snapshot", m.id, status, status)
	}
	dir := d.conf.snapshotDir(m.id, snapshot)
	if exists(dir) {
		return fmt.Errorf("%w: snapshot %s", vm.ErrAlreadyExists, snapshot)
	}
	staging, err := os.MkdirTemp(d.conf.pendingDir(), "snapshot-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(staging)
		}
	}()
	if m.pending != "" {
		err = linkImages(m.pending, staging)
	} else {
		err = m.c.Checkpoint(m.runsc, staging, sandbox.CheckpointOpts{
			Compression: statefile.CompressionLevelNone, Resume: true})
	}
	if err != nil {
		return err
	}
	if err := errors.Join(d.point("snapshot", m.id), ctx.Err()); err != nil {
		return err
	}
	if err := d.seal(m, staging); err != nil {
		return err
	}
	if err := commit(staging, dir); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m.snapshots = append(m.snapshots, snapshot)
	return nil
}

// seal writes the manifest of the images in dir and makes all durable.
func (d *Driver) seal(m *machine, dir string) error {
	rootfs, err := identify(filepath.Clean(m.spec.Rootfs))
	if err != nil {
		return err
	}
	spec := m.spec
	out := manifest{
		Format: manifestFormat, Driver: driverName, Version: d.version,
		Flags: runscFlags(spec, ""), CPUFeatures: hostFeatures(), Rootfs: rootfs, Spec: spec,
		CreatedAt: time.Now().UTC(), Files: map[string]int64{},
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
		if !strings.HasSuffix(entry.Name(), ".img") {
			continue
		}
		out.Files[entry.Name()] = info.Size()
		if err := syncFile(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, manifestFile)
	if err := writeJSON(file, out); err != nil {
		return err
	}
	return errors.Join(syncFile(file), syncFile(dir))
}

// commit makes the complete snapshot in staging visible as dir.
func commit(staging, dir string) error {
	snapshotTree.Lock()
	defer snapshotTree.Unlock()
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	if err := os.Rename(staging, dir); err != nil {
		return err
	}
	return syncFile(parent)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
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
		if !strings.HasSuffix(entry.Name(), ".img") {
			continue
		}
		if err := os.Link(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// resolve finds the snapshot that ref names, whoever made it, and returns its
// images and the spec of a machine made from it.
func (d *Driver) resolve(ref *vm.SnapshotRef, want vm.Spec) (images string, spec vm.Spec, err error) {
	images = d.conf.snapshotDir(ref.VMID, ref.SnapshotID)
	m, err := readManifest(images)
	if errors.Is(err, fs.ErrNotExist) {
		return "", spec, fmt.Errorf("%w: snapshot %s of %s", vm.ErrNotFound, ref.SnapshotID, ref.VMID)
	} else if err != nil {
		return "", spec, fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	if err := m.compatible(images, d.version); err != nil {
		return "", spec, err
	}
	spec, err = m.restoreSpec(want)
	return images, spec, err
}

// DeleteSnapshot implements vm.SnapshotDeleter. The machine need not exist any
// more.
func (d *Driver) DeleteSnapshot(ctx context.Context, vmID, snapshot string) error {
	if err := errors.Join(vm.ValidateID(vmID), vm.ValidateSnapshotID(snapshot), ctx.Err()); err != nil {
		return failure("delete snapshot", vmID, nil, err)
	}
	trash := filepath.Join(d.conf.pendingDir(), "deleted-"+newKey())
	snapshotTree.Lock()
	dir := d.conf.snapshotDir(vmID, snapshot)
	err := os.Rename(dir, trash)
	_ = unix.Rmdir(filepath.Dir(dir)) // Succeeds for the last one only.
	snapshotTree.Unlock()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure("delete snapshot", vmID, nil, err)
	}
	d.forgetSnapshot(vmID, snapshot)
	return failure("delete snapshot", vmID, nil, os.RemoveAll(trash))
}

// snapshotsOnDisk lists the snapshots of a machine id, the oldest first.
func snapshotsOnDisk(c Config, vmID string) []string {
	entries, err := os.ReadDir(filepath.Join(c.snapshotsDir(), vmID))
	if err != nil {
		return nil
	}
	made := map[string]time.Time{}
	var names []string
	for _, entry := range entries {
		if m, err := readManifest(c.snapshotDir(vmID, entry.Name())); err == nil {
			made[entry.Name()] = m.CreatedAt
			names = append(names, entry.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(made[a].Compare(made[b]), cmp.Compare(a, b))
	})
	return names
}

// moveSnapshots gives a machine's snapshots to another id and reports whether
// there were any.
func moveSnapshots(c Config, from, to string) (moved bool, err error) {
	snapshotTree.Lock()
	defer snapshotTree.Unlock()
	source, target := filepath.Join(c.snapshotsDir(), from), filepath.Join(c.snapshotsDir(), to)
	if exists(target) {
		return false, fmt.Errorf("%w: snapshots of %s", vm.ErrAlreadyExists, to)
	}
	if !exists(source) {
		return false, nil
	}
	return true, os.Rename(source, target)
}
