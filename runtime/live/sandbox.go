package live

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Sandbox is a sandbox that is not killed: its row, and the state that a runtime keeps
// beside it. Safe for concurrent use, except for the fields that say otherwise.
type Sandbox struct {
	ID string
	// Elsewhere is why nothing may be done with the sandbox, or nil: its row is of
	// another node or driver. It is set before the sandbox is known.
	Elsewhere error
	// Place is set when the sandbox becomes known, and constant then.
	Place *admission.Place
	// Life serialises lifecycle calls; it is held across driver calls.
	Life *Lock
	// Reservation is set before the machine is made and given back after it is
	// gone. Guarded by Life.
	Reservation *capacity.Reservation
	// Moves reports changes of the state and the freshness, and Syncs has the sync of the checkout.
	Moves Moves
	Syncs Syncs
	// Written is what was written last of the row.
	Written Record

	// traffic is when bytes went into or out of it last, in nanoseconds since 1970.
	traffic atomic.Int64

	mu    sync.Mutex // guards what follows; never held across a call
	row   store.Sandbox
	timer *time.Timer // fires at row.EndAt; nil when not armed
	// restored is when the restore began; zero once its first output was seen.
	restored time.Time
	// run counts the machines that the sandbox had.
	run int
	// roster has the sandbox, at a place; nil if none has it.
	roster *Roster
	at     *sandbox.Cursor
	// doom is why the sandbox ends, whatever its state; see Condemn.
	doom string
	// insisting: a kill that could not be done at once goes on in the background.
	insisting bool
	// retried: its end is retried in the background; see FirstRetry.
	retried bool
	// operations cancel the calls in progress; see Begin.
	operations map[*operation]struct{}
	// resuming is the resume under way, or nil.
	resuming *Flight
	// backoff delays a resume by traffic after one that failed.
	backoff backoff
	// recovering is why clients cannot have the sandbox yet, and recovered is
	// closed when they can; see SetRecovering.
	recovering string
	recovered  chan struct{}
	// pauses counts the pauses that were finished.
	pauses int
	// forgetting: a resume leaves the memory out; see SetForgetting.
	forgetting bool
}

// New returns a sandbox with a row, which no set has yet.
func New(row store.Sandbox) *Sandbox {
	sb := &Sandbox{ID: row.ID, Life: newLock(), row: row, operations: map[*operation]struct{}{}}
	sb.Written.Note(row)
	return sb
}

// Row returns a copy of the row.
func (sb *Sandbox) Row() store.Sandbox {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	row := sb.row
	row.Metadata = maps.Clone(row.Metadata)
	return row
}

// Update changes the row and returns the new one.
func (sb *Sandbox) Update(change func(*store.Sandbox)) store.Sandbox {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	state, freshness := sb.row.State, sb.row.Freshness
	change(&sb.row)
	if state != sb.row.State || freshness != sb.row.Freshness {
		sb.Moves.announce()
	}
	sb.updateRoster()
	return sb.row
}

// SetVersion notes the version that a write gave the row.
func (sb *Sandbox) SetVersion(version int64) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.row.Version = version
}

// State is the state that others see. A condemned sandbox is being killed, even
// while the call that a kill breaks off still has it.
func (sb *Sandbox) State() sandbox.State {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.stateLocked()
}

// stateLocked is State for a caller that has sb.mu.
func (sb *Sandbox) stateLocked() sandbox.State {
	if sb.doom != "" && sb.row.State != sandbox.StateKilled {
		return sandbox.StateKilling
	}
	return sb.row.State
}

// Recorded is the state of the row.
func (sb *Sandbox) Recorded() sandbox.State {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.row.State
}

// Arm sets the timer for the timeout, but not before the pause has passed.
func (sb *Sandbox) Arm(pause time.Duration, expire func()) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.timer != nil {
		sb.timer.Stop()
	}
	sb.timer = time.AfterFunc(max(pause, time.Until(sb.row.EndAt)), expire)
}

// Disarm stops the timer.
func (sb *Sandbox) Disarm() {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.timer != nil {
		sb.timer.Stop()
		sb.timer = nil
	}
}

// Pauses is how many pauses of the sandbox were finished.
func (sb *Sandbox) Pauses() int {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.pauses
}

// CountPause counts a pause that was finished.
func (sb *Sandbox) CountPause() {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.pauses++
}

// SetForgetting says whether a resume that begins now is to leave the memory out.
func (sb *Sandbox) SetForgetting(forget bool) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.forgetting = forget
}

// Forgetting returns the value that SetForgetting set.
func (sb *Sandbox) Forgetting() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.forgetting
}
