package capacity

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// Ledger counts what is reserved: active for sandboxes that somebody uses, warm
// for those kept ready. Active work is never evicted; warm entries yield to it.
// A Ledger is safe for concurrent use. It calls out, to QueueConfig.OnYield
// only, without holding its lock.
type Ledger struct {
	mu       sync.Mutex
	capacity Budget // constant
	active   Budget
	warm     Budget
	entries  []*Reservation // what is warm, in order of eviction
	queue    *Queue         // nil if this ledger has no queue
}

// NewLedger returns a ledger with nothing reserved.
func NewLedger(capacity Budget) *Ledger {
	return &Ledger{capacity: capacity.positive()}
}

// ErrWaiting: it would fit, but somebody waits in the queue for what is free.
var ErrWaiting = errors.New("others wait for capacity")

// ErrDuplicate: a warm entry with this ID exists.
var ErrDuplicate = errors.New("warm entry exists")

// ReserveWarm reserves e.Budget now for an entry of a warm pool, or fails with
// *Error, ErrWaiting, ErrNegative or ErrDuplicate and reserves nothing. The caller
// owns the reservation, which holds until its Release. ErrWaiting is what keeps a
// refill from taking what an eviction has just freed for active work.
func (l *Ledger) ReserveWarm(e WarmEntry) (*Reservation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.entries {
		if r.id == e.ID {
			return nil, fmt.Errorf("%w: %q", ErrDuplicate, e.ID)
		}
	}
	if err := l.admissible(e.Budget); err != nil {
		return nil, err
	}
	r := &Reservation{ledger: l, id: e.ID, key: e.Key, budget: e.Budget, state: warm}
	l.warm = l.warm.Plus(e.Budget)
	l.insert(r)
	return r, nil
}

// Adopt reserves b even where it does not fit: for a sandbox that runs already
// when the daemon starts. What runs is counted, never denied.
func (l *Ledger) Adopt(b Budget) *Reservation {
	l.mu.Lock()
	defer l.unlock() // Waiting requests may need more warm entries to yield now.
	// The totals stay exact: the reservation gives back what it has added.
	const most = math.MaxInt64
	room := Budget{most, most, most, most, most}.Minus(l.used())
	return l.activate(b.positive().Min(room))
}

// Usage is a consistent reading of a ledger. Active and Warm add up to what is
// used; after an Adopt that may be more than there is.
type Usage struct {
	Capacity Budget
	Active   Budget
	Warm     Budget
	// Available is Capacity less what is used, zero where nothing is left.
	Available Budget
}

// Usage returns what is reserved now.
func (l *Ledger) Usage() Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Usage{Capacity: l.capacity, Active: l.active, Warm: l.warm, Available: l.capacity.Minus(l.used())}
}

// Active returns what is reserved for active work now.
func (l *Ledger) Active() Budget { return l.Usage().Active }

func (l *Ledger) used() Budget { return l.active.Plus(l.warm) }

// admissible says why a reservation outside the queue cannot be had.
func (l *Ledger) admissible(b Budget) error {
	if err := fit(l.capacity, l.used(), b); err != nil {
		return err
	}
	if l.queue != nil && l.queue.line.count > 0 {
		return ErrWaiting
	}
	return nil
}

func (l *Ledger) activate(b Budget) *Reservation {
	l.active = l.active.Plus(b)
	return &Reservation{ledger: l, budget: b, state: active}
}

// unlock ends a critical section after which the next in line may fit, or may
// need other warm entries to yield.
func (l *Ledger) unlock() {
	q := l.queue
	if q == nil {
		l.mu.Unlock()
		return
	}
	yield := q.pump()
	l.mu.Unlock()
	for _, id := range yield {
		q.onYield(id)
	}
}
