package simulate

import "github.com/rundlet/rundlet/policy/capacity"

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
	perLaunch  = capacity.Sandbox(SandboxVCPUs, SandboxMemoryMiB, SandboxDiskMiB)
	perStart   = capacity.Budget{Launches: 1}
	perSandbox = perLaunch.Minus(perStart)
)

// warm reserves for a machine of the pool that is to be launched, if it fits.
func (r *reservations) warm(m *machine) error {
	res, err := r.ledger.ReserveWarm(capacity.WarmEntry{ID: m.id, Key: capacity.WarmKey(keys[m.template]), Budget: perLaunch})
	if err != nil {
		return err
	}
	m.reservation, m.budget, m.warm = res, perLaunch, true
	return nil
}

// promote makes what is reserved for a machine of the pool active. It fails if the
// machine was asked to yield.
func (r *reservations) promote(m *machine) error {
	if err := m.reservation.Promote(); err != nil {
		return err
	}
	m.warm = false
	return nil
}

// admit takes what the queue has reserved for m: for all of it, or for the start of a
// prepared machine, which holds the rest.
func (r *reservations) admit(m *machine) {
	res := m.ticket.Reservation()
	m.ticket = nil
	if m.state == creating {
		m.start, m.budget = res, m.budget.Plus(perStart)
		return
	}
	m.reservation, m.budget = res, perLaunch
}

// adopt reserves for a sandbox that an earlier daemon left.
func (r *reservations) adopt(m *machine) {
	m.reservation, m.budget = r.ledger.Adopt(perSandbox), perSandbox
}

// launched gives back what only a launch needs.
func (r *reservations) launched(m *machine) {
	r.endStart(m)
	m.reservation.Launched()
	m.budget.Launches = 0
	r.freed = true
}

func (r *reservations) endStart(m *machine) {
	if m.start != nil {
		m.start.Release()
		m.start = nil
	}
}

// free gives back all that is reserved for m.
func (r *reservations) free(m *machine) {
	r.endStart(m)
	if m.reservation != nil {
		r.release(m.reservation)
		r.freed = true
	}
	m.reservation, m.budget, m.warm = nil, capacity.Budget{}, false
}
