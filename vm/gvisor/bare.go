//go:build linux

package gvisor

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"

	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/specutils"

	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// The methods of this file are those of bench/local.Driver: they run gVisor without
// the driver, with the flags and files that the driver gives it.

// ExecCommand returns the command that runs args in a running machine by
// gVisor's own command line ("runsc exec"), which this binary also is. It is for
// rescue and for measuring the bare mechanism; the agent is the ordinary way.
// The caller sets the streams, which should be pipes, and runs it.
func (d *Driver) ExecCommand(id string, args ...string) (*exec.Cmd, error) {
	m, err := d.machines.Find("exec", id)
	if err != nil {
		return nil, err
	}
	if _, status, _ := d.machines.State(m); status != vm.StatusRunning {
		return nil, vm.TransitionError("exec", id, status, vm.StatusRunning)
	}
	flags := oci.Flags(m.spec, d.dirs.Images(m.Key))
	argv := []string{"runsc", "--root=" + d.dirs.Root()}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		argv = append(argv, "--"+name+"="+flags[name])
	}
	argv = append(argv, "exec", m.Key)
	path := specutils.ExePath
	if m.engine != d.engines.current && m.engine != "" {
		path = d.engines.kept.Path(m.engine)
	}
	return &exec.Cmd{Path: path, Args: append(argv, args...)}, nil
}

// Processes returns the host processes that the driver started for a machine, sandbox
// and file server. Its memory and processor time are charged to them and to their
// children.
func (d *Driver) Processes(id string) ([]int, error) {
	m, err := d.machines.Find("processes", id)
	if err != nil {
		return nil, err
	}
	if _, status, _ := d.machines.State(m); status != vm.StatusRunning && status != vm.StatusStopped || m.sandbox == nil {
		return nil, vm.TransitionError("processes", id, status, vm.StatusRunning)
	}
	pids := []int{m.sandbox.PID}
	if m.gofer != nil {
		pids = append(pids, m.gofer.PID)
	}
	return pids, nil
}

// bare is a start by gVisor's library alone: the same flags and spec as a
// machine, without limits, records and watching. A machine's restore or boot
// is compared with it.
type bare struct {
	d      *Driver
	key    string
	images string // Empty for a boot.
	conf   *config.Config
	spec   vm.Spec
	c      *container.Container
}

// Bare prepares a bare restore of spec.RestoreFrom, or without one a bare boot:
// everything that is on disk. The guest runs when run returns. The caller calls
// destroy in any case, which ends the sandbox and removes its files.
func (d *Driver) Bare(spec vm.Spec) (run, destroy func() error, err error) {
	if err := oci.Check(spec); err != nil {
		return nil, nil, failure("bare restore", "", nil, err)
	}
	images := ""
	var from *snapshots.Manifest
	if spec.RestoreFrom != nil {
		images, from, spec, err = d.snapshots.Resolve(spec.RestoreFrom, spec)
		if err == nil && from.Filesystem {
			err = fmt.Errorf("%w: gvisor has no bare restore of a file system", vm.ErrUnsupported)
		}
		if err != nil {
			return nil, nil, failure("bare restore", "", nil, err)
		}
	}
	b := &bare{d: d, key: files.NewKey(), images: images, spec: spec}
	bundle := d.dirs.Bundle(b.key)
	if err := d.dirs.MakeMachine(b.key); err != nil {
		return nil, nil, failure("bare restore", b.key, nil, err)
	}
	con, err := console.Open(filepath.Join(bundle, consoleFile))
	if err == nil {
		con.Finish()
		b.conf, err = runscConfig(d.dirs, b.key, d.conf.Debug, spec)
	}
	if err = errors.Join(err, writeBundle(bundle, d.engines.kept.Path(d.engines.forSnapshot(from)), spec, nil, 0, images, d.dirs.Images(b.key), d.conf.setUIDFor(from), oneLayer(spec, from), "")); err != nil {
		d.dirs.RemoveMachine(b.key)
		return nil, nil, failure("bare restore", b.key, nil, err)
	}
	return b.run, b.destroy, nil
}

// run makes the sandbox and loads the snapshot, or starts the program: two
// library calls. The guest runs when it returns.
func (b *bare) run() error {
	bundle := b.d.dirs.Bundle(b.key)
	ociSpec, err := specutils.ReadSpec(bundle, b.conf)
	if err != nil {
		return failure("bare restore", b.key, nil, err)
	}
	b.c, err = container.New(b.conf, container.Args{ID: b.key, Spec: ociSpec, BundleDir: bundle})
	if err != nil {
		return failure("bare restore", b.key, nil, err)
	}
	err = offMain(func() error {
		if b.images == "" {
			return b.c.Start(b.conf)
		}
		return b.c.Restore(b.conf, b.images, false, false, nil)
	})
	return failure("bare start", b.key, nil, err)
}

// destroy ends the sandbox and removes its files.
func (b *bare) destroy() error {
	var err error
	if b.c != nil {
		if err = b.c.Destroy(); err != nil {
			err = fmt.Errorf("destroy bare sandbox: %w", brief(err))
		}
	}
	b.d.dirs.RemoveMachine(b.key)
	return err
}
