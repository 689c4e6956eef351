//go:build linux

package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/cpuid"
	"gvisor.dev/gvisor/pkg/log"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/control"
	"github.com/rundlet/rundlet/vm/gvisor/engine"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/mover"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

const (
	driverName  = "gvisor"
	consoleFile = "console"
)

// Driver runs machines as gVisor sandboxes. It implements vm.Runtime and every
// optional interface of package vm.
type Driver struct {
	machines.Queries[*machine]
	mover.Mover // Of snapshots, to other hosts and from them.

	conf      Config
	dirs      files.Dirs
	limits    bool // Whether control groups are used.
	version   string
	snapshots *snapshots.Store
	engines   engines
	// headroom counts what saves and restores may take of the host.
	headroom headroom
	node     nodeGroup
	points   failpoints
	machines machines.Table[*machine]
	records  records
}

// machine is one sandbox.
type machine struct {
	machines.Machine
	asks turn.Turn // Of the requests that change nothing: one at a time.

	engine string // Its engine, which is kept; empty if it is not one of engines.kept. Guarded by engines.mu.

	// Set before the machine is published, changed only by the holder of turn.
	spec    vm.Spec
	calls   control.Sandbox
	packets packets
	group   *cgroups.Group
	limit   memoryLimit
	console *console.Console
	sandbox *process.Process
	gofer   *process.Process
	created time.Time
	// pending is the image directory of a machine that is restored by its
	// first Start; empty otherwise. cold says that these images are a file
	// system only, which the sandbox has open already.
	pending string
	cold    bool
	// hostFiles are the files of the host that the snapshot of the restore needs, and savedSetUID the files that were made set-uid before it.
	hostFiles   []snapshots.HostFile
	savedSetUID []string
	// setUID are the files that are made set-uid when the guest runs.
	setUID []string
	// oneLayer is as in the manifest.
	oneLayer bool
	// savedRoot is the path of the root by which the sandbox process knows it, if it is another one: see snapshots.Manifest.
	savedRoot string
	resume    bool // See record.
	unsure    bool // The status may be wrong: settle comes before anything else.

	// watched says whether a goroutine waits for the end; watching is closed
	// when it has returned.
	watched  bool
	watching chan struct{}
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

	_ vm.FilesystemSnapshotter = (*Driver)(nil)
	_ vm.SnapshotInspector     = (*Driver)(nil)
	_ vm.SnapshotMover         = (*Driver)(nil)
)

var quietLogs = sync.OnceFunc(func() {
	cpuid.Initialize()
	// gVisor's packages log to standard error by default.
	log.SetTarget(&log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}})
})

