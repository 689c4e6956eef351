//go:build linux

package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/vm"
)

const (
	manifestFile   = "manifest.json"
	manifestFormat = 1
	// maxManifest bounds a manifest, in bytes.
	maxManifest = 1 << 20
)

// manifest describes a snapshot. It is written last.
type manifest struct {
	Format  int64     `json:"format"`
	Created time.Time `json:"created_at"`
	Version string    `json:"version"` // of QEMU
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

// describe writes the manifest of the files in a directory, and makes all of them durable.
func (d *Driver) describe(m *machine, dir string, onlyFiles bool) error {
	root, err := os.Stat(m.spec.Rootfs)
	if err != nil {
		return err
	}
	spec := m.spec
	spec.RestoreFrom, spec.NetNS, spec.GuestIP, spec.Weight = nil, "", "", 0
	out := manifest{Format: manifestFormat, Created: time.Now(), Version: d.version, Arch: runtime.GOARCH, KHz: hostKHz(), Filesystem: onlyFiles,
		Network: m.spec.NetNS != "", Spec: spec, RootBytes: root.Size(), Files: map[string]int64{}}
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
		if err := syncPath(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	if err := writeJSON(filepath.Join(dir, manifestFile), out); err != nil {
		return err
	}
	return errors.Join(syncPath(filepath.Join(dir, manifestFile)), syncPath(dir))
}

// commit gives a snapshot its name.
func (d *Driver) commit(staging, id, name string) error {
	parent := filepath.Join(d.dirs.snapshots(), id)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	if err := os.Rename(staging, d.dirs.snapshot(id, name)); err != nil {
		return err
	}
	return errors.Join(syncPath(parent), syncPath(d.dirs.snapshots()))
}

// readManifest reads the description of a snapshot: vm.ErrNotFound, vm.ErrIncompatible.
func (d *Driver) readManifest(id, name string) (*manifest, error) {
	dir := d.dirs.snapshot(id, name)
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: snapshot %s of %s", vm.ErrNotFound, name, id)
	} else if err != nil {
		return nil, err
	}
	var m manifest
	if len(data) > maxManifest || json.Unmarshal(data, &m) != nil {
		return nil, fmt.Errorf("%w: the description of snapshot %s of %s is damaged", vm.ErrIncompatible, name, id)
	}
	if err := format.Check("the description of the snapshot in "+dir, m.Format, manifestFormat); err != nil {
		return nil, fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	for file, size := range m.Files {
		info, err := os.Stat(filepath.Join(dir, filepath.Base(file)))
		if err != nil || info.Size() != size {
			return nil, fmt.Errorf("%w: file %s of snapshot %s of %s is not as it was saved", vm.ErrIncompatible, file, name, id)
		}
	}
	return &m, nil
}

// fits returns the spec of a machine that is restored from a snapshot.
func (m *manifest) fits(d *Driver, spec vm.Spec) (vm.Spec, error) {
	incompatible := func(format string, args ...any) (vm.Spec, error) {
		return vm.Spec{}, fmt.Errorf("%w: %s", vm.ErrIncompatible, fmt.Sprintf(format, args...))
	}
	if m.Filesystem {
		if err := checkCold(spec); err != nil {
			return vm.Spec{}, err
		}
		info, err := os.Stat(spec.Rootfs)
		if err != nil || filepath.Base(spec.Rootfs) != filepath.Base(m.Spec.Rootfs) || info.Size() != m.RootBytes || spec.RootfsReadOnly != m.Spec.RootfsReadOnly {
			return incompatible("its root file system is %s", m.Spec.Rootfs)
		}
		return spec, nil
	}
	out := m.Spec
	out.NetNS, out.GuestIP, out.Weight = spec.NetNS, spec.GuestIP, spec.Weight
	if spec.Hostname != "" {
		out.Hostname = spec.Hostname
	}
	info, err := os.Stat(out.Rootfs)
	switch {
	case m.Version != d.version || m.Arch != runtime.GOARCH:
		return incompatible("it was made by QEMU %s on %s; this is %s on %s", m.Version, m.Arch, d.version, runtime.GOARCH)
	case err != nil || info.Size() != m.RootBytes:
		return incompatible("its root file system %s is not as it was", out.Rootfs)
	case m.Network && spec.NetNS == "":
		return incompatible("the machine has a network card, and no network namespace is given")
	case !m.Network && spec.NetNS != "":
		return incompatible("the machine has no network card")
	}
	return out, nil
}

func (d *Driver) hasSnapshot(id, name string) bool { return exists(d.dirs.snapshot(id, name)) }

func (d *Driver) hasSnapshots(id string) bool {
	entries, _ := os.ReadDir(filepath.Join(d.dirs.snapshots(), id))
	return len(entries) > 0
}

// snapshotsOf are the snapshots of an id, in the order in which they were made.
func (d *Driver) snapshotsOf(id string) (names []string) {
	entries, _ := os.ReadDir(filepath.Join(d.dirs.snapshots(), id))
	made := map[string]time.Time{}
	for _, entry := range entries {
		if m, err := d.readManifest(id, entry.Name()); err == nil {
			made[entry.Name()] = m.Created
		}
		names = append(names, entry.Name())
	}
	slices.SortStableFunc(names, func(a, b string) int { return made[a].Compare(made[b]) })
	return names
}

func (d *Driver) moveSnapshots(from, to string) error {
	if err := os.Rename(filepath.Join(d.dirs.snapshots(), from), filepath.Join(d.dirs.snapshots(), to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncPath(d.dirs.snapshots())
}

// DeleteSnapshot implements vm.SnapshotDeleter.
func (d *Driver) DeleteSnapshot(ctx context.Context, id, name string) error {
	if err := errors.Join(vm.ValidateID(id), vm.ValidateSnapshotID(name), ctx.Err()); err != nil {
		return machines.Failure("delete snapshot", id, nil, err)
	}
	trash, err := os.MkdirTemp(d.dirs.pending(), "delete-")
	if err != nil {
		return machines.Failure("delete snapshot", id, nil, err)
	}
	defer os.RemoveAll(trash)
	err = os.Rename(d.dirs.snapshot(id, name), filepath.Join(trash, "snapshot"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return machines.Failure("delete snapshot", id, nil, err)
	}
	_ = os.Remove(filepath.Join(d.dirs.snapshots(), id)) // Succeeds if it is empty.
	_ = syncPath(d.dirs.snapshots())
	d.machines.Deleted(id, name)
	return nil
}

// Snapshots implements vm.SnapshotInspector.
func (d *Driver) Snapshots(ctx context.Context) (all []vm.SnapshotInfo, err error) {
	if err := ctx.Err(); err != nil {
		return nil, machines.Failure("list snapshots", "", nil, err)
	}
	owners, err := os.ReadDir(d.dirs.snapshots())
	for _, owner := range owners {
		entries, _ := os.ReadDir(filepath.Join(d.dirs.snapshots(), owner.Name()))
		for _, entry := range entries {
			info, err := d.InspectSnapshot(ctx, owner.Name(), entry.Name())
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
func (d *Driver) InspectSnapshot(ctx context.Context, id, name string) (vm.SnapshotInfo, error) {
	fail := func(err error) (vm.SnapshotInfo, error) {
		return vm.SnapshotInfo{}, machines.Failure("inspect snapshot", id, nil, err)
	}
	if err := errors.Join(vm.ValidateID(id), vm.ValidateSnapshotID(name), ctx.Err()); err != nil {
		return fail(err)
	}
	m, err := d.readManifest(id, name)
	if err != nil {
		return fail(err)
	}
	info := vm.SnapshotInfo{VMID: id, SnapshotID: name, Filesystem: m.Filesystem, CreatedAt: m.Created,
		Stamp: vm.Stamp{Driver: driverName, Version: m.Version, Arch: m.Arch, Platform: "tcg"}}
	for file, size := range m.Files {
		info.Files = append(info.Files, vm.SnapshotFile{Name: file, Path: filepath.Join(d.dirs.snapshot(id, name), file), Bytes: size})
	}
	slices.SortFunc(info.Files, func(a, b vm.SnapshotFile) int { return strings.Compare(a.Name, b.Name) })
	return info, nil
}
