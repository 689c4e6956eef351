//go:build linux

// Package monitor is one process of QEMU: how it is launched, asked, saved and left. It knows no ids, states or records. It may import vm,
// vm/microvm, vm/qemu/spec, vm/qemu/qmp and internal.
package monitor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/copies"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/qemu/qmp"
	"github.com/rundlet/rundlet/vm/qemu/snapshots"
	"github.com/rundlet/rundlet/vm/qemu/spec"
)

// The times that a guest has: to boot, to go on, and to stop its programs. Emulated processors are slow, and shared.
const (
	bootTime   = 60 * time.Second
	wakeTime   = 20 * time.Second
	freezeTime = 3 * time.Second
)

// VM is a virtual machine. Its methods are for one caller at a time, but for HangUp and Exit.
type VM struct {
	Spec vm.Spec
	// UID is the user of its process.
	UID     int
	Group   *cgroups.Group
	Process *process.Process
	// Restored: its memory is a private mapping of the snapshot's.
	Restored bool
	// Network is what the guest's card has to be; nil without one.
	Network *link.Network
	// Cold: its programs have not been started. A machine of a snapshot without memory has a disk, and is cold.
	Cold bool
	// Dir has its sockets, and is all that the process sees of the host; Disks has its disk, and the files of the snapshot from which it was restored.
	Dir, Disks string

	// Frozen: its programs are known to be frozen, as they are in a snapshot.
	Frozen bool

	// Unsure: what the guest does is not known, after a call that failed half-way.
	Unsure bool

	mu   sync.Mutex
	qmp  *qmp.Client
	link *link.Client
	exit string // what the guest has said of its end
}

// Exit is what the guest has said of the end of its first program; empty if nothing.
func (m *VM) Exit() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exit
}

// Running reports whether the guest's processors run. It connects to QEMU if that is needed: after a request that was broken off, too.
func (m *VM) Running(ctx context.Context) (bool, error) {
	if m.qmp != nil {
		if running, err := m.running(ctx); err == nil {
			return running, nil
		}
	}
	if err := m.Connect(ctx); err != nil {
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

// MakeFiles makes the machine's disk, and what it needs of the snapshot: links, since the snapshot may be deleted before.
func (m *VM) MakeFiles(saved string, from *snapshots.Manifest) error {
	dir := m.Disks
	if from == nil {
		if m.Spec.RootfsReadOnly {
			return nil
		}
		return copies.MakeDisk(filepath.Join(dir, diskFile), int64(spec.DiskMiB(m.Spec))<<20)
	}
	if m.Restored {
		for _, name := range []string{ramFile, stateFile} {
			if err := os.Link(filepath.Join(saved, name), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if m.Spec.RootfsReadOnly {
		return nil
	}
	disk, err := os.Open(filepath.Join(saved, diskFile))
	if err != nil {
		return err
	}
	defer disk.Close()
	info, err := disk.Stat()
	if err != nil {
		return err
	}
	return copies.Sparse(disk, filepath.Join(dir, diskFile), info.Size())
}

// Run lets the guest run: it boots, or goes on.
func (m *VM) Run(ctx context.Context, setUID []string) error {
	m.Frozen = false
	if err := m.ask(ctx, "cont"); err != nil {
		return err
	}
	wake := link.Wake{Time: time.Now(), Seed: make([]byte, 64), Hostname: m.Spec.Hostname, Network: m.Network}
	rand.Read(wake.Seed)
	call, limit := link.Call{Wake: &wake}, wakeTime
	if m.Cold {
		call, limit = link.Call{Boot: &link.Boot{Wake: wake, Args: m.Spec.Args, Env: m.Spec.Env, Cwd: m.Spec.Cwd, MaxProcesses: m.Spec.MaxProcesses,
			ReadOnly: m.Spec.RootfsReadOnly, SetUID: setUID}}, bootTime
	}
	if err := m.call(ctx, limit, call); err != nil {
		return err
	}
	m.Cold = false
	return nil
}

// call asks the guest.
func (m *VM) call(ctx context.Context, limit time.Duration, call link.Call) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m.mu.Lock()
	client := m.link
	m.mu.Unlock()
	if client == nil {
		conn, err := dialLink(ctx, filepath.Join(m.Dir, linkSocket))
		if err != nil {
			return fmt.Errorf("%w: link to the guest: %w", vm.ErrUnavailable, err)
		}
		client = link.NewClient(conn, func(exit string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.exit = exit
		})
		m.mu.Lock()
		m.link = client
		m.mu.Unlock()
	}
	err := client.Call(ctx, call)
	if err != nil && !errors.As(err, new(link.RefusedError)) {
		if ctx.Err() == nil { // The connection is of no use any more: the next call makes another one.
			m.mu.Lock()
			m.link = nil
			m.mu.Unlock()
			_ = client.Close()
		}
		return fmt.Errorf("%w: %w", vm.ErrUnavailable, err)
	}
	return err
}

// ask makes a request of QEMU.
func (m *VM) ask(ctx context.Context, command string) error {
	ctx, cancel := context.WithTimeout(ctx, launchTime)
	defer cancel()
	return m.qmp.Do(ctx, command, nil, nil)
}

func (m *VM) Halt() error {
	freeze := m.call(context.Background(), freezeTime, link.Call{Freeze: true})
	m.Frozen = freeze == nil
	return m.ask(context.Background(), "stop")
}

// HangUp ends the connections to QEMU and to the guest.
func (m *VM) HangUp() {
	m.mu.Lock()
	qmp, link := m.qmp, m.link
	m.link = nil
	m.mu.Unlock()
	if qmp != nil {
		_ = qmp.Close()
	}
	if link != nil {
		_ = link.Close()
	}
}
