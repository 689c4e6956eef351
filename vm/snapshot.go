package vm

import (
	"context"
	"time"
)

// FilesystemSnapshotter saves a machine's file system without its memory.
//
// The names, the owner and the rules of completeness are those of
// Provider.Snapshot; one machine has no two snapshots of a name, whatever their
// kind. The machine must be running or stopped (ErrInvalidTransition), and
// stays in its state. Data that a guest program has not written yet is not in it. A machine
// that was made from a snapshot with memory and never started may be refused
// with ErrInvalidTransition: nothing of it was loaded yet.
//
// Create with RestoreFrom of such a snapshot is a cold boot: all fields of the
// Spec count and are checked as on a cold boot, the root file system and the
// mount targets must be those of the snapshot (ErrIncompatible), network
// overrides are refused, and the private writable layers begin with the saved
// ones. The guest has a new boot id and no process of before. With
// ResumeImmediately its first process was started when Create returns;
// otherwise the machine is stopped and Start boots it. Until then it has no
// memory: Snapshot answers as for a created machine (see Info.SnapshotCreated).
type FilesystemSnapshotter interface {
	SnapshotFilesystem(ctx context.Context, id, snapshot string) error
}

// SnapshotInspector lists snapshots and what they need. It reads
// descriptions only, never the saved files, and waits for no lifecycle call.
type SnapshotInspector interface {
	// Snapshots returns every complete snapshot in this driver's storage, also
	// of machines that it does not know, sorted by VMID and SnapshotID, and objects
	// in the place of one that cannot be read: see SnapshotInfo.Damaged.
	Snapshots(ctx context.Context) ([]SnapshotInfo, error)

	// InspectSnapshot returns one. ErrInvalid if an id is bad, ErrNotFound,
	// ErrIncompatible if its description cannot be read.
	InspectSnapshot(ctx context.Context, vmID, snapshot string) (SnapshotInfo, error)

	// HostStamp is the stamp of a snapshot made here and now. It is constant
	// for the life of the driver value.
	HostStamp() Stamp
}

// SnapshotInfo describes one snapshot.
type SnapshotInfo struct {
	VMID       string `json:"vm_id"`
	SnapshotID string `json:"snapshot_id"`
	// Filesystem is true for a snapshot without memory.
	Filesystem bool      `json:"filesystem"`
	CreatedAt  time.Time `json:"created_at"`
	// Files are all files that a restore reads, sorted by name.
	Files []SnapshotFile `json:"files,omitempty"`
	Stamp Stamp          `json:"stamp"`
	// Damaged says why a snapshot cannot be read, as after a fault of the disk.
	// Then only its names are known, and CreatedAt is when it last changed;
	// DeleteSnapshot removes it.
	Damaged string `json:"damaged,omitempty"`
}

// SnapshotFile is one file of a snapshot. It belongs to the driver: others may
// read it, and find it gone after DeleteSnapshot or Rename.
type SnapshotFile struct {
	Name  string `json:"name"`
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// Stamp is the software and hardware that a restore depends on. Two equal stamps fit; whether unequal ones
// do, the driver decides: its Create answers ErrIncompatible before it starts
// anything. Fields that do not apply to a driver are empty.
type Stamp struct {
	Driver  string `json:"driver"`
	Version string `json:"version"`
	// Arch is the processor architecture, spelled as GOARCH.
	Arch string `json:"arch"`
	// Kernel is the release of the guest kernel.
	Kernel string `json:"kernel,omitempty"`
	// Platform is the mechanism that runs guest code: "systrap", "kvm".
	Platform string `json:"platform,omitempty"`
	// Flags are the mechanism's settings that are part of a snapshot, sorted.
	Flags []string `json:"flags,omitempty"`
	// CPUFeatures that the guest may have found, sorted.
	CPUFeatures []string `json:"cpu_features,omitempty"`
}
