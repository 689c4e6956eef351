//go:build linux

package gvisor

import (
	"context"
	"net"
	"time"

	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
	"github.com/rundlet/rundlet/vm/gvisor/control"
)

// Dial implements vm.Dialer. It never waits for a lifecycle call.
func (d *Driver) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	return d.machines.Dial(ctx, id, port, d.conf.DialContext, func(m *machine) string { return m.spec.GuestIP })
}

// Stats implements vm.Statser. Without a control group it asks the sentry,
// whose numbers leave out its own needs.
func (d *Driver) Stats(ctx context.Context, id string) (vm.Stats, error) {
	m, err := d.machines.Find("stats", id)
	if err != nil {
		return vm.Stats{}, err
	}
	_, status, exit := d.machines.State(m)
	if status == vm.StatusDestroyed {
		return vm.Stats{}, vm.TransitionError("stats", id, status, status)
	}
	stats := vm.Stats{Time: time.Now(), MemoryLimitBytes: int64(m.spec.MemoryMiB) << 20}
	if m.group == nil && exit != "" {
		return stats, nil
	}
	if m.group == nil {
		event, err := m.event(ctx)
		if err != nil {
			return vm.Stats{}, failure("stats", id, nil, err)
		}
		stats.CPUTime = time.Duration(event.ContainerUsage[m.Key])
		stats.MemoryBytes = int64(event.Event.Data.Memory.Usage.Usage)
		stats.Processes = int64(event.Event.Data.Pids.Current)
		return stats, nil
	}
	if stats.MemoryLimitBytes > 0 {
		stats.MemoryLimitBytes += budget.BaseOverhead
	}
	if stats.CPUTime, err = m.group.CPUTime(); err != nil {
		return vm.Stats{}, failure("stats", id, nil, err)
	}
	if stats.MemoryBytes, stats.Processes, err = m.group.Usage(); err != nil {
		return vm.Stats{}, failure("stats", id, nil, err)
	}
	if stats.Weight, err = m.group.Weight(); err != nil {
		return vm.Stats{}, failure("stats", id, nil, err)
	}
	return stats, nil
}

// event asks the sentry for its figures. A sentry that hangs has at most one
// such request to answer.
func (m *machine) event(ctx context.Context) (*control.EventOut, error) {
	if err := m.asks.Lock(ctx, "stats"); err != nil {
		return nil, err
	}
	answer := make(chan *control.EventOut, 1)
	err := m.asks.Run(ctx, turn.Grace, func() error {
		event, err := m.calls.Event()
		answer <- event
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-answer, nil
}
