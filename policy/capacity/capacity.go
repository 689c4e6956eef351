// Package capacity decides whether this machine can take one more sandbox now,
// later or never: a ledger of what is reserved, and a fair queue before it. It
// is pure policy: no I/O, no clock, no goroutine, no knowledge of machines. It
// may import the standard library only.
package capacity

import (
	"errors"
	"fmt"
	"math"
)

// Budget is an amount of each resource, never negative. Zero in a ledger's
// capacity means none.
type Budget struct {
	CPUs        int64 // thousandths of a processor
	MemoryBytes int64
	DiskBytes   int64
	Sandboxes   int64
	// Launches are machines being made at this moment: what keeps a processor
	// busy before there is a sandbox. See Reservation.Launched.
	Launches int64
}

// Plus returns b + o, resource by resource. It saturates instead of overflowing.
func (b Budget) Plus(o Budget) Budget {
	return b.with(o, func(x, y int64) int64 {
		if y > math.MaxInt64-x {
			return math.MaxInt64
		}
		return x + y
	})
}

// Minus returns b - o, resource by resource, and zero where o is larger.
func (b Budget) Minus(o Budget) Budget {
	return b.with(o, func(x, y int64) int64 { return max(x-y, 0) })
}

// Min returns the smaller amount of each resource.
func (b Budget) Min(o Budget) Budget {
	return b.with(o, func(x, y int64) int64 { return min(x, y) })
}

func (b Budget) with(o Budget, f func(x, y int64) int64) Budget {
	return Budget{
		CPUs: f(b.CPUs, o.CPUs), MemoryBytes: f(b.MemoryBytes, o.MemoryBytes), DiskBytes: f(b.DiskBytes, o.DiskBytes),
		Sandboxes: f(b.Sandboxes, o.Sandboxes), Launches: f(b.Launches, o.Launches),
	}
}

// positive returns b with zero for what is negative.
func (b Budget) positive() Budget { return b.Minus(Budget{}) }

// ErrNegative: a request for less than nothing of some resource.
var ErrNegative = errors.New("negative budget")

// Error says which resource did not suffice: the first of processor, memory,
// disk, sandboxes, launches that does not fit.
type Error struct {
	// Resource is "cpu", "memory", "disk", "sandboxes" or "launches".
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

// fit returns nil if want can be had on top of used, or an *Error.
func fit(capacity, used, want Budget) error {
	for _, c := range []struct {
		resource              string
		capacity, used, wants int64
	}{
		{"cpu", capacity.CPUs, used.CPUs, want.CPUs},
		{"memory", capacity.MemoryBytes, used.MemoryBytes, want.MemoryBytes},
		{"disk", capacity.DiskBytes, used.DiskBytes, want.DiskBytes},
		{"sandboxes", capacity.Sandboxes, used.Sandboxes, want.Sandboxes},
		{"launches", capacity.Launches, used.Launches, want.Launches},
	} {
		available := max(c.capacity-c.used, 0)
		if c.wants > available {
			return &Error{Resource: c.resource, Requested: c.wants, Available: available, Never: c.wants > c.capacity}
		}
	}
	if want != want.positive() {
		return fmt.Errorf("%w: %+v", ErrNegative, want)
	}
	return nil
}
