//go:build linux

// Package monitor is one process of QEMU: how it is launched, asked, saved and left. It may import vm, vm/microvm, vm/qemu/qmp and internal.
package monitor

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/untrusted"
	"github.com/rundlet/rundlet/vm/qemu/qmp"
)

// VM is a process of QEMU. It implements machine.Monitor.
type VM struct {
	*machine.State

	program string

	mu  sync.Mutex
	qmp *qmp.Client
}

// New returns the monitor of a machine: what program starts, or what an earlier process of this driver has started.
func New(program string, m *machine.State) *VM { return &VM{State: m, program: program} }

// Running implements machine.Monitor.
func (m *VM) Running(ctx context.Context) (bool, error) {
	if m.qmp != nil {
		if running, err := m.running(ctx); err == nil {
			return running, nil
		}
	}
	if err := m.connect(ctx); err != nil {
		return false, err
	}
	return m.running(ctx)
}

func (m *VM) running(ctx context.Context) (bool, error) {
	var is struct {
		Running bool `json:"running"`
	}
	if err := m.qmp.Do(ctx, "query-status", nil, &is); err != nil {
		m.HangUp()
		m.mu.Lock()
		m.qmp = nil
		m.mu.Unlock()
		return false, err
	}
	return is.Running, nil
}

// Resume implements machine.Monitor.
func (m *VM) Resume(ctx context.Context) error { return m.qmp.Do(ctx, "cont", nil, nil) }

// Pause implements machine.Monitor.
func (m *VM) Pause(ctx context.Context) error { return m.qmp.Do(ctx, "stop", nil, nil) }

// Dial implements machine.Monitor: QEMU has the guest's serial port at a socket, for one connection at a time. The others wait, and so does
// what is sent before the guest has booted.
func (m *VM) Dial(ctx context.Context) (net.Conn, error) {
	for {
		conn, err := untrusted.Dial(ctx, filepath.Join(m.Dir, linkSocket))
		if !errors.Is(err, unix.EAGAIN) { // Too many wait.
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(connectLast):
		}
	}
}

// HangUp implements machine.Monitor.
func (m *VM) HangUp() {
	m.mu.Lock()
	client := m.qmp
	m.mu.Unlock()
	if client != nil {
		_ = client.Close()
	}
}
