package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor"
)

// mechanism is what is under this node's driver.
func mechanism(ctx context.Context, n *node.Node) (bench.Mechanism, error) {
	spec, err := n.Runtime.BaseSpec(ctx)
	if err != nil {
		return nil, err
	}
	return gvisorBench{driver: n.Driver.(*gvisor.Driver), network: n.Network, spec: spec}, nil
}

type gvisorBench struct {
	driver  *gvisor.Driver
	network *network.Network
	spec    vm.Spec // by which the base is restored
}

// slot is a place in the network for a machine.
type slot struct {
	spec  vm.Spec
	agent envd.Dial
	free  func()
}

// place takes a slot for a machine that is restored from a snapshot, or booted
// if there is none.
func (g gvisorBench) place(ctx context.Context, from *vm.SnapshotRef) (slot, error) {
	s, err := g.network.Acquire(ctx, network.Policy{})
	if err != nil {
		return slot{}, err
	}
	spec := g.spec
	spec.NetNS, spec.GuestIP, spec.Hostname, spec.RestoreFrom = s.NetNS, s.GuestIP.String(), "bench", from
	return slot{spec: spec, free: func() { g.network.Retire(s.ID) }, agent: func(ctx context.Context) (net.Conn, error) {
		return g.network.DialContext(ctx, netip.AddrPortFrom(s.GuestIP, envd.Port))
	}}, nil
}

// LibraryRestore implements bench.Mechanism.
func (g gvisorBench) LibraryRestore(ctx context.Context) (bench.Machine, time.Duration, error) {
	return g.library(ctx, g.spec.RestoreFrom)
}

// LibraryBoot implements bench.Mechanism.
func (g gvisorBench) LibraryBoot(ctx context.Context) (bench.Machine, time.Duration, error) {
	return g.library(ctx, nil)
}

func (g gvisorBench) library(ctx context.Context, from *vm.SnapshotRef) (bench.Machine, time.Duration, error) {
	s, err := g.place(ctx, from)
	if err != nil {
		return nil, 0, err
	}
	bare, err := g.driver.Bare(s.spec)
	if err != nil {
		s.free()
		return nil, 0, err
	}
	m := machine{func(context.Context) error { return bare.Destroy() }, s.free}
	begin := time.Now()
	if err = bare.Run(); err == nil {
		err = answers(ctx, s.agent)
	}
	took := time.Since(begin)
	if err != nil {
		_, undo := m.Destroy(ctx)
		return nil, 0, errors.Join(err, undo)
	}
	return m, took, nil
}

// answers waits until the agent serves, as the runtime does after a boot.
func answers(ctx context.Context, agent envd.Dial) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(pause*2, 100*time.Millisecond) {
		err := envd.Health(ctx, agent)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent does not answer: %w", err)
		case <-time.After(pause):
		}
	}
}

type machine struct {
	destroy func(context.Context) error
	free    func()
}

// Destroy implements bench.Machine.
func (m machine) Destroy(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	err := m.destroy(ctx)
	took := time.Since(begin)
	m.free()
	return took, err
}

// Processes implements bench.Mechanism.
func (g gvisorBench) Processes(id string) ([]int, error) { return g.driver.Processes(id) }

// Exec implements bench.Mechanism by gVisor's own "runsc exec".
func (g gvisorBench) Exec(ctx context.Context, id string, stdin []byte, args ...string) (first, end time.Duration, err error) {
	cmd, err := g.driver.ExecCommand(id, args...)
	if err != nil {
		return 0, 0, err
	}
	return timed(cmd, stdin)
}

func timed(cmd *exec.Cmd, stdin []byte) (first, end time.Duration, err error) {
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	var one [1]byte
	if n, _ := io.ReadFull(out, one[:]); n > 0 {
		first = time.Since(begin)
	}
	io.Copy(io.Discard, out)
	err = cmd.Wait()
	if err != nil {
		err = fmt.Errorf("%w: %.500s", err, stderr.Bytes())
	}
	return first, time.Since(begin), err
}

func hostStamp(n *node.Node) report.Host {
	var uts unix.Utsname
	unix.Uname(&uts)
	info := n.Driver.Info()
	memory, _ := host.Host{}.Memory()
	return report.Host{
		Time: time.Now().UTC().Truncate(time.Second), Version: version, Driver: info.Driver, Mechanism: info.Version,
		Kernel: unix.ByteSliceToString(uts.Release[:]), CPU: cpuModel(), CPUs: runtime.NumCPU(),
		MemoryMiB: memory.Total >> 20,
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
