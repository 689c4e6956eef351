//go:build linux

// Package monitor is one process of Firecracker in its jail: how it is launched, asked, saved and left. It may import vm, vm/microvm,
// vm/firecracker/api and internal.
package monitor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/untrusted"
)

// Programs are the paths of Firecracker and its jailer, and the version of both.
type Programs struct {
	Firecracker, Jailer string
	Version             api.Version
}

// VM is a process of Firecracker. It implements machine.Monitor.
type VM struct {
	*machine.State

	programs Programs
	// client is nil until the process has answered.
	client *api.Client

	mu     sync.Mutex
	hungUp chan struct{} // Closed by HangUp, which makes another one.
}

// New returns the monitor of a machine: what programs start, or what an earlier process of this driver has started.
func New(programs Programs, m *machine.State) *VM {
	return &VM{State: m, programs: programs, hungUp: make(chan struct{})}
}

// answerTime is for requests that change little. The first answer of a process, and a start of a guest, can take as long on a busy host.
const answerTime = 20 * time.Second

// bounded returns a context that ends with ctx, after a time and with HangUp.
func (m *VM) bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	m.mu.Lock()
	hungUp := m.hungUp
	m.mu.Unlock()
	go func() {
		select {
		case <-hungUp:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// HangUp implements machine.Monitor.
func (m *VM) HangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.hungUp)
	m.hungUp = make(chan struct{})
}

// connect waits until the process answers.
func (m *VM) connect(ctx context.Context) error {
	socket := filepath.Join(m.jail(), apiSocket)
	for pause := pauseFirst; ; pause = min(2*pause, pauseLast) {
		client, err := api.Open(ctx, func(ctx context.Context) (net.Conn, error) { return untrusted.Dial(ctx, socket) })
		if err == nil {
			m.client = client
			return nil
		}
		select {
		case <-m.Process.Ended:
			return fmt.Errorf("firecracker: %s: %s", m.Process.Reason, m.Complaint())
		case <-ctx.Done():
			return fmt.Errorf("firecracker does not answer: %w", errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
	}
}

// The pauses between attempts to connect.
const pauseFirst, pauseLast = time.Millisecond, 20 * time.Millisecond

// state asks the process what the machine does.
func (m *VM) state(ctx context.Context) (api.State, error) {
	if m.client == nil {
		if err := m.connect(ctx); err != nil {
			return "", err
		}
	}
	return m.client.State(ctx)
}

// Running implements machine.Monitor.
func (m *VM) Running(ctx context.Context) (bool, error) {
	ctx, cancel := m.bounded(ctx, answerTime)
	defer cancel()
	state, err := m.state(ctx)
	return state == api.Running, err
}

// Resume implements machine.Monitor. A machine that has not run boots.
func (m *VM) Resume(ctx context.Context) error {
	ctx, cancel := m.bounded(ctx, answerTime)
	defer cancel()
	state, err := m.state(ctx)
	if err != nil {
		return err
	}
	switch state {
	case api.NotStarted:
		return m.client.Start(ctx)
	case api.Running:
		return nil
	default:
		return m.client.Resume(ctx)
	}
}

// Pause implements machine.Monitor.
func (m *VM) Pause(ctx context.Context) error {
	ctx, cancel := m.bounded(ctx, answerTime)
	defer cancel()
	state, err := m.state(ctx)
	if err != nil || state != api.Running {
		return err
	}
	return m.client.Pause(ctx)
}

// dialFirst is how long the process may take to connect to the guest until another connection is tried. It doubles with each.
const dialFirst = time.Second

// Dial implements machine.Monitor. The process accepts each connection, and ends it if nothing listens in the guest: while that boots, it is
// tried again. So it is if the process says nothing: what it has asked the guest can be lost when that is restored.
func (m *VM) Dial(ctx context.Context) (net.Conn, error) {
	wait := dialFirst
	for pause := pauseFirst; ; pause = min(2*pause, pauseLast) {
		once, cancel := context.WithTimeout(ctx, wait)
		conn, err := m.dialGuest(once)
		silent := once.Err() != nil
		cancel()
		if err == nil {
			return conn, nil
		}
		if silent {
			wait *= 2
		}
		select {
		case <-m.Process.Ended:
			return nil, fmt.Errorf("firecracker: %s", m.Process.Reason)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// maxGreeting bounds the answer to a connection, in bytes.
const maxGreeting = 64

func (m *VM) dialGuest(ctx context.Context) (_ net.Conn, err error) {
	conn, err := untrusted.Dial(ctx, filepath.Join(m.jail(), guestSocket))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			conn.Close()
		}
	}()
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", link.VsockPort); err != nil {
		return nil, err
	}
	// Nothing follows the line: the guest says nothing before it is asked, but what has no nonce, and that is repeated.
	line, err := bufio.NewReaderSize(conn, maxGreeting).ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	if !strings.HasPrefix(string(line), "OK ") {
		return nil, fmt.Errorf("vsock: %.40q", line)
	}
	return conn, nil
}
