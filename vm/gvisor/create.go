//go:build linux

package gvisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/control"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
	"github.com/rundlet/rundlet/vm/gvisor/spawn"
)

// Create implements vm.Provider. With RestoreFrom and without
// ResumeImmediately it makes the whole sandbox but loads nothing: Start is
// then only the load.
func (d *Driver) Create(ctx context.Context, id string, spec vm.Spec) (err error) {
	if err := errors.Join(vm.ValidateID(id), ctx.Err()); err != nil {
		return failure("create", id, nil, err)
	}
	m := newMachine(id, "")
	if err := d.machines.Reserve(m); err != nil {
		return failure("create", id, nil, err)
	}
	// It is broken off when ctx ends, so it is waited for.
	spec = ownSpec(spec)
	_ = m.Turn.Lock(context.WithoutCancel(ctx), "create") // Not shared yet.
	return failure("create", id, nil, m.Turn.Run(ctx, turn.Bound, func() error {
		bundle, finished := d.dirs.Bundle(m.Key), make(chan struct{})
		defer close(finished)
		stop := context.AfterFunc(ctx, func() { breakOff(bundle, finished) })
		defer stop()
		err := d.create(ctx, m, spec, stop)
		if err == nil {
			return nil
		}
		d.machines.Release(m)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return err
	}))
}

// breakOff ends the processes that were started for a bundle whose machine is not wanted
// any more, and those that are started until its creation has finished: gVisor's calls
// then fail where they are.
func breakOff(bundle string, finished <-chan struct{}) {
	tick := time.NewTicker(breakOffInterval)
	defer tick.Stop()
	for {
		_ = killStrays(map[string]bool{bundle: true}) // It tries again.
		select {
		case <-finished:
			return
		case <-tick.C:
		}
	}
}

const breakOffInterval = 50 * time.Millisecond

// newMachine returns the machine of an id; key is that of an earlier process, and empty for a new one.
func newMachine(id, key string) *machine {
	m := &machine{created: time.Now(), watching: make(chan struct{})}
	m.Init(id, key)
	return m
}

// create is for the holder of the turn. stop ends the breaking off, and reports
// false if it has begun.
func (d *Driver) create(ctx context.Context, m *machine, spec vm.Spec, stop func() bool) (err error) {
	if err := oci.Check(spec); err != nil {
		return err
	}
	status, images, ref := vm.StatusCreated, "", spec.RestoreFrom
	var from *snapshots.Manifest
	if ref != nil {
		if images, from, spec, err = d.snapshots.Resolve(ref, spec); err != nil {
			return err
		}
		m.cold, m.hostFiles, m.savedSetUID = from.Filesystem, from.OwnHostFiles(spec), from.SetUID
		status = vm.StatusStopped
		if !m.cold {
			m.savedRoot = from.SavedRoot
		}
	}
	if err := d.engines.choose(ctx, m, from); err != nil {
		return err
	}
	m.spec, m.setUID, m.oneLayer = spec, d.conf.SetUID, oneLayer(spec, from)
	m.spec.RestoreFrom = nil
	if !d.limits && d.conf.Cgroups != "off" && (m.spec.VCPUs > 0 || m.spec.MemoryMiB > 0 || m.spec.Weight > 0) {
		return &vm.Error{Op: "create", ID: m.ID(), Kind: vm.ErrUnsupported,
			Err:  fmt.Errorf("cpu and memory limits: this host has no usable control groups: %w", cgroups.Usable()),
			Hint: "mount control groups (v1 or v2), or switch limits off"}
	}
	defer func() {
		if err == nil {
			return
		}
		_ = m.end(d.dirs, &d.points)
	}()
	m.resume = ref != nil && ref.ResumeImmediately
	if ref != nil && !m.resume {
		// Links: the snapshot may be deleted before Start.
		m.pending = d.dirs.Images(m.Key)
		if err := snapshots.LinkImages(images, m.pending); err != nil {
			return err
		}
		d.points.reached(stepCreateLinked, m.ID())
	}
	if err := d.boot(m, images, from); err != nil {
		return err
	}
	if err := errors.Join(d.points.inject("create", m.ID()), ctx.Err()); err != nil {
		return err
	}
	if m.resume {
		d.points.reached(stepCreateLoading, m.ID())
		if err := m.load(&d.headroom, images); err != nil {
			return restoreError(m.ID(), err)
		}
		d.points.reached(stepCreateRunning, m.ID())
		status, m.cold = vm.StatusRunning, false
	}
	if !stop() || ctx.Err() != nil {
		return ctx.Err()
	}
	d.machines.Show(m, status, d.snapshots.Of)
	_, status, _ = d.machines.State(m)
	runsc := runscCreated
	if status == vm.StatusRunning {
		runsc = runscRunning
	}
	d.records.status(m, runsc)
	return nil
}

