package capacity

import "fmt"

// DefaultMaxPending is how many may wait in a queue by default.
// The reference system has 64; a burst of 100 should not fail while three other
// tenants do the same, each of whom may have a fifth of the places then.
const DefaultMaxPending = 512

// QueueConfig is the policy of a queue.
type QueueConfig struct {
	// MaxPending is the most that wait at a time; 0 means DefaultMaxPending, and
	// a negative number that none may wait. A tenant may have as many places as it leaves
	// free: one alone half of them, two a third each. So no number of them that is
	// less than MaxPending leaves another without a place.
	MaxPending int
	// OnYield is called for each warm entry that must go, once, in order of
	// eviction, by the goroutine whose call made it necessary and without any
	// lock held. It may call back. The owner of the entry then ends it and
	// releases its reservation: until then active work waits. It can come before
	// ReserveWarm has returned to the owner; see Reservation.Yielding. Nil means
	// that warm entries never yield.
	OnYield func(id string)
}

// Queue admits active work to a ledger, fairly: first come, first served for
// each tenant, and the tenants take turns. The next in line is never overtaken:
// not by a smaller request behind it, and not by a new one. A Queue is safe for
// concurrent use and has no goroutine: a release serves the next request.
type Queue struct {
	ledger     *Ledger
	maxPending int
	onYield    func(id string)

	// The rest belongs to the ledger's lock.
	line   line
	refuse string
	asked  uint64 // tickets ever
	stats  Stats
}

// NewQueue puts a queue before ledger. A ledger has one queue: a second one
// would break the order of the first, so it panics.
func NewQueue(ledger *Ledger, cfg QueueConfig) *Queue {
	q := &Queue{ledger: ledger, maxPending: cfg.MaxPending, onYield: cfg.OnYield}
	if q.maxPending == 0 {
		q.maxPending = DefaultMaxPending
	}
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	if ledger.queue != nil {
		panic("capacity: the ledger has a queue already")
	}
	ledger.queue = q
	return q
}

// FullError: as many wait as may. Trying again later can help.
type FullError struct {
	// MaxPending is the size of the queue, or with PerTenant what is left of it.
	MaxPending int
	// Pending is how many wait, or with PerTenant how many of the asking tenant.
	Pending int
	// PerTenant is set when there are free places, and the asking tenant has at
	// least as many already.
	PerTenant bool
}

func (e *FullError) Error() string {
	if e.PerTenant {
		return fmt.Sprintf("%d of your requests wait for capacity already, and %d places are left for others", e.Pending, e.MaxPending)
	}
	return fmt.Sprintf("%d requests wait for capacity already, at most %d may", e.Pending, e.MaxPending)
}

// RefusedError: no new work is taken at present. Trying again later can help.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "no new work is taken: " + e.Reason }

// Ask asks for b on behalf of a tenant. The ticket is admitted already, or
// waits. What can never fit fails with *Error (Never is set), what may not wait
// with *RefusedError or *FullError, and negative amounts with ErrNegative. The
// caller owns the ticket and must end it: see Ticket.
func (q *Queue) Ask(tenant string, b Budget) (*Ticket, error) {
	l := q.ledger
	l.mu.Lock()
	defer l.unlock() // Its pump admits the ticket if it can be.
	if err := fit(l.capacity, Budget{}, b); err != nil {
		q.stats.Oversized++
		return nil, err
	}
	if q.refuse != "" {
		q.stats.Refused++
		return nil, &RefusedError{Reason: q.refuse}
	}
	if q.line.count > 0 || fit(l.capacity, l.used(), b) != nil {
		if err := q.room(tenant); err != nil {
			q.stats.Full++
			return nil, err
		}
	}
	q.asked++
	t := &Ticket{queue: q, tenant: tenant, budget: b, admitted: make(chan struct{}), arrival: q.asked}
	q.line.push(t)
	return t, nil
}

// room returns nil if one more of the tenant may wait.
func (q *Queue) room(tenant string) error {
	most := max(q.maxPending, 0)
	free := most - q.line.count
	if free <= 0 {
		return &FullError{MaxPending: most, Pending: q.line.count}
	}
	if mine := len(q.line.waiting[tenant]); mine >= free {
		return &FullError{MaxPending: free, Pending: mine, PerTenant: true}
	}
	return nil
}

// SetRefuse makes every Ask from now on fail with the reason, until it is set
// to "". Waiting requests keep waiting, and are admitted in turn.
func (q *Queue) SetRefuse(reason string) {
	q.ledger.mu.Lock()
	defer q.ledger.mu.Unlock()
	q.refuse = reason
}

// pump admits all whose turn has come, and returns the IDs of the warm entries
// that must yield to the next in line. The ledger's lock is held.
func (q *Queue) pump() (yield []string) {
	l := q.ledger
	for t := q.line.next(); t != nil; t = q.line.next() {
		if fit(l.capacity, l.used(), t.budget) != nil {
			return q.evict(t.budget)
		}
		q.line.serve()
		q.stats.Admitted++
		t.turn = q.stats.Admitted
		t.reservation = l.activate(t.budget)
		close(t.admitted)
	}
	return nil
}

func (q *Queue) evict(want Budget) (yield []string) {
	if q.onYield == nil {
		return nil
	}
	evict, err := q.ledger.plan(want)
	if err != nil {
		return nil // It waits for active work to end: an eviction would not help.
	}
	for _, r := range evict {
		r.state = yielding
		yield = append(yield, r.id)
	}
	q.stats.Yielded += uint64(len(yield))
	return yield
}
