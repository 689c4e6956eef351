//go:build linux

// Package snapshots keeps the snapshots of virtual machines on disk, and says what they fit. It may import vm, vm/microvm/spec and internal; drivers
// import it.
package snapshots

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/spec"
)

// The files of a snapshot: the disk, which a machine with a read-only root has not; and, if the memory is saved, that and the state of processors
// and devices.
const (
	DiskFile   = "disk"
	MemoryFile = "ram"
	StateFile  = "state"
)

const (
	manifestFile   = "manifest.json"
	manifestFormat = 1
	// maxManifest bounds a manifest, in bytes.
	maxManifest = 1 << 20
)

// Store keeps the snapshots of a driver. Safe for concurrent use.
type Store struct {
	// Dir has a directory for each id of a machine, with its snapshots, and Pending is for what is half made or half deleted.
	Dir, Pending string
	// Stamp is what the snapshots are made by, and restored with.
	Stamp vm.Stamp
	// Deleted is called when a snapshot is gone.
	Deleted func(id, name string)

	parents sync.Mutex // of the directories of ids, which come with the first snapshot and go with the last
}

// Path is the directory of a snapshot.
func (s *Store) Path(id, name string) string { return filepath.Join(s.Dir, id, name) }

// Manifest describes a snapshot. It is written last.
type Manifest struct {
	Format  int64     `json:"format"`
	Created time.Time `json:"created_at"`
	Version string    `json:"version"` // of the monitor
	Arch    string    `json:"arch"`
	// KHz is the frequency that the guest takes its processor's clock to have.
	KHz        int     `json:"khz"`
	Filesystem bool    `json:"filesystem,omitempty"`
	Network    bool    `json:"network,omitempty"`
	Spec       vm.Spec `json:"spec"`
	RootBytes  int64   `json:"root_bytes"`
	// Files are the sizes of the other files.
	Files map[string]int64 `json:"files"`
}

