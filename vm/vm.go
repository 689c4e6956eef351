// Package vm is the driver contract: what every sandbox mechanism (gVisor,
// Firecracker, QEMU, Virtualization.framework, the in-memory reference) must
// do, in which order, and with which errors. It is a primitive: no API keys, no
// templates, no pools, no business logic. It may import the standard library
// only, and any package may import it.
//
// # State machine
//
//	            Create                 Start                Stop
//	(unused) ────────────▶ created ────────────▶ running ────────────▶ stopped
//	    │                                           ▲                     │
//	    │ Create with RestoreFrom                   └──────── Start ──────┘
//	    ├── ResumeImmediately ──▶ running
//	    └── otherwise ──────────▶ stopped
//
//	any state but destroyed ── Destroy ──▶ destroyed (terminal)
//
// Stop freezes the guest; its memory and its host processes stay, and Start
// continues it where it was. Destroyed machines stay queryable, and their ids
// stay used, for as long as the driver value lives. A call that does not fit
// the state fails with ErrInvalidTransition and changes nothing; a call that
// fails half-way undoes what it did. A call on a machine that the driver does
// not know fails with ErrNotFound; only the queries answer "unknown" without an
// error.
//
// A machine whose processes ended without a call is stopped with an ExitReason.
// Every lifecycle call on it but Destroy and Rename is ErrInvalidTransition.
//
// # Ownership
//
// A driver owns every host object it makes for a machine (processes, cgroups,
// files, mounts) from the moment Create is called and frees all of them in
// Destroy, or before a failed Create returns. Objects that the caller names in
// a Spec (rootfs, bind mounts, network namespaces, interfaces) stay the
// caller's. Snapshots belong to the driver but outlive the machine that they
// were taken from: only DeleteSnapshot removes them. They also outlive the
// driver value: the next one restores from them by the same names, even if it
// does not know the machine, and their names stay taken.
//
// # Concurrency and cancellation
//
// All implementations are safe for concurrent use. Calls on one machine are
// serialised by the driver; calls on different machines run in parallel. When
// a context ends early the call returns its error, wrapped, and the machine is
// either in the state it had or in the state that the call leads to, never
// between; a Create that was cancelled leaves nothing. A context that has ended
// before the call changes nothing. Destroy is the exception: it pays no heed to
// the end of its context, always runs its clean-up to the end and reports how
// that went.
//
// A machine can hang. A call whose context ends still returns within a second,
// and its operation continues without it: the machine is then busy (see
// View.Busy), and every other lifecycle call on it fails at once with
// ErrUnavailable. When the machine answers after all, it is in the state that
// the call leads to or in the one before, which Get shows, and a snapshot that
// has no waiter any more is removed. Only a Create is cancelled instead.
// Destroy never waits for a machine that hangs: it ends it under a call that
// is abandoned, or that does not come back within a few seconds and then fails.
//
// # Registry
//
// A driver's package registers a Driver in an init function. A program imports
// vm/drivers for that effect, and opens the driver that FindDriver returns: it knows none
// by name.
package vm

import (
	"context"
	"net"
)

// Status is where a machine is in its life.
type Status string

// The states of a machine. The spelling is part of the contract: it is
// stored and shown.
const (
	StatusCreated   Status = "created"
	StatusRunning   Status = "running"
	StatusStopped   Status = "stopped"
	StatusDestroyed Status = "destroyed"
)

// Provider changes machines.
type Provider interface {
	// Create makes a machine. The id must be unused (ErrAlreadyExists) and
	// valid (ErrInvalid; see ValidateID). Without spec.RestoreFrom the machine
	// is created, not started. With it, the snapshot decides everything that a
	// cold boot would take from the spec, unless it has no memory (see
	// FilesystemSnapshotter); of the spec only the fields that are documented
	// as "also on restore" count, and RestoreFrom itself: a driver honours its
	// network overrides or refuses them. The other fields are ignored, also
	// those that the driver would refuse on a cold boot. A reference with a bad
	// id is ErrInvalid, one to no snapshot ErrNotFound, one to a snapshot that
	// does not fit ErrIncompatible. The driver keeps no reference to spec.
	Create(ctx context.Context, id string, spec Spec) error

	// Start runs a created machine or continues a stopped one.
	Start(ctx context.Context, id string) error

	// Stop freezes a running machine.
	Stop(ctx context.Context, id string) error

	// Snapshot saves memory and file system under (id, snapshot). A running
	// machine keeps running; the status does not change. ErrAlreadyExists if
	// the name is taken, ErrInvalid if it is bad (see ValidateSnapshotID). A
	// snapshot exists completely or not at all, and belongs to the machine that
	// it was taken from: a restored machine begins without snapshots.
	// Drivers for which a machine that was never started has nothing to save
	// refuse that one state with ErrInvalidTransition, and say so in
	// Info.SnapshotCreated.
	Snapshot(ctx context.Context, id, snapshot string) error

	// Destroy ends the machine and frees what the driver holds for it. Its
	// snapshots stay. ErrInvalidTransition if it is destroyed already. While
	// something could not be freed it fails, the machine is not destroyed, and
	// Destroy can be called again.
	Destroy(ctx context.Context, id string) error
}

