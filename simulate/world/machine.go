package world

import (
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// State is where a machine, or the request for one, is.
type State uint8

// Only Host.Enter changes the state of a machine.
const (
	Asking    State = iota // waits in the queue, to be created or resumed
	Launching              // being restored for the pool
	Prepared               // in the pool
	Raising                // being started for the pool
	Ready                  // in the pool
	Creating               // being restored or started for a tenant
	Running
	Pausing
	Suspended // paused: only its disk is left
	Resuming
	Killing
	Gone
)

// Transitional reports whether a machine may be in the state for some time only.
func (s State) Transitional() bool {
	switch s {
	case Prepared, Ready, Running, Suspended, Gone:
		return false
	}
	return true
}

// Machine is a sandbox, a warm entry, or a request that has no machine yet. It
// is what the driver, the store and the tenant know together, so it survives a
// crash of the daemon; what only the daemon knows does not.
type Machine struct {
	ID       string
	Number   uint64 // of which ID is the text
	Tenant   int    // -1 if it belongs to the pool
	Template int
	State    State
	Since    time.Duration // when it entered State
	// Deadline is when a transitional state must have been left.
	Deadline time.Duration
	version  int // counts changes of state: events of an earlier one are void
	index    int // in Host.Machines, or -1

	// Memory and Disk are the bytes that it really uses of the host.
	Memory, Disk int64
	// Busy is set while it keeps a processor busy.
	Busy bool
	// Life is how long it will still run; Asked is when it was asked for.
	Life    time.Duration
	Asked   time.Duration
	Resumes bool   // it waits to be resumed, not created
	Pauses  bool   // it will be paused by its owner once
	Tries   int    // to kill it, that failed
	Turn    uint64 // among the requests of its tenant
	// Owned is set once a tenant has it: then no other may get it.
	Owned bool
	// Row is set once the store has a row about it. A machine of the pool has none,
	// not even when it was handed out, until it runs for its tenant.
	Row bool
	// Saved: it is pausing, and all of it is in its snapshot.
	Saved bool
	// Harm is what the last crash did to it.
	Harm Harm
	// Ends is when its timeout passes; zero if it does not run.
	Ends time.Duration

	Held
}

// Admitted reports whether the queue has let m in. It must have a ticket.
func (m *Machine) Admitted() bool {
	select {
	case <-m.Ticket.Admitted():
		return true
	default:
		return false
	}
}

// Held is what the daemon holds for a machine. It is lost in a crash.
type Held struct {
	Ticket      *capacity.Ticket
	Reservation *capacity.Reservation
	Start       *capacity.Reservation // to start a prepared machine
	Flight      *warmpool.Flight
	// Budget and Warm are what the ledger should hold for it.
	Budget capacity.Budget
	Warm   bool
}

// Version counts the changes of state, for the timeline.
func (m *Machine) Version() int { return m.version }

// MiB is a mebibyte.
const MiB = 1 << 20

// The class of machine that is simulated, and what sandboxes are given on it: a
// test of the daemon compares that with what runtime gives.
const (
	Processors  = 2
	MemoryTotal = 16 << 30
	memoryHost  = 1 << 30
	DiskTotal   = 200 << 30
	diskHost    = 60 << 30

	SandboxVCPUs     = 2
	SandboxMemoryMiB = 512
	SandboxDiskMiB   = 1024
)

// transitionTime is the deadline of every transitional state.
const transitionTime = time.Minute

// MaxWait is how long a request waits in the queue.
const MaxWait = capacity.DefaultMaxWait
