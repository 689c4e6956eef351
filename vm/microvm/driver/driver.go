//go:build linux

// Package driver runs virtual machines: it is a driver of package vm over any hypervisor, which a driver's own package brings. It may import vm, vm/microvm
// and internal; those packages import it.
package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
	"github.com/rundlet/rundlet/vm/microvm/spec"
)

// Hypervisor is a program that runs virtual machines, such as QEMU. A machine.Monitor is its process for one machine.
type Hypervisor struct {
	// Name is that of the driver, and Version that of the program: another one restores no snapshot with memory.
	Name, Version string
	// Platform is what runs the guest's code, as in vm.Stamp, and Isolation is that of vm.Info.
	Platform, Isolation string
	// MaxVCPUs is the most processors that a guest can have.
	MaxVCPUs int
	Overhead spec.Overhead
	// Argument returns an argument that the process of a machine has, and no other process, for the machine's directory, whose name is random.
	Argument func(dir string) string
	// New returns the monitor of one machine. Nothing is started: the process may be that of an earlier driver value.
	New func(*machine.State) machine.Monitor
}

// Driver runs machines as processes of a hypervisor. It implements vm.Runtime and the optional interfaces of Capabilities.
type Driver struct {
	machines.Queries[*vmachine]
	*snapshots.Store

	// HalfWay, if not nil, is called in the middle of each operation, which fails with its error. It is for tests, and set before any call.
	HalfWay func(op, id string) error

	hypervisor Hypervisor
	dirs       dirs
	setUID     []string
	dialer     machines.Dialer
	step       func(step, id string)
	boot       string // of the host
	limits     bool
	machines   machines.Table[*vmachine]
	users      users
	boots      bootFiles
}

// vmachine is one virtual machine.
type vmachine struct {
	machines.Machine
	machine.VM

	// Set before the machine is shown, changed only by the holder of its turn, as those of VM.
	limits  spec.Limits
	created time.Time
	console *console.Console

	watched  bool
	watching chan struct{} // Closed when the goroutine that waits for the end has returned.
}

const (
	// maxRunDir is the length of a run directory, in bytes: a socket below it must fit into an address.
	maxRunDir = 70
	// firstUID and uids are the users of machines: no account of a system has them, and a user namespace of 65,536 does.
	firstUID, uids = 60_000, 4_000
	// answerTime is for a question to a monitor, and adoptTime for Adopt and one machine.
	answerTime, adoptTime = 5 * time.Second, 3 * time.Second
)

var (
	_ vm.Runtime         = (*Driver)(nil)
	_ vm.Renamer         = (*Driver)(nil)
	_ vm.Dialer          = (*Driver)(nil)
	_ vm.Console         = (*Driver)(nil)
	_ vm.Statser         = (*Driver)(nil)
	_ vm.SnapshotDeleter = (*Driver)(nil)
	_ vm.Adopter         = (*Driver)(nil)
	_ vm.Waiter          = (*Driver)(nil)
	_ vm.Forgetter       = (*Driver)(nil)
	_ vm.Weigher         = (*Driver)(nil)

	_ vm.FilesystemSnapshotter = (*Driver)(nil)
	_ vm.SnapshotInspector     = (*Driver)(nil)
)

// Capabilities are the optional interfaces of each driver, sorted.
func Capabilities() []vm.Capability {
	return []vm.Capability{vm.CapabilityAdopt, vm.CapabilityConsole, vm.CapabilityDeleteSnapshot, vm.CapabilityDial, vm.CapabilityForget,
		vm.CapabilityInspect, vm.CapabilityRename, vm.CapabilityFilesystem, vm.CapabilityStats, vm.CapabilityWait, vm.CapabilityWeight}
}