// Query reads machines. It never changes anything and never blocks on a
// machine's lifecycle call.
type Query interface {
	// List returns every machine the driver knows, destroyed ones included,
	// sorted by id.
	List(ctx context.Context) ([]View, error)

	// Get returns one machine. ok is false, without an error, if it is unknown.
	Get(ctx context.Context, id string) (view View, ok bool, err error)

	// ListSnapshots returns the names of a machine's snapshots in the order
	// they were made. ok is false, without an error, if the machine is unknown.
	ListSnapshots(ctx context.Context, id string) (names []string, ok bool, err error)

	// Info describes the driver. It is constant for the life of the driver value.
	Info() Info
}

// Runtime is a whole driver.
type Runtime interface {
	Provider
	Query
}

// View is a driver's snapshot of a machine's state.
type View struct {
	ID     string `json:"id"`
	Status Status `json:"status"`
	// Snapshots are the names of this machine's snapshots, in creation order.
	Snapshots []string `json:"snapshots,omitempty"`
	// ExitReason is set when the machine's processes ended without Destroy:
	// "oom", "exited: 1", "signal: killed". Such a machine is stopped for good:
	// only Destroy is of use.
	ExitReason string `json:"exit_reason,omitempty"`
	// Busy names the call ("stop", "adopt") that the machine has not answered
	// and that has no waiter any more. Until it does, only Destroy is of use.
	Busy string `json:"busy,omitempty"`
}

// Info is what a driver is and can do. Capabilities must agree with the
// optional interfaces that the driver implements; vmtest checks it.
type Info struct {
	// Driver is the short name: "gvisor", "firecracker", "mem".
	Driver string `json:"driver"`
	// Version identifies the mechanism for snapshot compatibility.
	Version string `json:"version"`
	// Build identifies the program that runs new machines, where a machine that is restored runs
	// the one that made the snapshot; empty elsewhere. What is restored for new sandboxes is
	// prepared anew when it changes.
	Build string `json:"build,omitempty"`
	// Isolation says in a few words what separates guest and host.
	Isolation string `json:"isolation"`
	// RootImage says that Spec.Rootfs must be an image, and that there are no mounts.
	RootImage bool `json:"root_image,omitempty"`
	// SnapshotCreated reports whether a machine in state created can be
	// snapshotted.
	SnapshotCreated bool `json:"snapshot_created"`
	// Capabilities is sorted.
	Capabilities []Capability `json:"capabilities"`
}

// Has reports whether the driver lists c.
func (i Info) Has(c Capability) bool {
	for _, have := range i.Capabilities {
		if have == c {
			return true
		}
	}
	return false
}

// Capability names an optional interface.
type Capability string

// The optional interfaces by name.
const (
	CapabilityRename         Capability = "rename"
	CapabilityDial           Capability = "dial"
	CapabilityConsole        Capability = "console"
	CapabilityStats          Capability = "stats"
	CapabilityDeleteSnapshot Capability = "delete_snapshot"
	CapabilityAdopt          Capability = "adopt"
	CapabilityWait           Capability = "wait"
	CapabilityForget         Capability = "forget"
	CapabilityFilesystem     Capability = "snapshot_filesystem"
	CapabilityInspect        Capability = "inspect_snapshots"
	CapabilityWeight         Capability = "weight"
	CapabilityPageOut        Capability = "page_out"
	CapabilityReadLayer      Capability = "read_layer"
)

// Renamer gives a machine another id without touching the guest: the hand-over
// from a warm pool. The old id becomes unused. Snapshots travel with it. The
// same id is a no-op for a machine that could be renamed; ErrAlreadyExists if
// the new id is used, by a machine in any state or by snapshots of an earlier
// driver value; ErrInvalid if it is bad; ErrNotFound; ErrInvalidTransition if
// destroyed. A caller of a driver without Renamer treats renaming as
// ErrUnsupported.
type Renamer interface {
	Rename(ctx context.Context, oldID, newID string) error
}

// Dialer opens a byte stream to a TCP port inside a running machine: the one
// data-plane primitive. ErrInvalidTransition if it is not running; a port
// without a listener is ErrUnavailable. The caller closes the connection; one
// that is open when the machine ends yields an error or the end of the stream.
type Dialer interface {
	Dial(ctx context.Context, id string, port uint16) (net.Conn, error)
}

// Console returns the newest lines that the machine wrote to its console,
// oldest first, at most max of them (max <= 0: all that is kept). Lines stay
// readable until Destroy, also when the guest has ended. Drivers keep the newest
// lines, at most 200 and at most 64 KiB of them, each of up to 4096 bytes: it is
// the daemon's memory. They mark a cut line with "...[truncated]", the cut never
// splitting a character. ErrNotFound; ErrInvalidTransition if destroyed.
type Console interface {
	ConsoleTail(ctx context.Context, id string, max int) ([]string, error)
}