// New opens the driver. It finds no machines of an earlier process: call Adopt
// for that, before anything else. The caller ends with Close.
func New(conf Config) (*Driver, error) {
	fail := func(kind error, err error) (*Driver, error) {
		return nil, &vm.Error{Op: "open gvisor driver", Kind: kind, Err: err, Hint: hint(err)}
	}
	if conf.Instance == "" {
		conf.Instance = "default"
	}
	if err := vm.ValidateID(conf.Instance); err != nil {
		return fail(nil, fmt.Errorf("instance name: %w", err))
	}
	switch {
	case !filepath.IsAbs(conf.StateDir) || !filepath.IsAbs(conf.RunDir):
		return fail(vm.ErrInvalid, errors.New("state and run directory must be absolute paths"))
	case strings.ContainsAny(conf.StateDir, ",:"):
		// gVisor takes the directory of the writable layers in a list.
		return fail(vm.ErrInvalid, fmt.Errorf("state directory %.100q contains a comma or a colon", conf.StateDir))
	case len(conf.RunDir) > maxRunDir:
		return fail(vm.ErrInvalid, fmt.Errorf("run directory is longer than %d bytes", maxRunDir))
	case conf.Cgroups != "" && conf.Cgroups != "auto" && conf.Cgroups != "off":
		return fail(vm.ErrInvalid, fmt.Errorf("control groups %.40q: must be auto or off", conf.Cgroups))
	case os.Geteuid() != 0:
		return nil, &vm.Error{Op: "open gvisor driver", Kind: vm.ErrUnsupported,
			Err: errors.New("not running as root"), Hint: "run as root"}
	case process.BootID() == "":
		return fail(vm.ErrUnavailable, errors.New("cannot read which boot of the host this is"))
	}
	dirs := files.Dirs{State: conf.StateDir, Run: conf.RunDir, Instance: conf.Instance}
	if err := dirs.Make(); err != nil {
		return fail(nil, err)
	}
	quietLogs()
	name, program, err := conf.useEngine(dirs)
	if err != nil {
		return nil, &vm.Error{Op: "open gvisor driver", Kind: vm.ErrUnsupported, Err: err, Hint: engine.Hint(err)}
	}
	version, err := engine.Version(0)
	if err != nil {
		return fail(nil, err)
	}
	snapshots, err := snapshots.Open(dirs, driverName, version)
	if err != nil {
		return fail(nil, err)
	}
	node, err := hostLimits()
	if err != nil {
		return fail(vm.ErrUnavailable, err)
	}
	d := &Driver{
		conf:      conf,
		dirs:      dirs,
		limits:    conf.Cgroups != "off" && cgroups.Usable() == nil,
		version:   version,
		snapshots: snapshots,
		node:      nodeGroup{limits: node},
		points:    failpoints{step: conf.Failpoint},
	}
	d.Queries = d.machines.Queries()
	d.records = records{dirs, &d.machines}
	d.engines = engines{kept: engine.Kept(dirs.Engines()), current: name, program: program, version: version, dirs: dirs, machines: &d.machines, snapshots: snapshots}
	d.Mover = mover.New(d.engines.kept, snapshots)
	d.headroom.available = d.node.available
	return d, nil
}

// Close stops watching. Running machines go on running, for a later driver
// value with the same directories to adopt. No call may be in progress.
func (d *Driver) Close() error {
	all, first := d.machines.Close()
	if !first {
		return nil
	}
	for _, m := range all {
		m.release()
	}
	// File servers live in an empty network namespace that is pinned here;
	// those that run keep it.
	null := d.dirs.NullNetNS()
	for unix.Unmount(null, unix.MNT_DETACH) == nil {
		// Machines created at the same time have each pinned one.
	}
	_ = os.Remove(null)
	_ = unix.Rmdir(d.dirs.Pending()) // Succeeds if no machine waits to load images.
	if d.limits {
		cgroups.RemoveAt(d.dirs.CgroupParent())
	}
	return nil
}

// release lets go of a machine's processes and console.
func (m *machine) release() {
	m.sandbox.Release()
	m.gofer.Release()
	if m.watched {
		<-m.watching
	}
	if m.console != nil {
		m.console.Finish()
	}
}

// driverCapabilities are the optional interfaces of the driver, sorted.
var driverCapabilities = []vm.Capability{vm.CapabilityAdopt, vm.CapabilityConsole, vm.CapabilityDeleteSnapshot,
	vm.CapabilityDial, vm.CapabilityForget, vm.CapabilityInspect, vm.CapabilityPageOut, vm.CapabilityReadLayer, vm.CapabilityRename, vm.CapabilityFilesystem,
	vm.CapabilityStats, vm.CapabilityWait, vm.CapabilityWeight}

// Info describes the driver.
func (d *Driver) Info() vm.Info {
	return vm.Info{
		Driver:       driverName,
		Version:      d.version,
		Build:        d.engines.current,
		Isolation:    "user-space kernel (systrap), own namespaces and control group",
		Capabilities: slices.Clone(driverCapabilities),
	}
}

// do runs f, which asks the sentry for something, in the machine's turn. gVisor
// knows no context and a sentry can hang: when ctx ends, the caller is let go,
// and f keeps the turn until it returns.
func (d *Driver) do(ctx context.Context, op, id string, f func(m *machine) error) error {
	m, err := d.machines.Acquire(ctx, op, id)
	if err != nil {
		return err
	}
	return failure(op, id, nil, m.Turn.Run(ctx, turn.Grace, func() error {
		if _, _, exit := d.machines.State(m); m.unsure && exit == "" {
			if err := d.records.settle(m); err != nil {
				return fmt.Errorf("%w: its state is not known: %w", vm.ErrUnavailable, err)
			}
		}
		return f(m)
	}))
}
