//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/qemu/monitor"
	"github.com/rundlet/rundlet/vm/qemu/snapshots"
	"github.com/rundlet/rundlet/vm/qemu/spec"
)

// Driver runs machines as processes of QEMU. It implements vm.Runtime and the optional interfaces of its Info.
type Driver struct {
	*snapshots.Store

	conf     Config
	dirs     dirs
	program  string
	version  string
	boot     string // of the host
	limits   bool
	machines machines.Table[*machine]
	points   failpoints

	booting sync.Mutex // makes the first files
	uids    sync.Mutex // of what follows
	lastUID int

	// bootFiles are the kernel and the first files of a guest that boots.
	bootFiles func() (kernel, initramfs string, err error)
}

// machine is one virtual machine.
type machine struct {
	machines.Machine
	monitor.VM

	// Set before the machine is shown, changed only by the holder of its turn, as those of VM.
	limits  spec.Limits
	created time.Time
	console *console.Console

	watched  bool
	watching chan struct{} // Closed when the goroutine that waits for the end has returned.
}

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

// driverCapabilities are the optional interfaces of the driver, sorted.
var driverCapabilities = []vm.Capability{vm.CapabilityAdopt, vm.CapabilityConsole, vm.CapabilityDeleteSnapshot, vm.CapabilityDial, vm.CapabilityForget,
	vm.CapabilityInspect, vm.CapabilityRename, vm.CapabilityFilesystem, vm.CapabilityStats, vm.CapabilityWait, vm.CapabilityWeight}

// New opens the driver. It finds no machines of an earlier process: call Adopt for that, before anything else. The caller ends with Close.
func New(conf Config) (*Driver, error) {
	fail := func(kind, err error, hint string) (*Driver, error) {
		return nil, &vm.Error{Op: "open qemu driver", Kind: kind, Err: err, Hint: hint}
	}
	if conf.Instance == "" {
		conf.Instance = "default"
	}
	if conf.Kernels == "" {
		conf.Kernels = filepath.Join(filepath.Dir(conf.StateDir), "kernels")
	}
	if err := vm.ValidateID(conf.Instance); err != nil {
		return fail(nil, fmt.Errorf("instance name: %w", err), "")
	}
	switch {
	case !filepath.IsAbs(conf.StateDir) || !filepath.IsAbs(conf.RunDir):
		return fail(vm.ErrInvalid, errors.New("state and run directory must be absolute paths"), "")
	case strings.ContainsAny(conf.StateDir+conf.RunDir, ","):
		return fail(vm.ErrInvalid, errors.New("state or run directory contains a comma, which QEMU takes for the end of a value"), "")
	case len(conf.RunDir) > maxRunDir:
		return fail(vm.ErrInvalid, fmt.Errorf("run directory is longer than %d bytes", maxRunDir), "")
	case os.Geteuid() != 0:
		return fail(vm.ErrUnsupported, errors.New("not running as root"), "run as root")
	}
	program, err := findProgram(conf.Program)
	if err != nil {
		return fail(vm.ErrUnsupported, err, installHint)
	}
	version, err := programVersion(program)
	if err != nil {
		return fail(vm.ErrUnsupported, err, installHint)
	}
	d := &Driver{conf: conf, dirs: dirs{conf.StateDir, conf.RunDir, conf.Instance}, program: program, version: version, boot: process.BootID(),
		limits: cgroups.Usable() == nil, points: failpoints{step: conf.Failpoint}}
	if d.boot == "" {
		return fail(vm.ErrUnavailable, errors.New("cannot read which boot of the host this is"), "")
	}
	if _, err := kernel.Open(conf.Kernels); err != nil {
		return fail(vm.ErrUnsupported, err, kernelHint)
	}
	d.bootFiles = d.installedKernel
	d.Store = &snapshots.Store{Dir: d.dirs.snapshots(), Pending: d.dirs.pending(), Driver: driverName, Version: version, Deleted: d.machines.Deleted}
	if err := d.dirs.make(); err != nil {
		return fail(nil, err, "")
	}
	return d, nil
}

const installHint = "apt-get install qemu-system-x86"

func findProgram(name string) (string, error) {
	if name == "" {
		name = "qemu-system-x86_64"
	}
	return exec.LookPath(name)
}

// programVersion asks QEMU what it is. A snapshot is restored by the version that made it.
func programVersion(program string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	_, rest, found := strings.Cut(string(out), "version ")
	if fields := strings.Fields(rest); found && len(fields) > 0 {
		return fields[0], nil
	}
	return "", fmt.Errorf("%s does not say its version", program)
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
func (m *machine) release() {
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
	return vm.Info{
		Driver: driverName, Version: d.version, RootImage: true,
		Isolation:    "guest kernel in a virtual machine, by software (TCG); own user, root, network namespace and control group of its monitor",
		Capabilities: slices.Clone(driverCapabilities),
	}
}

// HostStamp implements vm.SnapshotInspector.
func (d *Driver) HostStamp() vm.Stamp {
	return vm.Stamp{Driver: driverName, Version: d.version, Arch: runtime.GOARCH, Platform: "tcg"}
}

// do runs f in the machine's turn. When ctx ends, the caller is let go, and f keeps the turn until it returns.
func (d *Driver) do(ctx context.Context, op, id string, f func(m *machine) error) error {
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

// failpoints are where tests see and break operations; nil ones do nothing.
type failpoints struct {
	step    func(step, id string)
	halfWay func(op, id string) error
}

func (f *failpoints) reached(step, id string) {
	if f.step != nil {
		f.step(step, id)
	}
}

func (f *failpoints) inject(op, id string) error {
	if f.halfWay == nil {
		return nil
	}
	return f.halfWay(op, id)
}
