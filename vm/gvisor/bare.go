//go:build linux

package gvisor

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/control"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
	"github.com/rundlet/rundlet/vm/gvisor/spawn"
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
	argv := append([]string{"runsc"}, runscFlags(d.dirs, m.Key, false, m.spec)...)
	argv = append(argv, "exec", m.Key)
	path := d.engines.program
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

// bare is a start of the processes alone: the same flags and spec as a
// machine, without limits, records and watching. A machine's restore or boot
// is compared with it.
type bare struct {
	d         *Driver
	key       string
	images    string // Empty for a boot.
	spec      vm.Spec
	oneLayer  bool
	processes *spawn.Processes // Nil until run.
	packets   packets
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
	b := &bare{d: d, key: files.NewKey(), images: images, spec: spec, oneLayer: oneLayer(spec, from)}
	bundle := d.dirs.Bundle(b.key)
	if err := d.dirs.MakeMachine(b.key); err != nil {
		return nil, nil, failure("bare restore", b.key, nil, err)
	}
	con, err := console.Open(filepath.Join(bundle, consoleFile))
	if err == nil {
		con.Finish()
	}
	if err = errors.Join(err, writeBundle(bundle, d.engines.kept.Path(d.engines.forSnapshot(from)), spec, nil, 0, images, d.dirs.Images(b.key), d.conf.setUIDFor(from), b.oneLayer, "")); err != nil {
		d.dirs.RemoveMachine(b.key)
		return nil, nil, failure("bare restore", b.key, nil, err)
	}
	return b.run, b.destroy, nil
}

// run makes the sandbox and loads the snapshot, or starts the program. The guest runs when it
// returns.
func (b *bare) run() (err error) {
	s := toSpawn(b.d.dirs, b.key, b.d.conf.Debug, b.spec, b.oneLayer)
	s.Program = b.d.engines.program
	if b.processes, err = spawn.Start(s); err != nil {
		return failure("bare restore", b.key, nil, err)
	}
	net := func() (*control.Network, error) { return b.packets.take(b.spec, b.processes.Sandbox.Pid, 0) }
	calls := control.Sandbox{ID: b.key, Socket: s.Socket}
	if b.images == "" {
		err = calls.StartRoot(net)
	} else {
		err = calls.Restore(b.images, net)
	}
	return failure("bare start", b.key, nil, err)
}

// destroy ends the sandbox and removes its files.
func (b *bare) destroy() error {
	if b.processes != nil {
		b.processes.End()
		b.packets.close()
	}
	b.d.dirs.RemoveMachine(b.key)
	return nil
}
