package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/agent/control"
	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor"
)

// benchSetup gives the benchmark the mechanism under this node's driver.
func (n *node) benchSetup(ctx context.Context) (bench.Setup, error) {
	spec, err := n.runtime.BaseSpec(ctx)
	if err != nil {
		return bench.Setup{}, err
	}
	g := gvisorBench{driver: n.driver.(*gvisor.Driver), network: n.network.(*network.Network), spec: spec}
	return bench.Setup{Bare: bareRestorer{g}, Driver: driverRestorer{g}, BareExec: g.exec}, nil
}

type gvisorBench struct {
	driver  *gvisor.Driver
	network *network.Network
	spec    vm.Spec
}

// place takes a network slot for a restore; free gives it back.
func (g gvisorBench) place(ctx context.Context) (spec vm.Spec, agent control.Dial, free func(), err error) {
	slot, err := g.network.Acquire(ctx, network.Policy{})
	if err != nil {
		return vm.Spec{}, nil, nil, err
	}
	spec = g.spec
	spec.NetNS, spec.GuestIP, spec.Hostname = slot.NetNS, slot.GuestIP.String(), "bench"
	agent = func(ctx context.Context) (net.Conn, error) {
		return g.network.DialContext(ctx, netip.AddrPortFrom(slot.GuestIP, control.Port))
	}
	return spec, agent, func() { g.network.Retire(slot.ID) }, nil
}

type bareRestorer struct{ gvisorBench }

func (r bareRestorer) Restore(ctx context.Context) (bench.Machine, time.Duration, error) {
	spec, agent, free, err := r.place(ctx)
	if err != nil {
		return nil, 0, err
	}
	bare, err := r.driver.Bare(spec)
	if err != nil {
		free()
		return nil, 0, err
	}
	m := machine{func(context.Context) error { return bare.Destroy() }, free}
	begin := time.Now()
	err = bare.Restore()
	if err == nil {
		err = control.Health(ctx, agent)
	}
	took := time.Since(begin)
	if err != nil {
		_, undo := m.Destroy(ctx)
		return nil, 0, errors.Join(err, undo)
	}
	return m, took, nil
}

type driverRestorer struct{ gvisorBench }

func (r driverRestorer) Restore(ctx context.Context) (bench.Machine, time.Duration, error) {
	spec, agent, free, err := r.place(ctx)
	if err != nil {
		return nil, 0, err
	}
	id := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	begin := time.Now()
	if err := r.driver.Create(ctx, id, spec); err != nil {
		free()
		return nil, 0, err
	}
	err = control.Health(ctx, agent)
	took := time.Since(begin)
	m := machine{func(ctx context.Context) error { return r.driver.Destroy(ctx, id) }, free}
	if err != nil {
		_, undo := m.Destroy(ctx)
		return nil, 0, errors.Join(err, undo)
	}
	return m, took, nil
}

type machine struct {
	destroy func(context.Context) error
	free    func()
}

func (m machine) Destroy(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	err := m.destroy(ctx)
	took := time.Since(begin)
	m.free()
	return took, err
}

// exec is gVisor's own "runsc exec", run to its end; the time is to its first
// byte of output.
func (g gvisorBench) exec(ctx context.Context, sandbox string, args []string) (time.Duration, error) {
	cmd, err := g.driver.ExecCommand(sandbox, args...)
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	var one [1]byte
	_, readErr := io.ReadFull(out, one[:])
	took := time.Since(begin)
	io.Copy(io.Discard, out)
	return took, errors.Join(readErr, cmd.Wait())
}

func hostStamp(n *node) bench.Host {
	var uts unix.Utsname
	unix.Uname(&uts)
	info := n.driver.Info()
	return bench.Host{
		Time: time.Now().UTC().Truncate(time.Second), Version: version, Driver: info.Driver, Mechanism: info.Version,
		Kernel: unix.ByteSliceToString(uts.Release[:]), CPU: cpuModel(), CPUs: runtime.NumCPU(),
		MemoryMiB: int64(hostMemory() >> 20), LoadBefore: loadAverage(),
	}
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, " \t:\n")
		}
	}
	return runtime.GOARCH
}

// loadAverage is the load of the last minute.
func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(b), " ")
	return load
}
