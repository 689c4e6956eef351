package capacity

import "errors"

// Reservation is a claim on a ledger. It has one owner, which ends it with
// Release; all methods are safe for concurrent use and at any time.
type Reservation struct {
	ledger *Ledger
	id     string  // of a warm entry
	key    WarmKey // of a warm entry

	// The rest belongs to the ledger's lock.
	budget Budget // what the ledger counts for it
	state  state
	order  uint64 // among the warm entries of a key
}

type state int

const (
	active   state = iota + 1
	warm           // may be promoted, or asked to yield
	yielding       // warm, and asked to yield: can only be released
	released
)

// ErrYielding: the warm entry was asked to yield to active work, so that
// it cannot be handed out. Its owner ends it and releases it.
var ErrYielding = errors.New("warm entry is yielding to active work")

// ErrNotWarm: the reservation is active already, or released.
var ErrNotWarm = errors.New("reservation is not warm")

// Promote makes a warm reservation an active one in one step: what is used in
// total stays the same, so no other request can slip in between. It fails with
// ErrYielding or ErrNotWarm and changes nothing then.
func (r *Reservation) Promote() error {
	l := r.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.state {
	case warm:
	case yielding:
		return ErrYielding
	default:
		return ErrNotWarm
	}
	l.remove(r)
	l.warm = l.warm.Minus(r.budget)
	l.active = l.active.Plus(r.budget)
	r.state = active
	return nil
}

// Yielding reports whether this is a warm reservation that was asked to
// yield. An owner asks once it has entered the reservation in its books, and
// again when its launch is done: OnYield may come before either.
func (r *Reservation) Yielding() bool {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.state == yielding
}

// Launched says that the machine exists: it gives back Budget.Launches and
// keeps the rest. It reports whether this call gave anything back; only the
// first can.
func (r *Reservation) Launched() bool {
	l := r.ledger
	l.mu.Lock()
	defer l.unlock()
	part := Budget{Launches: r.budget.Launches}
	r.giveBack(part)
	return part.Launches > 0
}

// Release gives all of the claim back and reports whether this call did it.
// Only the first call has an effect.
func (r *Reservation) Release() bool {
	l := r.ledger
	l.mu.Lock()
	defer l.unlock()
	return r.release()
}

// release is Release under the ledger's lock.
func (r *Reservation) release() bool {
	if r.state == released {
		return false
	}
	if r.state != active {
		r.ledger.remove(r)
	}
	r.giveBack(r.budget)
	r.state = released
	return true
}

func (r *Reservation) giveBack(part Budget) {
	r.budget = r.budget.Minus(part)
	if r.state == active {
		r.ledger.active = r.ledger.active.Minus(part)
	} else {
		r.ledger.warm = r.ledger.warm.Minus(part)
	}
}
