// Package capacity decides whether this machine can take one more sandbox. It
// is pure policy: no I/O, no clock, no knowledge of machines. It may import the
// standard library only.
package capacity

import (
	"fmt"
	"sync"
)

// Budget is an amount of each resource. Zero in a ledger's capacity means none.
type Budget struct {
	CPUs        int64 // thousandths of a processor
	MemoryBytes int64
	DiskBytes   int64
	Sandboxes   int64
}

// Error says which resource did not suffice: the first of processor, memory,
// disk, sandboxes that does not fit.
type Error struct {
	Resource  string
	Requested int64
	Available int64
	// Never is set when the request is larger than the whole capacity, so that
	// waiting cannot help.
	Never bool
}

func (e *Error) Error() string {
	return fmt.Sprintf("not enough %s: %d requested, %d available", e.Resource, e.Requested, e.Available)
}

// Ledger counts what is reserved. It is safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	capacity Budget
	active   Budget
}

// NewLedger returns a ledger with nothing reserved.
func NewLedger(capacity Budget) *Ledger { return &Ledger{capacity: capacity} }

// ReserveActive reserves b, or fails with *Error and reserves nothing. The
// reservation holds until its Release.
func (l *Ledger) ReserveActive(b Budget) (*Reservation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := fit(l.capacity, l.active, b); err != nil {
		return nil, err
	}
	l.active = l.active.plus(b)
	return &Reservation{ledger: l, budget: b}, nil
}

// Adopt reserves b even where it does not fit: for a sandbox that runs already
// when the daemon starts. What runs is counted, never denied.
func (l *Ledger) Adopt(b Budget) *Reservation {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active = l.active.plus(b)
	return &Reservation{ledger: l, budget: b}
}

// Active returns what is reserved now.
func (l *Ledger) Active() Budget {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active
}

// Capacity returns the whole.
func (l *Ledger) Capacity() Budget { return l.capacity }

// Reservation is a claim on a ledger, owned by one sandbox.
type Reservation struct {
	ledger *Ledger
	budget Budget
	once   sync.Once
}

// Release gives the claim back and reports whether this call did it. Only the
// first call has an effect.
func (r *Reservation) Release() (released bool) {
	r.once.Do(func() {
		r.ledger.mu.Lock()
		defer r.ledger.mu.Unlock()
		r.ledger.active = r.ledger.active.minus(r.budget)
		released = true
	})
	return released
}

func fit(capacity, used, want Budget) error {
	for _, c := range []struct {
		resource              string
		capacity, used, wants int64
	}{
		{"cpu", capacity.CPUs, used.CPUs, want.CPUs},
		{"memory", capacity.MemoryBytes, used.MemoryBytes, want.MemoryBytes},
		{"disk", capacity.DiskBytes, used.DiskBytes, want.DiskBytes},
		{"sandboxes", capacity.Sandboxes, used.Sandboxes, want.Sandboxes},
	} {
		available := max(c.capacity-c.used, 0)
		if c.wants > available {
			return &Error{Resource: c.resource, Requested: c.wants, Available: available, Never: c.wants > c.capacity}
		}
	}
	return nil
}

func (b Budget) plus(o Budget) Budget {
	return Budget{b.CPUs + o.CPUs, b.MemoryBytes + o.MemoryBytes, b.DiskBytes + o.DiskBytes, b.Sandboxes + o.Sandboxes}
}

func (b Budget) minus(o Budget) Budget {
	return Budget{b.CPUs - o.CPUs, b.MemoryBytes - o.MemoryBytes, b.DiskBytes - o.DiskBytes, b.Sandboxes - o.Sandboxes}
}
