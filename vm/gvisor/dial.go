//go:build linux

package gvisor

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// Dial implements vm.Dialer. It never waits for a lifecycle call.
func (d *Driver) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	m := d.find(id)
	if m == nil {
		return nil, failure("dial", id, vm.ErrNotFound, nil)
	}
	if status, _ := d.state(m); status != vm.StatusRunning {
		return nil, vm.TransitionError("dial", id, status, vm.StatusRunning)
	}
	if m.spec.GuestIP == "" {
		return nil, failure("dial", id, vm.ErrUnsupported, errors.New("the machine has no guest address"))
	}
	dial := d.conf.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(m.spec.GuestIP, strconv.Itoa(int(port))))
	if err != nil {
		if ctx.Err() != nil {
			return nil, failure("dial", id, nil, ctx.Err())
		}
		return nil, failure("dial", id, vm.ErrUnavailable, err)
	}
	return conn, nil
}

// Stats implements vm.Statser. Without a control group it asks the sentry,
// whose numbers leave out its own needs.
func (d *Driver) Stats(ctx context.Context, id string) (vm.Stats, error) {
	m := d.find(id)
	if m == nil {
		return vm.Stats{}, failure("stats", id, vm.ErrNotFound, nil)
	}
	status, exit := d.state(m)
	if status == vm.StatusDestroyed {
		return vm.Stats{}, vm.TransitionError("stats", id, status, status)
	}
	stats := vm.Stats{Time: time.Now(), MemoryLimitBytes: int64(m.spec.MemoryMiB) << 20}
	if m.group == nil && exit != "" {
		return stats, nil
	}
	if m.group == nil {
		event, err := m.c.Sandbox.Event(m.key)
		if err != nil {
			return vm.Stats{}, failure("stats", id, nil, err)
		}
		stats.CPUTime = time.Duration(event.ContainerUsage[m.key])
		stats.MemoryBytes = int64(event.Event.Data.Memory.Usage.Usage)
		stats.Processes = int64(event.Event.Data.Pids.Current)
		return stats, nil
	}
	if stats.MemoryLimitBytes > 0 {
		stats.MemoryLimitBytes += sentryOverheadMiB << 20
	}
	cpu, err := m.group.Cgroup.CPUUsage()
	if err != nil {
		return vm.Stats{}, failure("stats", id, nil, err)
	}
	stats.CPUTime = time.Duration(cpu)
	if stats.MemoryBytes, stats.Processes, err = m.group.usage(); err != nil {
		return vm.Stats{}, failure("stats", id, nil, err)
	}
	return stats, nil
}
