//go:build linux

// Package snapshots keeps the snapshots of machines on the disk: what a manifest says, on
// what host and over what root directory it can be restored, and how a snapshot gets and
// loses its name, whenever the process dies. It knows no machine and no gVisor
// process. It may import vm, vm/gvisor/files, vm/gvisor/launch, vm/gvisor/oci and internal/format.
package snapshots

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// Store is the snapshots on the disk, as the driver of one version of gVisor reads and
// makes them. Its methods may be called at the same time, of several values for the
// same directories too.
type Store struct {
	dirs            files.Dirs
	own             []string // The state and the run directory, without links.
	driver, version string
}

// tree guards the making and removal of the directories that hold the
// snapshots of one machine id.
var tree sync.Mutex

// Open opens the snapshots in directories that exist. driver and version are those of the
// snapshots that can be restored.
func Open(dirs files.Dirs, driver, version string) (*Store, error) {
	s := &Store{dirs: dirs, own: []string{dirs.State, dirs.Run}, driver: driver, version: version}
	for i, dir := range s.own {
		var err error
		if s.own[i], err = filepath.EvalSymlinks(dir); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Resolve finds the snapshot that ref names, regardless of its creator, and returns its
// images, its manifest, and the spec of a machine made from it.
func (s *Store) Resolve(ref *vm.SnapshotRef, want vm.Spec) (images string, m *Manifest, spec vm.Spec, err error) {
	images = s.dirs.Snapshot(ref.VMID, ref.SnapshotID)
	m, err = readManifest(images)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, spec, fmt.Errorf("%w: snapshot %s of %s", vm.ErrNotFound, ref.SnapshotID, ref.VMID)
	} else if err != nil {
		return "", nil, spec, fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	if err := m.compatible(images, s.driver, s.version); err != nil {
		return "", nil, spec, err
	}
	if m.Filesystem {
		spec, err = m.coldSpec(want)
	} else if spec, err = m.restoreSpec(want); err == nil {
		if ref.AnyHostFiles {
			m.HostFiles = nil
		}
		m.overCopiedRoot()
		err = CheckHostFiles(m.OwnHostFiles(spec), spec)
	}
	return images, m, spec, err
}

// Exists reports whether a name is taken, if only by the rest of a snapshot.
func (s *Store) Exists(vmID, snapshot string) bool {
	_, err := os.Stat(s.dirs.Snapshot(vmID, snapshot))
	return err == nil
}

// Stage makes a directory for the images of a snapshot that has no name yet. The caller
// commits or removes it; what a process left there goes with what is unclaimed.
func (s *Store) Stage() (dir string, err error) {
	return os.MkdirTemp(s.dirs.Pending(), "snapshot-")
}

// Describe returns the manifest of a snapshot that is taken now of a machine with this
// spec, without its files.
func (s *Store) Describe(spec vm.Spec) (*Manifest, error) {
	rootfs, err := describe(filepath.Clean(spec.Rootfs))
	if err != nil {
		return nil, err
	}
	m := newManifest(s.driver, s.version, spec)
	m.Rootfs = rootfs
	for at, path := range oci.Images(spec) {
		if m.Images == nil {
			m.Images, m.Format = map[string]string{}, withImages
		}
		if m.Images[at], err = oci.ImageID(path); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Seal adds the images in dir to their manifest, writes it, and makes all durable.
func (s *Store) Seal(dir string, m *Manifest) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !IsImage(entry.Name()) {
			continue
		}
		m.Files[entry.Name()] = info.Size()
		if err := durable.Sync(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, ManifestFile)
	if err := durable.WriteJSON(file, m); err != nil {
		return err
	}
	return errors.Join(durable.Sync(file), durable.Sync(dir))
}

// Commit gives the sealed snapshot in staging its name. It calls parent, a fail point, when
// there is the directory for it.
func (s *Store) Commit(staging, vmID, snapshot string, parent func()) error {
	tree.Lock()
	defer tree.Unlock()
	dir := s.dirs.Snapshot(vmID, snapshot)
	owner := filepath.Dir(dir)
	for again := true; ; again = false {
		if err := os.MkdirAll(owner, 0o700); err != nil {
			return err
		}
		parent()
		err := os.Rename(staging, dir)
		if again && errors.Is(err, fs.ErrNotExist) {
			continue // Another process took it for the rest of a deletion.
		}
		if err != nil {
			return err
		}
		// The owner's directory may be new: then its name has to be on the disk, too.
		return errors.Join(durable.Sync(owner), durable.Sync(filepath.Dir(owner)))
	}
}

// Detach takes the name from a snapshot, which makes it none, and returns where its files
// are. The caller removes them. It is not an error if the snapshot does not exist.
func (s *Store) Detach(vmID, snapshot string) (trash string, err error) {
	trash = filepath.Join(s.dirs.Pending(), "deleted-"+files.NewKey())
	tree.Lock()
	defer tree.Unlock()
	dir := s.dirs.Snapshot(vmID, snapshot)
	err = os.Rename(dir, trash)
	_ = unix.Rmdir(filepath.Dir(dir)) // Succeeds for the last one only.
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return trash, err
}

// Of lists the snapshots of a machine id, the oldest first.
func (s *Store) Of(vmID string) []string {
	entries, err := os.ReadDir(filepath.Join(s.dirs.Snapshots(), vmID))
	if err != nil {
		return nil
	}
	made := map[string]time.Time{}
	var names []string
	for _, entry := range entries {
		if m, err := readManifest(s.dirs.Snapshot(vmID, entry.Name())); err == nil {
			made[entry.Name()] = m.CreatedAt
			names = append(names, entry.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(made[a].Compare(made[b]), cmp.Compare(a, b))
	})
	return names
}

// HasAny reports whether there is anything of a machine id.
func (s *Store) HasAny(vmID string) bool {
	entries, _ := os.ReadDir(filepath.Join(s.dirs.Snapshots(), vmID))
	return len(entries) > 0
}

// Move gives the snapshots of a machine id to another one. It fails if that has some.
func (s *Store) Move(from, to string) error {
	tree.Lock()
	defer tree.Unlock()
	return os.Rename(filepath.Join(s.dirs.Snapshots(), from), filepath.Join(s.dirs.Snapshots(), to))
}

// Stamp says what the snapshots depend on that are made here.
func (s *Store) Stamp() vm.Stamp { return newManifest(s.driver, s.version, vm.Spec{}).stamp() }

// List returns all snapshots, and the damaged ones as such, sorted by their names.
func (s *Store) List() ([]vm.SnapshotInfo, error) {
	owners, err := os.ReadDir(s.dirs.Snapshots())
	if err != nil {
		return nil, err
	}
	var all []vm.SnapshotInfo
	for _, owner := range owners {
		entries, err := os.ReadDir(filepath.Join(s.dirs.Snapshots(), owner.Name()))
		if err != nil {
			continue // Its last snapshot was deleted meanwhile.
		}
		for _, entry := range entries {
			info, err := s.Inspect(owner.Name(), entry.Name())
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

// damaged describes a directory in the place of a snapshot whose manifest cannot be
// read. The manifest was lost: a snapshot gets its place when it is complete.
func damaged(vmID string, entry fs.DirEntry, why error) (vm.SnapshotInfo, bool) {
	stat, err := entry.Info()
	if err != nil || vm.ValidateID(vmID) != nil || vm.ValidateSnapshotID(entry.Name()) != nil {
		return vm.SnapshotInfo{}, false // It was deleted meanwhile, or is not ours.
	}
	return vm.SnapshotInfo{VMID: vmID, SnapshotID: entry.Name(), CreatedAt: stat.ModTime(), Damaged: why.Error()}, true
}

// Inspect describes a snapshot. The error is fs.ErrNotExist if there is none.
func (s *Store) Inspect(vmID, snapshot string) (vm.SnapshotInfo, error) {
	dir := s.dirs.Snapshot(vmID, snapshot)
	m, err := readManifest(dir)
	if err != nil {
		return vm.SnapshotInfo{}, err
	}
	stat, err := os.Stat(filepath.Join(dir, ManifestFile))
	if err != nil {
		return vm.SnapshotInfo{}, err
	}
	info := vm.SnapshotInfo{VMID: vmID, SnapshotID: snapshot, Filesystem: m.Filesystem, CreatedAt: m.CreatedAt,
		Stamp: m.stamp()}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		info.Files = append(info.Files, vm.SnapshotFile{Name: name, Path: filepath.Join(dir, name), Bytes: m.Files[name]})
	}
	info.Files = append(info.Files, vm.SnapshotFile{Name: ManifestFile, Path: filepath.Join(dir, ManifestFile), Bytes: stat.Size()})
	slices.SortFunc(info.Files, func(a, b vm.SnapshotFile) int { return cmp.Compare(a.Name, b.Name) })
	return info, nil
}
