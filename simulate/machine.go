package simulate

import (
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// state is where a machine, or the request for one, is.
type state uint8

const (
	asking    state = iota // waits in the queue, to be created or resumed
	launching              // being restored for the pool
	prepared               // in the pool
	raising                // being started for the pool
	ready                  // in the pool
	creating               // being restored or started for a tenant
	running
	pausing
	suspended // paused: only its disk is left
	resuming
	killing
	gone
)

// transitional states have a deadline.
func (s state) transitional() bool {
	switch s {
	case prepared, ready, running, suspended, gone:
		return false
	}
	return true
}

// machine is a sandbox, a warm entry, or a request that has no machine yet. It
// is what the driver, the store and the tenant know together, so it survives a
// crash of the daemon; what only the daemon knows does not.
type machine struct {
	id       string
	number   uint64
	index    int // in host.machines, or -1
	tenant   int
	template int
	state    state
	version  int // counts changes of state: events of an earlier one are void
	since    time.Duration
	// deadline is when a transitional state must have been left.
	deadline time.Duration

	// memory and disk are what it really uses of the host.
	memory, disk int64
	// busy is set while it keeps a processor busy.
	busy bool
	// life is how long it will still run; asked when it was asked for.
	life    time.Duration
	asked   time.Duration
	resumes bool // it waits to be resumed, not created
	pauses  bool // it will be paused by its owner once
	tries   int
	turn    uint64 // among the requests of its tenant
	// owned is set once a tenant has it: then no other may get it.
	owned bool
	// row is set once the store has a row about it. A machine of the pool has none,
	// not even when it was handed out, until it runs for its tenant.
	row bool
	// saved: it is pausing, and all of it is in its snapshot.
	saved bool
	// harm is what the last crash did to it.
	harm harm
	// ends is when its timeout passes; zero if it does not run.
	ends time.Duration

	held
}

// admitted reports whether the queue has let m in.
func (m *machine) admitted() bool {
	select {
	case <-m.ticket.Admitted():
		return true
	default:
		return false
	}
}

// held is what the daemon holds for a machine. It is lost in a crash.
type held struct {
	ticket      *capacity.Ticket
	reservation *capacity.Reservation
	start       *capacity.Reservation // to start a prepared machine
	flight      *warmpool.Flight
	// budget and warm are what the ledger should hold for it.
	budget capacity.Budget
	warm   bool
}

// Version counts the changes of state.
func (m *machine) Version() int { return m.version }

const mib = 1 << 20

// The class of machine that is simulated, and what sandboxes are given on it: a
// test of the daemon compares that with what runtime gives.
const (
	processors  = 2
	memoryTotal = 16 << 30
	memoryHost  = 1 << 30
	diskTotal   = 200 << 30
	diskHost    = 60 << 30

	SandboxVCPUs     = 2
	SandboxMemoryMiB = 512
	SandboxDiskMiB   = 1024
)

// What things cost on this class of machine. Times are of one free processor.
const (
	costRestore = 60 * time.Millisecond
	costStart   = 25 * time.Millisecond
	costPause   = 200 * time.Millisecond
	costResume  = 80 * time.Millisecond
	costKill    = 30 * time.Millisecond

	memoryPrepared = 20 * mib
	memoryReady    = 60 * mib
	memoryMost     = SandboxMemoryMiB * mib
	diskFresh      = 16 * mib

	// transitionTime is the deadline of every transitional state.
	transitionTime = time.Minute
	hangTime       = 30 * time.Second // when the owner gives a launch up
	maxWait        = capacity.DefaultMaxWait
	maxLife        = time.Hour
)
