//go:build linux

package driver

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/vm"
)

// List implements vm.Query.
func (d *Driver) List(ctx context.Context) ([]vm.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, machines.Failure("list", "", nil, err)
	}
	return d.machines.Views(), nil
}

// Get implements vm.Query.
func (d *Driver) Get(ctx context.Context, id string) (vm.View, bool, error) {
	if err := ctx.Err(); err != nil {
		return vm.View{}, false, machines.Failure("get", id, nil, err)
	}
	view, ok := d.machines.View(id)
	return view, ok, nil
}

// ListSnapshots implements vm.Query.
func (d *Driver) ListSnapshots(ctx context.Context, id string) ([]string, bool, error) {
	view, ok, err := d.Get(ctx, id)
	return view.Snapshots, ok, err
}

// Wait implements vm.Waiter.
func (d *Driver) Wait(ctx context.Context, id string) (string, error) {
	return d.machines.Wait(ctx, id)
}

// Forget implements vm.Forgetter.
func (d *Driver) Forget(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return machines.Failure("forget", id, nil, err)
	}
	return d.machines.Forget(id)
}

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
	m, err := d.machines.Find("dial", id)
	if err != nil {
		return nil, err
	}
	if _, status, _ := d.machines.State(m); status != vm.StatusRunning {
		return nil, vm.TransitionError("dial", id, status, vm.StatusRunning)
	}
	if m.Spec.GuestIP == "" {
		return nil, machines.Failure("dial", id, vm.ErrUnsupported, errors.New("the machine has no guest address"))
	}
	conn, err := d.dialer(ctx, "tcp", net.JoinHostPort(m.Spec.GuestIP, strconv.Itoa(int(port))))
	if err != nil {
		if ctx.Err() != nil {
			return nil, machines.Failure("dial", id, nil, ctx.Err())
		}
		return nil, machines.Failure("dial", id, vm.ErrUnavailable, err)
	}
	return m.Conns.Track(conn), nil
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
	stats.MemoryLimitBytes = m.limits.MemoryBytes(d.monitor.Overhead)
	var errs [3]error
	stats.CPUTime, errs[0] = m.Group.CPUTime()
	stats.MemoryBytes, stats.Processes, errs[1] = m.Group.Usage()
	stats.Weight, errs[2] = m.Group.Weight()
	if err := errors.Join(errs[:]...); err != nil {
		return vm.Stats{}, machines.Failure("stats", id, nil, err)
	}
	return stats, nil
}
