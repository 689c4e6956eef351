package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"time"

	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/vm"
)

// under prepares the base and returns what is under the node's driver.
func under(ctx context.Context, n *node.Node) (bench.Mechanism, error) {
	driver, ok := n.Driver.(Driver)
	if !ok {
		info := n.Driver.Info()
		return nil, &vm.Error{Op: "benchmark", Kind: vm.ErrUnsupported, Err: fmt.Errorf("driver %s cannot be measured on its own", info.Driver)}
	}
	if err := n.Runtime.Prepare(ctx); err != nil {
		return nil, err
	}
	spec, err := n.Runtime.BaseSpec(ctx)
	if err != nil {
		return nil, err
	}
	return mechanism{driver: driver, network: n.Network, spec: spec}, nil
}

type mechanism struct {
	driver  Driver
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
func (g mechanism) place(ctx context.Context, from *vm.SnapshotRef) (slot, error) {
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
func (g mechanism) LibraryRestore(ctx context.Context) (bench.Machine, time.Duration, error) {
	return g.library(ctx, g.spec.RestoreFrom)
}

// LibraryBoot implements bench.Mechanism.
func (g mechanism) LibraryBoot(ctx context.Context) (bench.Machine, time.Duration, error) {
	return g.library(ctx, nil)
}

func (g mechanism) library(ctx context.Context, from *vm.SnapshotRef) (bench.Machine, time.Duration, error) {
	s, err := g.place(ctx, from)
	if err != nil {
		return nil, 0, err
	}
	run, destroy, err := g.driver.Bare(s.spec)
	if err != nil {
		s.free()
		return nil, 0, err
	}
	m := machine{func(context.Context) error { return destroy() }, s.free}
	begin := time.Now()
	if err = run(); err == nil {
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

// Dial implements bench.Mechanism.
func (g mechanism) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	return g.driver.Dial(ctx, id, port)
}

// Processes implements bench.Mechanism.
func (g mechanism) Processes(id string) ([]int, error) {
	pids, err := g.driver.Processes(id)
	return descendants(pids), err
}

// PageOut implements bench.Mechanism.
func (g mechanism) PageOut(ctx context.Context, id string) error {
	_, err := g.driver.PageOut(ctx, id)
	return err
}

// Exec implements bench.Mechanism.
func (g mechanism) Exec(ctx context.Context, id string, stdin []byte, args ...string) (first, end time.Duration, err error) {
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
