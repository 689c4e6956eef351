//go:build linux

package gvisor

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"gvisor.dev/gvisor/runsc/boot"

	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
)

// Dial implements vm.Dialer. It never waits for a lifecycle call.
func (d *Driver) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	m, err := d.machines.find("dial", id)
	if err != nil {
		return nil, err
	}
	if status, _ := d.machines.state(m); status != vm.StatusRunning {
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
	return m.conns.track(conn), nil
}

// connections are those that are open into one machine. A guest that is killed
// says no farewell, so the driver ends them.
type connections struct {
	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// track returns conn such that it ends with the machine.
func (c *connections) track(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return conn
	}
	if c.open == nil {
		c.open = map[net.Conn]bool{}
	}
	c.open[conn] = true
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &trackedTCP{tcp, c}
	}
	return &trackedConn{conn, c}
}

func (c *connections) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

// end closes all connections, and those that are tracked later.
func (c *connections) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.open {
		_ = conn.Close()
	}
	c.open = nil
}

type trackedConn struct {
	net.Conn
	c *connections
}

func (t *trackedConn) Close() error {
	t.c.forget(t.Conn)
	return t.Conn.Close()
}

// trackedTCP keeps what only TCP connections can do: half-closing, and copying
// inside the kernel.
type trackedTCP struct {
	*net.TCPConn
	c *connections
}

func (t *trackedTCP) Close() error {
	t.c.forget(t.TCPConn)
	return t.TCPConn.Close()
}

// Stats implements vm.Statser. Without a control group it asks the sentry,
// whose numbers leave out its own needs.
func (d *Driver) Stats(ctx context.Context, id string) (vm.Stats, error) {
	m, err := d.machines.find("stats", id)
	if err != nil {
		return vm.Stats{}, err
	}
	status, exit := d.machines.state(m)
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
		stats.CPUTime = time.Duration(event.ContainerUsage[m.key])
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
func (m *machine) event(ctx context.Context) (*boot.EventOut, error) {
	if err := m.asks.Lock(ctx, "stats"); err != nil {
		return nil, err
	}
	answer := make(chan *boot.EventOut, 1)
	err := m.asks.Run(ctx, turn.Grace, func() error {
		event, err := m.c.Sandbox.Event(m.key)
		answer <- event
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-answer, nil
}
