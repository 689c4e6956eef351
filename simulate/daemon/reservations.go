package daemon

import (
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/simulate/world"
)

// reservations are the daemon's ledger and what it holds there for each machine.
// Only they change the budget of a machine, so that it can be compared with the
// ledger. They are lost in a crash.
type reservations struct {
	ledger  *capacity.Ledger
	release func(*capacity.Reservation)
	// freed is set when something was given back. The warm pool resets it when it
	// makes use of that.
	freed bool
}

// perLaunch is what is reserved for a sandbox that is being made, perSandbox once
// it is, and perStart to start one that is prepared.
var (
	PerLaunch  = capacity.Sandbox(world.SandboxVCPUs, world.SandboxMemoryMiB, world.SandboxDiskMiB)
	perStart   = capacity.Budget{Launches: 1}
	PerSandbox = PerLaunch.Minus(perStart)
)

// warm reserves for a machine of the pool that is to be launched, if it fits.
func (r *reservations) warm(m *world.Machine) error {
	res, err := r.ledger.ReserveWarm(capacity.WarmEntry{ID: m.ID, Key: capacity.WarmKey(world.Keys[m.Template]), Budget: PerLaunch})
	if err != nil {
		return err
	}
	m.Reservation, m.Budget, m.Warm = res, PerLaunch, true
	return nil
}

// promote makes what is reserved for a machine of the pool active. It fails if the
// machine was asked to yield.
func (r *reservations) promote(m *world.Machine) error {
	if err := m.Reservation.Promote(); err != nil {
		return err
	}
	m.Warm = false
	return nil
}

// admit takes what the queue has reserved for m: for all of it, or for the start of a
// prepared machine, which holds the rest.
func (r *reservations) admit(m *world.Machine) {
	res := m.Ticket.Reservation()
	m.Ticket = nil
	if m.State == world.Creating {
		m.Start, m.Budget = res, m.Budget.Plus(perStart)
		return
	}
	m.Reservation, m.Budget = res, PerLaunch
}

// adopt reserves for a sandbox that an earlier daemon left.
func (r *reservations) adopt(m *world.Machine) {
	m.Reservation, m.Budget = r.ledger.Adopt(PerSandbox), PerSandbox
}

// launched gives back what only a launch needs.
func (r *reservations) launched(m *world.Machine) {
	r.endStart(m)
	m.Reservation.Launched()
	m.Budget.Launches = 0
	r.freed = true
}

func (r *reservations) endStart(m *world.Machine) {
	if m.Start != nil {
		m.Start.Release()
		m.Start = nil
	}
}

// free gives back all that is reserved for m.
func (r *reservations) free(m *world.Machine) {
	r.endStart(m)
	if m.Reservation != nil {
		r.release(m.Reservation)
		r.freed = true
	}
	m.Reservation, m.Budget, m.Warm = nil, capacity.Budget{}, false
}