// Statser reads what a machine uses, in every state but destroyed
// (ErrInvalidTransition). ErrNotFound.
type Statser interface {
	Stats(ctx context.Context, id string) (Stats, error)
}

// SnapshotDeleter removes a snapshot and every file that belongs to it.
// Idempotent: a snapshot that does not exist, or whose machine is unknown, is
// not an error; a bad id is ErrInvalid. Machines restored from it live on, and
// the name is free again.
type SnapshotDeleter interface {
	DeleteSnapshot(ctx context.Context, vmID, snapshot string) error
}

// SnapshotMover takes snapshots to other hosts. What comes from another host may have been made by anybody: its description is
// checked, and names no file of this host.
type SnapshotMover interface {
	// ExportSnapshot returns the parts that another host uses. ErrNotFound; ErrUnsupported, with a hint, if it needs more than files.
	ExportSnapshot(ctx context.Context, vmID, snapshot string) (MovedSnapshot, error)
	// CheckImport reports whether this host could restore a snapshot with a description: ErrIncompatible or ErrInvalid. missing is the
	// name of the engine that it needs and this host does not have.
	CheckImport(ctx context.Context, description []byte) (missing string, err error)
	// ImportSnapshot makes a snapshot of files, which it moves, and returns the spec of the machines that are restored from it. The
	// errors are those of CheckImport. Nothing is left after an error but what it has not moved.
	ImportSnapshot(ctx context.Context, vmID, snapshot string, in ImportedSnapshot) (Spec, error)
}

// MovedSnapshot has the parts of a snapshot that another host uses.
type MovedSnapshot struct {
	// Description is for the same driver there.
	Description []byte
	Files       []SnapshotFile
	// Root is the root file system, and Engine the program that restores the snapshot, which is named by its contents.
	Root, Engine SnapshotFile
}

// ImportedSnapshot is a MovedSnapshot on the disk of another host.
type ImportedSnapshot struct {
	Description []byte
	// Dir has the files, by their names.
	Dir string
	// Root is the path of the root file system, which stays where it is.
	Root string
	// Engine is the path of the missing engine. Its caller trusts it: it is a program that runs on the host.
	Engine string
}

// Adopter finds again what an earlier driver value (an earlier process of the
// daemon) left running. Adopt returns the machines it took over. What it cannot
// take over (dead, from before a reboot, damaged) it frees, and reports by id
// with the reason; a lost machine is unknown or destroyed afterwards. It leaves
// alone the machines that the driver value knows, so a second call returns
// nothing. It kills no process whose identity it did not verify, and gives up no
// machine that may be alive: one that does not answer within a few seconds is
// adopted with the status that it was last known to have, busy with "adopt"
// until it answers.
type Adopter interface {
	Adopt(ctx context.Context) (adopted []View, lost map[string]string, err error)
}

// Waiter lets the owner learn at once that a machine's processes ended.
type Waiter interface {
	// Wait blocks until the machine's processes ended, for whatever reason,
	// and returns the reason (see View.ExitReason; "destroyed" after Destroy).
	// When it returns, Get shows the end too. It holds up no other call, and
	// every waiter of a machine gets the same answer. ErrNotFound if unknown.
	Wait(ctx context.Context, id string) (reason string, err error)
}

// Forgetter drops what a driver remembers of a destroyed machine: queries do
// not know it any more and its id becomes unused; its snapshots, and their
// names, stay. It is for programs that live long and never use an id twice,
// whose drivers would grow with every machine there ever was. A machine that is
// unknown is not an error; one that is not destroyed is ErrInvalidTransition.
type Forgetter interface {
	Forget(ctx context.Context, id string) error
}

// Weigher divides the processors between machines that want more of them than
// there are: a machine gets twice the time of one with half its weight. A machine
// whose processors are free is not held back (see Spec.VCPUs for a limit). Weights
// count among the machines of a driver value only, and outlive it with the machine.
type Weigher interface {
	// SetWeight changes the weight of a machine, from MinWeight to MaxWeight
	// (ErrInvalid), in every state but destroyed (ErrInvalidTransition).
	// ErrNotFound; ErrUnsupported on a host that cannot divide processors. It
	// answers at once, also for a machine that hangs or that another call has.
	SetWeight(ctx context.Context, id string, weight int) error
}

// PageOuter gives the memory of an idle machine back to a host that has swap.
type PageOuter interface {
	// PageOut moves what a running machine (ErrInvalidTransition) has in memory to
	// the host's swap, and returns how many bytes of memory became free: 0 where
	// the host has no swap. The machine runs on. What it touches comes back, so a
	// machine that is not idle gets slow and frees nothing for long. The call waits
	// for no other call on the machine, and holds up none. When ctx ends it stops
	// half-way, which does no harm. ErrNotFound; ErrUnsupported by this kernel.
	PageOut(ctx context.Context, id string) (freed int64, err error)
}

// The bounds of a weight, and what a machine has whose Spec names none: those of
// the kernel's control groups (cpu.weight).
const (
	MinWeight     = 1
	DefaultWeight = 100
	MaxWeight     = 10_000
)
