//go:build linux

package machine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// The times that a guest has: to boot, to go on, and to stop its programs. Emulated processors are slow, and shared. askTime is for a question
// to the monitor.
const (
	bootTime   = 2 * time.Minute
	wakeTime   = 20 * time.Second
	freezeTime = 3 * time.Second
	askTime    = 20 * time.Second
)

// Run lets the guest run: it boots, or goes on. Its processors run first; its programs do so when it has the clock, entropy, name and network
// of this machine.
func (m *VM) Run(ctx context.Context) error {
	m.Frozen = false
	if err := ask(ctx, m.Monitor.Resume); err != nil {
		return err
	}
	if m.Cold { // It takes its time until it listens, and the clock that it gets must not be of before. It refuses a call that asks for nothing.
		if err := m.call(ctx, bootTime, link.Call{}); err != nil && !errors.As(err, new(link.RefusedError)) {
			return err
		}
	}
	wake := link.Wake{Time: time.Now(), Seed: make([]byte, 64), Hostname: m.Spec.Hostname, Network: m.Network}
	rand.Read(wake.Seed)
	call, limit := link.Call{Wake: &wake}, wakeTime
	if m.Cold {
		call, limit = link.Call{Boot: &link.Boot{Wake: wake, Args: m.Spec.Args, Env: m.Spec.Env, Cwd: m.Spec.Cwd, MaxProcesses: m.Spec.MaxProcesses,
			ReadOnly: m.Spec.RootfsReadOnly, SetUID: m.SetUID}}, bootTime
	}
	if err := m.call(ctx, limit, call); err != nil {
		return err
	}
	m.Cold = false
	return nil
}

// Halt freezes the guest's programs, so that none of them runs before the guest is what it has to be again, and stops its processors. A guest that
// does not freeze them is stopped all the same.
func (m *VM) Halt() error {
	freeze := m.call(context.Background(), freezeTime, link.Call{Freeze: true})
	m.Frozen = freeze == nil
	return ask(context.Background(), m.Monitor.Pause)
}

// ask makes a request of the monitor.
func ask(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return request(ctx)
}

// patience is how long a connection to the guest may be without an answer until another one is made. It doubles with each.
const patience = time.Second

// endPause is the pause after a new connection that has ended without an answer.
const endPause = 5 * time.Millisecond

// call asks the guest. A connection that is kept may have ended meanwhile, and one can be of no use without an end: QEMU 7.2 was seen to pass
// nothing on from a guest that had written in the moment in which the connection before ended. Then another one is made. The guest does a call once.
func (m *VM) call(ctx context.Context, limit time.Duration, call link.Call) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	call.Nonce = rand.Text()
	for wait := patience; ; {
		client, kept, err := m.dial(ctx)
		if err != nil {
			return fmt.Errorf("%w: link to the guest: %w", vm.ErrUnavailable, err)
		}
		once, cancel := context.WithTimeout(ctx, wait)
		err = client.Call(once, call)
		silent := once.Err() != nil
		cancel()
		if err == nil || errors.As(err, new(link.RefusedError)) {
			return err
		}
		if ctx.Err() == nil {
			m.mu.Lock()
			m.link = nil
			m.mu.Unlock()
			_ = client.Close()
			if silent {
				wait *= 2
			}
			if kept || silent {
				continue
			}
			// A guest that was restored ends its connections when it sees that, and can take a new one for one of those.
			var ended <-chan struct{}
			if m.Process != nil {
				ended = m.Process.Ended
			}
			select {
			case <-time.After(endPause):
				continue
			case <-ended:
			case <-ctx.Done():
			}
		}
		return fmt.Errorf("%w: %w", vm.ErrUnavailable, err)
	}
}

// dial returns the connection to the guest, which is kept from an earlier call or made now.
func (m *VM) dial(ctx context.Context) (client *link.Client, kept bool, err error) {
	m.mu.Lock()
	client = m.link
	m.mu.Unlock()
	if client != nil {
		return client, true, nil
	}
	conn, err := m.Monitor.Dial(ctx)
	if err != nil {
		return nil, false, err
	}
	client = link.NewClient(conn, func(exit string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.exit = exit
	})
	m.mu.Lock()
	m.link = client
	m.mu.Unlock()
	return client, false, nil
}
