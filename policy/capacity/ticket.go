package capacity

// Ticket is a place in a queue, and then a reservation that is not taken
// yet. Its owner ends it in one of two ways: Reservation after the admission,
// which hands the claim over, or Cancel. Cancel after Reservation does nothing,
// so "defer ticket.Cancel()" is right on every path:
//
//	ticket, err := queue.Ask(tenant, budget)
//	if err != nil { ... }
//	defer ticket.Cancel()
//	select {
//	case <-ticket.Admitted():
//	case <-ctx.Done():
//		return ctx.Err() // An admission at this very moment is given back.
//	}
//	reservation := ticket.Reservation()
//
// All methods are safe for concurrent use.
type Ticket struct {
	queue    *Queue
	tenant   string
	budget   Budget
	admitted chan struct{}
	arrival  uint64

	// The rest belongs to the ledger's lock.
	reservation *Reservation // nil until the admission, and after Cancel
	taken       bool
	turn        uint64
}

// Admitted is closed on admission. It stays open if the ticket is cancelled
// before that.
func (t *Ticket) Admitted() <-chan struct{} { return t.admitted }

// Position is the place in the order of service, from 1, if no request came or left
// from now on; a tenant that comes in may take its turns in between. It is 0 for
// a ticket that does not wait.
func (t *Ticket) Position() int {
	t.queue.ledger.mu.Lock()
	defer t.queue.ledger.mu.Unlock()
	return t.queue.line.position(t)
}

// Order is where the ticket stands among all that the queue ever gave: arrival in
// the order of Ask, and turn in the order of admission; both from 1, and turn is
// 0 before it. Within a tenant, earlier arrivals have earlier turns.
func (t *Ticket) Order() (arrival, turn uint64) {
	t.queue.ledger.mu.Lock()
	defer t.queue.ledger.mu.Unlock()
	return t.arrival, t.turn
}

// Reservation takes the claim of an admitted ticket: the caller owns it from
// now on, and gets the same one from a second call. It is nil for a ticket that
// waits or was cancelled.
func (t *Ticket) Reservation() *Reservation {
	t.queue.ledger.mu.Lock()
	defer t.queue.ledger.mu.Unlock()
	t.taken = t.taken || t.reservation != nil
	return t.reservation
}

// Cancel leaves the queue, or releases what was admitted and not taken. Only
// the first call has an effect, and none after Reservation returned the claim.
// Admission, Reservation and Cancel exclude each other, so whichever comes
// first decides and nothing is held twice or forgotten.
func (t *Ticket) Cancel() {
	q := t.queue
	q.ledger.mu.Lock()
	defer q.ledger.unlock()
	switch {
	case q.line.leave(t):
		q.stats.Cancelled++
	case t.reservation != nil && !t.taken:
		t.reservation.release()
		t.reservation = nil
		q.stats.Cancelled++
	}
}

// Stats are the figures of a queue since it was made, but for what is pending.
type Stats struct {
	Pending         int
	PendingByTenant map[string]int // only waiting requests
	Admitted        uint64         // at once and after a wait
	Cancelled       uint64         // left before admission, or without taking it
	// The refusals by kind: *Error or ErrNegative, *FullError, *RefusedError.
	Oversized uint64
	Full      uint64
	Refused   uint64
	Yielded   uint64 // warm entries asked to yield
}

// Stats returns a copy of the figures.
func (q *Queue) Stats() Stats {
	q.ledger.mu.Lock()
	defer q.ledger.mu.Unlock()
	s := q.stats
	s.Pending = q.line.count
	s.PendingByTenant = make(map[string]int, len(q.line.waiting))
	for tenant, tickets := range q.line.waiting {
		s.PendingByTenant[tenant] = len(tickets)
	}
	return s
}