// ownSpec copies what the caller may change later.
func ownSpec(spec vm.Spec) vm.Spec {
	spec.Args, spec.Env, spec.Mounts = slices.Clone(spec.Args), slices.Clone(spec.Env), slices.Clone(spec.Mounts)
	if spec.RestoreFrom != nil {
		from := *spec.RestoreFrom
		from.NetworkOverrides = slices.Clone(from.NetworkOverrides)
		spec.RestoreFrom = &from
	}
	return spec
}

// boot makes the sandbox's processes, with limits, console and record, up to
// the point where a program can be started or a snapshot loaded. The sandbox of
// a cold machine takes its files from images, whose manifest is from.
func (d *Driver) boot(m *machine, images string, from *snapshots.Manifest) (err error) {
	bundle := d.dirs.Bundle(m.Key)
	if err := d.dirs.MakeMachine(m.Key); err != nil {
		return err
	}
	if m.console, err = console.Open(filepath.Join(bundle, consoleFile)); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	d.points.reached(stepCreateBundle, m.ID())
	if d.limits {
		if err := d.node.limit(d.dirs.CgroupParent()); err != nil {
			return err
		}
		if m.group, err = cgroups.New(d.dirs.Cgroup(m.Key), resources(m.spec, d.node.limits.SandboxTasks), m.spec.Weight); err != nil {
			return err
		}
	}
	d.points.reached(stepCreateCgroup, m.ID())
	if err := writeBundle(bundle, d.engines.kept.Path(m.engine), m.spec, m.group, d.node.limits.SandboxTasks, images, d.dirs.Images(m.Key), d.conf.setUIDFor(from), m.oneLayer, m.savedRoot); err != nil {
		return err
	}
	if err := d.records.write(m, m.ID(), ""); err != nil {
		return err
	}
	d.points.reached(stepCreateRecord, m.ID())
	if err := startProcesses(d, m, images); err != nil {
		return err
	}
	if err := m.setScores(); err != nil {
		return fmt.Errorf("set oom score: %w", err)
	}
	if err := d.records.write(m, m.ID(), ""); err != nil {
		return err
	}
	d.points.reached(stepCreateRecorded, m.ID())
	m.watched = true
	go m.watch(&d.machines)
	return nil
}

// startProcesses starts those of a machine whose bundle is written.
func startProcesses(d *Driver, m *machine, images string) error {
	s := toSpawn(d.dirs, m.Key, d.conf.Debug, m.spec, m.oneLayer)
	s.Program = d.engines.program
	if m.group.CloneInto() {
		group, err := m.group.Open()
		if err != nil {
			return err
		}
		defer group.Close()
		s.Group = group
	}
	if m.cold && snapshots.HasFilesystem(images) {
		s.Filesystem = images
		lower, err := m.liftForRestore(&d.headroom, images)
		if err != nil {
			return err
		}
		defer lower()
	}
	processes, err := spawn.Start(s)
	if err != nil {
		if why, readErr := os.ReadFile(filepath.Join(s.Bundle, launch.ErrorFileName)); readErr == nil {
			err = fmt.Errorf("sandbox process: %s", why)
		}
		return err
	}
	m.calls = control.Sandbox{ID: m.Key, Socket: s.Socket}
	_ = unix.Rmdir(d.dirs.Images(m.Key)) // Succeeds if no start will load images: the layers have their files.
	d.points.reached(stepCreateSandbox, m.ID())
	m.sandbox, err = process.OpenChild(processes.Sandbox.Pid)
	if err == nil && processes.Gofer != nil {
		m.gofer, err = process.OpenChild(processes.Gofer.Pid)
	}
	if err != nil {
		processes.End()
		return err
	}
	processes.Release()
	return nil
}
