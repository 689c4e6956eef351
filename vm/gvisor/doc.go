// Package gvisor is the embedded default driver: it runs every machine as a
// gVisor sandbox, a user-space kernel in a separate process. That process is a program of
// its own, which the binary carries (package engine). Nothing is installed and no KVM is
// needed.
//
// It may import vm, the packages below it but sentry, internal/turn, internal/format, the parts of the
// gVisor module that do not bring its kernel in, and the standard library; only vm/drivers and tests import it, for it registers
// itself with package vm. On systems
// other than Linux it builds, registers nothing, and New returns vm.ErrUnsupported.
//
// # What the program must do
//
// Standard input, output and error of the program must be open (they may be
// /dev/null). No sandbox ever keeps them: each machine has a separate console.
//
// Importing the package binds the main goroutine to the main thread: other threads enter the
// network namespaces of sandboxes for moments, and the main thread's is taken for that
// of the whole process.
//
// Sandboxes outlive the program. A program that adopts them later cannot be
// their parent; whether orphans are reaped by it (PR_SET_CHILD_SUBREAPER) or by
// init is a choice for the whole process, which this package leaves to main.
//
// # Parts
//
// A Driver composes
//
//   - table: the machines by id, and what queries read of them, under one lock;
//   - machine: one sandbox, its processes and its turn, which serialises changes;
//   - records: what the next process must know to adopt a machine;
//   - snapshots.Store: the snapshots on the disk;
//   - files.Dirs: where all files are, and what may be removed;
//   - headroom and nodeGroup: what all machines together may take of the host;
//   - failpoints: where tests see and break operations.
//
// Package oci checks specs and translates them, cgroups limits a machine, engine has the program
// that runs as its processes, spawn starts these, links makes their network, and control asks the sentry. Package
// sentry is the other side, in that program: the driver shares launch, budget and cgroups with it.
//
// # Files
//
// Config.StateDir holds the snapshots and is durable. It is also where running
// machines write to their disks, into files that have no name and so end with
// the machine. A root or mount that is an image is opened once, and must not change
// while a machine has it. Config.RunDir holds the other files of running machines and
// should be on a tmpfs, so that a reboot empties it. One driver value at a time
// may use a RunDir.
//
// gVisor mounts a tmpfs over an empty /tmp. Data that is written there counts
// as memory and is in no snapshot of the file system, so a root file system should
// have a file in /tmp.
//
// # State of a machine
//
// The sentry reports the state of a machine: see readStacks. gVisor's own state file is
// written for its command line and never read. gVisor's requests know no
// context, so each runs beside its caller (see Driver.do), and Destroy kills a
// sentry that does not answer.
//
// Adopt of the next process takes over or frees everything that a dead process
// left, at whatever step it died: see Steps.
package gvisor