// Open opens a driver. It finds no machines of an earlier process: call Adopt for that, before anything else. The caller ends with Close. o.Kernels is
// "kernels" beside o.StateDir, and o.Instance "default", if they are empty.
func Open(o vm.Options, h Hypervisor) (*Driver, error) {
	fail := func(kind, err error, hint string) (*Driver, error) {
		return nil, &vm.Error{Op: "open " + h.Name + " driver", Kind: kind, Err: err, Hint: hint}
	}
	if o.Instance == "" {
		o.Instance = "default"
	}
	if o.Kernels == "" {
		o.Kernels = filepath.Join(filepath.Dir(o.StateDir), "kernels")
	}
	if err := vm.ValidateID(o.Instance); err != nil {
		return fail(nil, fmt.Errorf("instance name: %w", err), "")
	}
	switch {
	case !filepath.IsAbs(o.StateDir) || !filepath.IsAbs(o.RunDir):
		return fail(vm.ErrInvalid, errors.New("state and run directory must be absolute paths"), "")
	case len(o.RunDir) > maxRunDir:
		return fail(vm.ErrInvalid, fmt.Errorf("run directory is longer than %d bytes", maxRunDir), "")
	case os.Geteuid() != 0:
		return fail(vm.ErrUnsupported, errors.New("not running as root"), "run as root")
	}
	d := &Driver{hypervisor: h, dirs: dirs{o.StateDir, o.RunDir, o.Instance, h.Name}, boots: bootFiles{kernels: o.Kernels, dir: o.RunDir}, setUID: slices.Clone(o.SetUID),
		dialer: o.DialContext, step: o.Failpoint, boot: process.BootID(), limits: cgroups.Usable() == nil}
	d.Queries = d.machines.Queries()
	if d.boot == "" {
		return fail(vm.ErrUnavailable, errors.New("cannot read which boot of the host this is"), "")
	}
	if _, err := kernel.Open(o.Kernels); err != nil {
		return fail(vm.ErrUnsupported, err, KernelHint)
	}
	d.Store = &snapshots.Store{Dir: d.dirs.snapshots(), Pending: d.dirs.pending(), Deleted: d.machines.Deleted,
		Stamp: vm.Stamp{Driver: h.Name, Version: h.Version, Arch: runtime.GOARCH, Platform: h.Platform}}
	if err := d.dirs.make(); err != nil {
		return fail(nil, err, "")
	}
	return d, nil
}

// Close stops watching. Running machines go on running, for a later driver value with the same directories to adopt. No call may be in progress.
func (d *Driver) Close() error {
	all, first := d.machines.Close()
	if !first {
		return nil
	}
	for _, m := range all {
		m.release()
	}
	if d.limits {
		cgroups.RemoveAt(d.dirs.cgroupParent())
	}
	return nil
}

// release lets go of a machine's process, connections and console.
func (m *vmachine) release() {
	m.HangUp()
	m.Process.Release()
	if m.watched {
		<-m.watching
	}
	if m.console != nil {
		m.console.Finish()
	}
}

// Info implements vm.Query.
func (d *Driver) Info() vm.Info {
	return vm.Info{Driver: d.hypervisor.Name, Version: d.hypervisor.Version, RootImage: true, Isolation: d.hypervisor.Isolation, Capabilities: Capabilities()}
}

// do runs f in the machine's turn. When ctx ends, the caller is let go, and f keeps the turn until it returns.
func (d *Driver) do(ctx context.Context, op, id string, f func(m *vmachine) error) error {
	m, err := d.machines.Acquire(ctx, op, id)
	if err != nil {
		return err
	}
	return machines.Failure(op, id, nil, m.Turn.Run(ctx, turn.Grace, func() error {
		if _, _, exit := d.machines.State(m); m.Unsure && exit == "" {
			if err := d.settle(m); err != nil {
				return fmt.Errorf("%w: its state is not known: %w", vm.ErrUnavailable, err)
			}
		}
		return f(m)
	}))
}

// reached and inject are where tests see and break operations.
func (d *Driver) reached(step, id string) {
	if d.step != nil {
		d.step(step, id)
	}
}

func (d *Driver) inject(op, id string) error {
	if d.HalfWay == nil {
		return nil
	}
	return d.HalfWay(op, id)
}
