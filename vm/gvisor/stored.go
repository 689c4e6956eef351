//go:build linux

package gvisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
)

// resolve finds the snapshot that ref names, regardless of its creator, and returns its
// images, its manifest, and the spec of a machine made from it.
func (d *Driver) resolve(ref *vm.SnapshotRef, want vm.Spec) (images string, m *manifest, spec vm.Spec, err error) {
	images = d.dirs.Snapshot(ref.VMID, ref.SnapshotID)
	m, err = readManifest(images)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, spec, fmt.Errorf("%w: snapshot %s of %s", vm.ErrNotFound, ref.SnapshotID, ref.VMID)
	} else if err != nil {
		return "", nil, spec, fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	if err := m.compatible(images, d.version); err != nil {
		return "", nil, spec, err
	}
	if m.Filesystem {
		spec, err = m.coldSpec(want)
	} else if spec, err = m.restoreSpec(want); err == nil {
		if ref.AnyHostFiles {
			m.HostFiles = nil
		}
		m.overCopiedRoot()
		err = checkHostFiles(m.ownHostFiles(spec), spec)
	}
	return images, m, spec, err
}

// DeleteSnapshot implements vm.SnapshotDeleter. The machine need not exist any
// more.
func (d *Driver) DeleteSnapshot(ctx context.Context, vmID, snapshot string) error {
	if err := errors.Join(vm.ValidateID(vmID), vm.ValidateSnapshotID(snapshot), ctx.Err()); err != nil {
		return failure("delete snapshot", vmID, nil, err)
	}
	trash := filepath.Join(d.dirs.Pending(), "deleted-"+files.NewKey())
	snapshotTree.Lock()
	dir := d.dirs.Snapshot(vmID, snapshot)
	err := os.Rename(dir, trash)
	_ = unix.Rmdir(filepath.Dir(dir)) // Succeeds for the last one only.
	snapshotTree.Unlock()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure("delete snapshot", vmID, nil, err)
	}
	d.points.reached(stepDeleteMoved, vmID)
	d.machines.deleted(vmID, snapshot)
	return failure("delete snapshot", vmID, nil, os.RemoveAll(trash))
}

// snapshotsOnDisk lists the snapshots of a machine id, the oldest first.
func snapshotsOnDisk(dirs files.Dirs, vmID string) []string {
	entries, err := os.ReadDir(filepath.Join(dirs.Snapshots(), vmID))
	if err != nil {
		return nil
	}
	made := map[string]time.Time{}
	var names []string
	for _, entry := range entries {
		if m, err := readManifest(dirs.Snapshot(vmID, entry.Name())); err == nil {
			made[entry.Name()] = m.CreatedAt
			names = append(names, entry.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(made[a].Compare(made[b]), cmp.Compare(a, b))
	})
	return names
}

// moveSnapshots gives a machine's snapshots to another id.
func moveSnapshots(dirs files.Dirs, from, to string) error {
	snapshotTree.Lock()
	defer snapshotTree.Unlock()
	// It fails if there are snapshots of that id already.
	return os.Rename(filepath.Join(dirs.Snapshots(), from), filepath.Join(dirs.Snapshots(), to))
}

func hasSnapshots(dirs files.Dirs, vmID string) bool {
	entries, _ := os.ReadDir(filepath.Join(dirs.Snapshots(), vmID))
	return len(entries) > 0
}

// HostStamp implements vm.SnapshotInspector.
func (d *Driver) HostStamp() vm.Stamp { return newManifest(d.version, vm.Spec{}).stamp() }

// Snapshots implements vm.SnapshotInspector.
func (d *Driver) Snapshots(ctx context.Context) ([]vm.SnapshotInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, failure("list snapshots", "", nil, err)
	}
	owners, err := os.ReadDir(d.dirs.Snapshots())
	if err != nil {
		return nil, failure("list snapshots", "", nil, err)
	}
	var all []vm.SnapshotInfo
	for _, owner := range owners {
		entries, err := os.ReadDir(filepath.Join(d.dirs.Snapshots(), owner.Name()))
		if err != nil {
			continue // Its last snapshot was deleted meanwhile.
		}
		for _, entry := range entries {
			info, err := d.inspect(owner.Name(), entry.Name())
			if err != nil {
				var there bool
				if info, there = damaged(owner.Name(), entry, err); !there {
					continue
				}
			}
			all = append(all, info)
		}
	}
	return all, nil // ReadDir sorts.
}

// damaged describes what is in the place of a snapshot and is none, which is one
// whose manifest was lost: a snapshot gets its place when it is complete.
func damaged(vmID string, entry fs.DirEntry, why error) (vm.SnapshotInfo, bool) {
	stat, err := entry.Info()
	if err != nil || vm.ValidateID(vmID) != nil || vm.ValidateSnapshotID(entry.Name()) != nil {
		return vm.SnapshotInfo{}, false // It was deleted meanwhile, or is not ours.
	}
	return vm.SnapshotInfo{VMID: vmID, SnapshotID: entry.Name(), CreatedAt: stat.ModTime(), Damaged: brief(why).Error()}, true
}

// InspectSnapshot implements vm.SnapshotInspector.
func (d *Driver) InspectSnapshot(ctx context.Context, vmID, snapshot string) (vm.SnapshotInfo, error) {
	if err := errors.Join(vm.ValidateID(vmID), vm.ValidateSnapshotID(snapshot), ctx.Err()); err != nil {
		return vm.SnapshotInfo{}, failure("inspect snapshot", vmID, nil, err)
	}
	info, err := d.inspect(vmID, snapshot)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return info, failure("inspect snapshot", vmID, vm.ErrNotFound, fmt.Errorf("snapshot %s", snapshot))
	case err != nil:
		return info, failure("inspect snapshot", vmID, vm.ErrIncompatible, err)
	}
	return info, nil
}

func (d *Driver) inspect(vmID, snapshot string) (vm.SnapshotInfo, error) {
	dir := d.dirs.Snapshot(vmID, snapshot)
	m, err := readManifest(dir)
	if err != nil {
		return vm.SnapshotInfo{}, err
	}
	stat, err := os.Stat(filepath.Join(dir, manifestFile))
	if err != nil {
		return vm.SnapshotInfo{}, err
	}
	info := vm.SnapshotInfo{VMID: vmID, SnapshotID: snapshot, Filesystem: m.Filesystem, CreatedAt: m.CreatedAt,
		Stamp: m.stamp()}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		info.Files = append(info.Files, vm.SnapshotFile{Name: name, Path: filepath.Join(dir, name), Bytes: m.Files[name]})
	}
	info.Files = append(info.Files, vm.SnapshotFile{Name: manifestFile, Path: filepath.Join(dir, manifestFile), Bytes: stat.Size()})
	slices.SortFunc(info.Files, func(a, b vm.SnapshotFile) int { return cmp.Compare(a.Name, b.Name) })
	return info, nil
}

// stamp says what a restore of m depends on. The flags that follow from a
// machine's spec are not in it: a restore takes them from the snapshot.
func (m *manifest) stamp() vm.Stamp {
	s := vm.Stamp{Driver: m.Driver, Version: m.Version, Arch: m.Arch, Kernel: m.Kernel,
		Platform: m.Flags["platform"], CPUFeatures: m.CPUFeatures}
	for _, name := range slices.Sorted(maps.Keys(m.Flags)) {
		if name != "overlay2" && name != "network" && name != "platform" {
			s.Flags = append(s.Flags, name+"="+m.Flags[name])
		}
	}
	return s
}
