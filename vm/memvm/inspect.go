package memvm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"

	"github.com/rundlet/rundlet/vm"
)

// imageFile is the one file of a snapshot on a host that has files.
const imageFile = "image.json"

// HostStamp implements vm.SnapshotInspector.
func (d *Driver) HostStamp() vm.Stamp {
	return vm.Stamp{Driver: "mem", Version: d.opts.Version, Arch: runtime.GOARCH}
}

// Snapshots implements vm.SnapshotInspector.
func (d *Driver) Snapshots(ctx context.Context) ([]vm.SnapshotInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, fail("list snapshots", "", nil, err)
	}
	return d.host.infos(), nil
}

// InspectSnapshot implements vm.SnapshotInspector.
func (d *Driver) InspectSnapshot(ctx context.Context, vmID, snapshot string) (vm.SnapshotInfo, error) {
	const op = "inspect snapshot"
	if err := vm.ValidateID(vmID); err != nil {
		return vm.SnapshotInfo{}, fail(op, vmID, nil, err)
	}
	if err := vm.ValidateSnapshotID(snapshot); err != nil {
		return vm.SnapshotInfo{}, fail(op, vmID, nil, err)
	}
	infos, err := d.Snapshots(ctx)
	if err != nil {
		return vm.SnapshotInfo{}, err
	}
	for _, i := range infos {
		if i.VMID == vmID && i.SnapshotID == snapshot {
			return i, nil
		}
	}
	return vm.SnapshotInfo{}, fail(op, vmID, vm.ErrNotFound, nil)
}

func (h *Host) infos() []vm.SnapshotInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []vm.SnapshotInfo
	for id, list := range h.snapshots {
		for _, s := range list {
			if s.complete {
				out = append(out, h.info(id, s))
			}
		}
	}
	slices.SortFunc(out, func(a, b vm.SnapshotInfo) int {
		return cmp.Or(cmp.Compare(a.VMID, b.VMID), cmp.Compare(a.SnapshotID, b.SnapshotID))
	})
	return out
}

// info describes a snapshot; h.mu is held, as in all that follow.
func (h *Host) info(id string, s *snapshot) vm.SnapshotInfo {
	i := vm.SnapshotInfo{VMID: id, SnapshotID: s.name, Filesystem: s.image.filesystem, CreatedAt: s.created, Stamp: s.stamp}
	if h.dir != "" {
		i.Files = []vm.SnapshotFile{{Name: imageFile, Path: h.file(id, s.name), Bytes: s.bytes}}
	}
	return i
}

func (h *Host) file(id, name string) string { return filepath.Join(h.dir, id, name, imageFile) }

// check says why a snapshot cannot be restored here.
func (h *Host) check(id string, s *snapshot, here vm.Stamp) error {
	if !reflect.DeepEqual(s.stamp, here) {
		return fmt.Errorf("%w: made by %s %s", vm.ErrIncompatible, s.stamp.Driver, s.stamp.Version)
	}
	if h.dir == "" {
		return nil
	}
	if info, err := os.Stat(h.file(id, s.name)); err != nil || info.Size() != s.bytes {
		return fmt.Errorf("%w: its file is damaged", vm.ErrIncompatible)
	}
	return nil
}

func (h *Host) writeFile(id string, s *snapshot) error {
	if h.dir == "" {
		return nil
	}
	data, err := json.Marshal(map[string]map[string]string{"memory": s.image.memory, "files": s.image.files})
	if err != nil {
		return err
	}
	s.bytes = int64(len(data))
	file := h.file(id, s.name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// removeFile leaves no directory of a machine without snapshots.
func (h *Host) removeFile(id, name string) {
	if h.dir == "" {
		return
	}
	_ = os.RemoveAll(filepath.Dir(h.file(id, name)))
	_ = os.Remove(filepath.Join(h.dir, id)) // Succeeds for the last one only.
}

func (h *Host) moveFiles(oldID, newID string) error {
	if h.dir == "" || h.snapshots[oldID] == nil {
		return nil
	}
	return os.Rename(filepath.Join(h.dir, oldID), filepath.Join(h.dir, newID))
}
