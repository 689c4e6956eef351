//go:build linux

// Package machine is one virtual machine: what the driver and the monitor know of it, and how its guest boots, is frozen, saved and let go on, with any
// monitor. It knows no ids, states or records. It may import vm, vm/microvm and internal; drivers import it.
package machine

import (
	"context"
	"net"
	"sync"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// Monitor is the process of a program that runs one virtual machine. Its methods are for one caller at a time, but for HangUp, which may be called at
// any time and more than once. Each returns soon after its context has ended. The process runs the guest's code: what it answers and what it
// leaves in its directory is not trusted.
type Monitor interface {
	// Launch starts the process, as the user UID and in the group Group, whose guest stands still. It sets Process as soon as there is one, also if
	// it fails later, and Network if the machine has a network namespace. boot is called for a machine that is not Restored.
	Launch(ctx context.Context, boot BootFiles) error
	// Load returns when a Restored machine has the memory, and the state of processors and devices, of its snapshot: vm.ErrIncompatible.
	Load(ctx context.Context) error
	// Resume lets the guest's processors run, and Pause stops them. Both succeed if they do so already.
	Resume(ctx context.Context) error
	Pause(ctx context.Context) error
	// Running reports whether the guest's processors run. It connects to the process if that is needed: after a request that was broken off, and
	// to that of a machine that an earlier driver launched.
	Running(ctx context.Context) (bool, error)
	// Save writes the state of processors and devices, and the memory, into a directory, as snapshots.StateFile and snapshots.MemoryFile. The
	// processors stand still.
	Save(ctx context.Context, dir string) error
	// Dial connects to the first process of the guest, whose processors run, for calls of package link. It waits for a guest that boots.
	Dial(ctx context.Context) (net.Conn, error)
	// HangUp ends the connections to the process; requests that wait fail.
	HangUp()
}

// BootFiles returns the kernel, and the path of the first files, of a guest that boots.
type BootFiles func() (k kernel.Kernel, initramfs string, err error)

// State is what the driver and the monitor of a machine share. It is read and changed by the holder of the machine's turn only.
type State struct {
	// Spec is what the machine is; that of a restored one is the spec of its snapshot, with the new network and name.
	Spec vm.Spec
	// UID is the user and the group of its process; no other machine of the driver has it.
	UID int
	// Group is its control group; nil on a host without.
	Group   *cgroups.Group
	Process *process.Process
	// Version is that of its monitor: one that an earlier driver launched can be of another version than those of today.
	Version string
	// Restored: it has the memory of a snapshot.
	Restored bool
	// Network is what the guest's card has to be; nil without one.
	Network *link.Network
	// Dir has its sockets and its console, and is all that the process sees of the host; it is the user's. Disks is the host's: it has the disk, and the
	// files of the snapshot from which the machine was restored. They are removed after the end of the process, with all that is in them.
	Dir, Disks string
}

// ConsoleFile is the pipe in State.Dir to which the monitor writes what the guest does.
const ConsoleFile = "console.out"

// VM is a virtual machine. Its methods are for one caller at a time, but for HangUp and Exit.
type VM struct {
	State

	Monitor Monitor
	// SetUID are absolute paths of files in the guest that become set-uid.
	SetUID []string
	// Cold: its programs have not been started. A machine of a snapshot without memory has a disk, and is cold.
	Cold bool
	// Frozen: its programs are known to be frozen, as they are in a snapshot.
	Frozen bool
	// Unsure: what the guest does is not known, after a call that failed half-way.
	Unsure bool

	mu   sync.Mutex
	link *link.Client
	exit string // what the guest has said of its end
}

// Exit is what the guest has said of the end of its first program; empty if nothing.
func (m *VM) Exit() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exit
}

// HangUp ends the connections to the monitor and to the guest.
func (m *VM) HangUp() {
	m.Monitor.HangUp()
	m.mu.Lock()
	client := m.link
	m.link = nil
	m.mu.Unlock()
	if client != nil {
		_ = client.Close()
	}
}
