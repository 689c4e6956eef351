//go:build linux

package driver

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/vm"
)

// ConsoleTail implements vm.Console.
func (d *Driver) ConsoleTail(ctx context.Context, id string, max int) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, machines.Failure("read console", id, nil, err)
	}
	m, err := d.machines.Find("read console", id)
	if err != nil {
		return nil, err
	}
	if _, status, _ := d.machines.State(m); status == vm.StatusDestroyed {
		return nil, machines.Failure("read console", id, vm.ErrInvalidTransition, nil)
	}
	return m.console.Tail(max), nil
}

// Dial implements vm.Dialer. It never waits for a lifecycle call.
func (d *Driver) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	return d.machines.Dial(ctx, id, port, d.dialer, func(m *vmachine) string { return m.Spec.GuestIP })
}

// Stats implements vm.Statser.
func (d *Driver) Stats(_ context.Context, id string) (vm.Stats, error) {
	m, err := d.machines.Find("stats", id)
	if err != nil {
		return vm.Stats{}, err
	}
	if _, status, _ := d.machines.State(m); status == vm.StatusDestroyed {
		return vm.Stats{}, vm.TransitionError("stats", id, status, status)
	}
	stats := vm.Stats{Time: time.Now()}
	if m.Group == nil {
		return vm.Stats{}, machines.Failure("stats", id, vm.ErrUnsupported, errors.New("the host has no control groups"))
	}
	stats.MemoryLimitBytes = m.limits.MemoryBytes(d.hypervisor.Overhead)
	var errs [3]error
	stats.CPUTime, errs[0] = m.Group.CPUTime()
	stats.MemoryBytes, stats.Processes, errs[1] = m.Group.Usage()
	stats.Weight, errs[2] = m.Group.Weight()
	if err := errors.Join(errs[:]...); err != nil {
		return vm.Stats{}, machines.Failure("stats", id, nil, err)
	}
	return stats, nil
}