// Describe writes the manifest of the files in a directory, and makes all of them durable. version is that of the machine's monitor: an earlier one than the
// store's has gone on over an upgrade.
func (s *Store) Describe(machine vm.Spec, version string, khz int, dir string, onlyFiles bool) error {
	root, err := os.Stat(machine.Rootfs)
	if err != nil {
		return err
	}
	saved := machine
	saved.RestoreFrom, saved.NetNS, saved.GuestIP, saved.Weight = nil, "", "", 0
	out := Manifest{Format: manifestFormat, Created: time.Now(), Version: version, Arch: s.Stamp.Arch, KHz: khz, Filesystem: onlyFiles,
		Network: machine.NetNS != "", Spec: saved, RootBytes: root.Size(), Files: map[string]int64{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		out.Files[entry.Name()] = info.Size()
		if err := durable.Sync(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	if err := durable.WriteJSON(filepath.Join(dir, manifestFile), out); err != nil {
		return err
	}
	return errors.Join(durable.Sync(filepath.Join(dir, manifestFile)), durable.Sync(dir))
}

// Commit gives a snapshot its name.
func (s *Store) Commit(staging, id, name string) error {
	s.parents.Lock()
	defer s.parents.Unlock()
	parent := filepath.Join(s.Dir, id)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	if err := os.Rename(staging, s.Path(id, name)); err != nil {
		return err
	}
	return errors.Join(durable.Sync(parent), durable.Sync(s.Dir))
}

// Read reads the description of a snapshot: vm.ErrNotFound, vm.ErrIncompatible.
func (s *Store) Read(id, name string) (*Manifest, error) {
	dir := s.Path(id, name)
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: snapshot %s of %s", vm.ErrNotFound, name, id)
	} else if err != nil {
		return nil, err
	}
	var m Manifest
	if len(data) > maxManifest || json.Unmarshal(data, &m) != nil {
		return nil, fmt.Errorf("%w: the description of snapshot %s of %s is damaged", vm.ErrIncompatible, name, id)
	}
	if err := format.Check("the description of the snapshot in "+dir, m.Format, manifestFormat); err != nil {
		return nil, fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	for file, size := range m.Files {
		info, err := os.Stat(filepath.Join(dir, filepath.Base(file)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err // It may be as it was.
		}
		if err != nil || info.Size() != size {
			return nil, fmt.Errorf("%w: file %s of snapshot %s of %s is not as it was saved", vm.ErrIncompatible, file, name, id)
		}
	}
	return &m, nil
}

// Fits returns the spec of a machine that is restored from a snapshot.
func (m *Manifest) Fits(s *Store, asked vm.Spec) (vm.Spec, error) {
	incompatible := func(format string, args ...any) (vm.Spec, error) {
		return vm.Spec{}, fmt.Errorf("%w: %s", vm.ErrIncompatible, fmt.Sprintf(format, args...))
	}
	if m.Filesystem {
		if err := spec.CheckCold(asked); err != nil {
			return vm.Spec{}, err
		}
		info, err := os.Stat(asked.Rootfs)
		if err != nil || filepath.Base(asked.Rootfs) != filepath.Base(m.Spec.Rootfs) || info.Size() != m.RootBytes || asked.RootfsReadOnly != m.Spec.RootfsReadOnly {
			return incompatible("its root file system is %s", m.Spec.Rootfs)
		}
		return asked, nil
	}
	out := m.Spec
	out.NetNS, out.GuestIP, out.Weight = asked.NetNS, asked.GuestIP, asked.Weight
	if asked.Hostname != "" {
		out.Hostname = asked.Hostname
	}
	info, err := os.Stat(out.Rootfs)
	switch {
	case m.Version != s.Stamp.Version || m.Arch != s.Stamp.Arch:
		return incompatible("it was made by %s %s on %s; this is %s on %s", s.Stamp.Driver, m.Version, m.Arch, s.Stamp.Version, s.Stamp.Arch)
	case err != nil || info.Size() != m.RootBytes:
		return incompatible("its root file system %s is not as it was", out.Rootfs)
	case m.Network && asked.NetNS == "":
		return incompatible("the machine has a network card, and no network namespace is given")
	case !m.Network && asked.NetNS != "":
		return incompatible("the machine has no network card")
	}
	return out, nil
}

// Has reports whether there is a snapshot of a name, and HasAny whether an id has one.
func (s *Store) Has(id, name string) bool { return fileExists(s.Path(id, name)) }

// HasAny is Has of any name.
func (s *Store) HasAny(id string) (bool, error) {
	entries, err := os.ReadDir(filepath.Join(s.Dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return len(entries) > 0, err
}

// Of are the snapshots of an id, in the order in which they were made.
func (s *Store) Of(id string) (names []string) {
	entries, _ := os.ReadDir(filepath.Join(s.Dir, id))
	made := map[string]time.Time{}
	for _, entry := range entries {
		if m, err := s.Read(id, entry.Name()); err == nil {
			made[entry.Name()] = m.Created
		}
		names = append(names, entry.Name())
	}
	slices.SortStableFunc(names, func(a, b string) int { return made[a].Compare(made[b]) })
	return names
}

// Move gives the snapshots of an id to another one.
func (s *Store) Move(from, to string) error {
	if err := os.Rename(filepath.Join(s.Dir, from), filepath.Join(s.Dir, to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.Sync(s.Dir)
}

// DeleteSnapshot implements vm.SnapshotDeleter.
func (s *Store) DeleteSnapshot(ctx context.Context, id, name string) error {
	if err := errors.Join(vm.ValidateID(id), vm.ValidateSnapshotID(name), ctx.Err()); err != nil {
		return machines.Failure("delete snapshot", id, nil, err)
	}
	trash, err := os.MkdirTemp(s.Pending, "delete-")
	if err != nil {
		return machines.Failure("delete snapshot", id, nil, err)
	}
	defer os.RemoveAll(trash)
	err = os.Rename(s.Path(id, name), filepath.Join(trash, "snapshot"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return machines.Failure("delete snapshot", id, nil, err)
	}
	s.parents.Lock()
	_ = os.Remove(filepath.Join(s.Dir, id)) // Succeeds if it is empty.
	s.parents.Unlock()
	_ = durable.Sync(s.Dir)
	s.Deleted(id, name)
	return nil
}

// HostStamp implements vm.SnapshotInspector.
func (s *Store) HostStamp() vm.Stamp { return s.Stamp }

// Snapshots implements vm.SnapshotInspector.
func (s *Store) Snapshots(ctx context.Context) (all []vm.SnapshotInfo, err error) {
	if err := ctx.Err(); err != nil {
		return nil, machines.Failure("list snapshots", "", nil, err)
	}
	owners, err := os.ReadDir(s.Dir)
	for _, owner := range owners {
		if !owner.IsDir() {
			continue
		}
		entries, readErr := os.ReadDir(filepath.Join(s.Dir, owner.Name()))
		if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
			return nil, machines.Failure("list snapshots", owner.Name(), nil, readErr)
		}
		for _, entry := range entries {
			info, err := s.InspectSnapshot(ctx, owner.Name(), entry.Name())
			if err != nil {
				info = vm.SnapshotInfo{VMID: owner.Name(), SnapshotID: entry.Name(), Damaged: err.Error()}
				if file, statErr := entry.Info(); statErr == nil {
					info.CreatedAt = file.ModTime()
				}
			}
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b vm.SnapshotInfo) int {
		return strings.Compare(a.VMID+"\x00"+a.SnapshotID, b.VMID+"\x00"+b.SnapshotID)
	})
	return all, err
}

// InspectSnapshot implements vm.SnapshotInspector.
func (s *Store) InspectSnapshot(ctx context.Context, id, name string) (vm.SnapshotInfo, error) {
	fail := func(err error) (vm.SnapshotInfo, error) {
		return vm.SnapshotInfo{}, machines.Failure("inspect snapshot", id, nil, err)
	}
	if err := errors.Join(vm.ValidateID(id), vm.ValidateSnapshotID(name), ctx.Err()); err != nil {
		return fail(err)
	}
	m, err := s.Read(id, name)
	if err != nil {
		return fail(err)
	}
	info := vm.SnapshotInfo{VMID: id, SnapshotID: name, Filesystem: m.Filesystem, CreatedAt: m.Created, Stamp: s.Stamp}
	info.Stamp.Version, info.Stamp.Arch = m.Version, m.Arch
	for file, size := range m.Files {
		info.Files = append(info.Files, vm.SnapshotFile{Name: file, Path: filepath.Join(s.Path(id, name), file), Bytes: size})
	}
	slices.SortFunc(info.Files, func(a, b vm.SnapshotFile) int { return strings.Compare(a.Name, b.Name) })
	return info, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
