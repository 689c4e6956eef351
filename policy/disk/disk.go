// Package disk keeps work from starting that could fill the host's disk: a
// floor of free space for each kind of work, checked before it. It is pure
// policy: a Probe supplies the figure. It may import the standard library only.
package disk

import (
	"fmt"
	"sync"
	"time"
)

// The floors of free space, in bytes, under which work of that kind does not
// start. They are those of the reference runtime (docs/reference-parity.md, B2).
const (
	RestoreFloor int64 = 10 << 30
	SaveFloor    int64 = 10 << 30
	BuildFloor   int64 = 10 << 30
	// WarmPoolFloor is higher, so that the pool stops refilling before creates
	// are refused.
	WarmPoolFloor int64 = 20 << 30
)

// CacheTTL is how old a cached figure may be (docs/reference-parity.md, B2).
const CacheTTL = 30 * time.Second

// Probe returns the free space of the file system that holds root, in bytes: what
// an ordinary user could still write. It is safe for concurrent use.
type Probe interface {
	FreeBytes(root string) (int64, error)
}

// Guard is a floor for the file system that holds Root.
type Guard struct {
	Root        string
	MinimumFree int64 // bytes
}

// Report is what a successful check has seen.
type Report struct {
	Root        string
	MinimumFree int64
	Available   int64
}

// BelowError: there is less free space than the floor.
type BelowError struct {
	Root      string
	Minimum   int64
	Available int64
}

func (e *BelowError) Error() string {
	return fmt.Sprintf("%s has %d bytes free, at least %d are needed", e.Root, e.Available, e.Minimum)
}

// ProbeError: the free space is not known, so the work must not start.
type ProbeError struct {
	Root string
	Err  error
}

func (e *ProbeError) Error() string { return fmt.Sprintf("free space of %s: %v", e.Root, e.Err) }

// Unwrap returns the probe's error.
func (e *ProbeError) Unwrap() error { return e.Err }

// Check asks the probe and fails with *BelowError or *ProbeError. Exactly the
// floor passes. Call it before any work on a machine or a snapshot.
func (g Guard) Check(p Probe) (Report, error) {
	available, err := p.FreeBytes(g.Root)
	switch {
	case err != nil:
		return Report{}, &ProbeError{Root: g.Root, Err: err}
	case available < g.MinimumFree:
		return Report{}, &BelowError{Root: g.Root, Minimum: g.MinimumFree, Available: available}
	}
	return Report{Root: g.Root, MinimumFree: g.MinimumFree, Available: available}, nil
}

// Cached returns a probe that repeats a figure until it is ttl old by the clock
// now; CacheTTL is the usual one. A failure is not kept: the next call probes
// again. Calls that find nothing probe side by side, so that one file system
// that hangs does not keep the others from being asked.
func Cached(p Probe, ttl time.Duration, now func() time.Time) Probe {
	return &cached{probe: p, ttl: ttl, now: now, figures: map[string]figure{}}
}

type cached struct {
	probe Probe
	ttl   time.Duration
	now   func() time.Time

	mu      sync.Mutex
	figures map[string]figure // by root
}

type figure struct {
	free int64
	at   time.Time
}

func (c *cached) FreeBytes(root string) (int64, error) {
	begin := c.now()
	c.mu.Lock()
	for root, f := range c.figures { // Also drops roots that are no longer used.
		if age := begin.Sub(f.at); age < 0 || age >= c.ttl {
			delete(c.figures, root)
		}
	}
	f, ok := c.figures[root]
	c.mu.Unlock()
	if ok {
		return f.free, nil
	}
	free, err := c.probe.FreeBytes(root)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.figures[root] = figure{free: free, at: begin}
	return free, nil
}
