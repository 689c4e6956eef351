package daemon

import (
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/world"
)

// Policy is the configuration of a daemon and its decisions. Tests break parts of it, to
// show that the invariants notice.
type Policy struct {
	Floors     disk.Floors
	Overcommit capacity.Overcommit
	MaxPending int
	Warm       warmpool.Target
	// Decide is the recovery decision.
	Decide func(reconcile.Row, reconcile.Machine, bool) reconcile.Decision
	// See is what the daemon makes of a sample.
	See func(autoscale.Sample) autoscale.Sample
	// RetryKill says whether a kill that failed is tried again.
	RetryKill bool
	// Release gives a reservation back.
	Release func(*capacity.Reservation)
	// Checkout takes an entry out of the warm pool.
	Checkout func(*warmpool.Pool, warmpool.Key, time.Time) (warmpool.Entry, bool)
	// Overtakes lets a request by while others wait.
	Overtakes bool
}

// Default returns the policy of a daemon that was given no flags.
func Default() Policy {
	return Policy{
		Floors:     disk.FloorsFor(world.DiskTotal),
		Overcommit: capacity.DefaultOvercommit,
		MaxPending: capacity.DefaultMaxPending,
		Warm:       warmpool.DefaultTarget,
		Decide:     reconcile.Decide,
		See:        func(s autoscale.Sample) autoscale.Sample { return s },
		RetryKill:  true,
		Release:    func(r *capacity.Reservation) { r.Release() },
		Checkout:   (*warmpool.Pool).Checkout,
	}
}

// Pressure is how the daemon configures its policy for a host under pressure.
func (p Policy) Pressure() pressure.Config {
	return pressure.Config{
		RestoreFloor: p.Floors.Restore, Interval: pressure.Interval, Launches: world.Processors, EntryMemoryBytes: PerSandbox.MemoryBytes,
	}
}

// Reserve is what the daemon keeps of memory and disk for the host.
func (p Policy) Reserve() world.Reserve {
	t := p.Pressure().Thresholds()
	return world.Reserve{Memory: t.ReserveMemory.Of(world.MemoryTotal), Disk: t.ReserveDisk.Of(world.DiskTotal)}
}

// Capacity is what the daemon lets all sandboxes of the node have together.
func (p Policy) Capacity() capacity.Budget {
	return p.Overcommit.Budget(world.Processors, world.MemoryTotal, world.DiskTotal-p.Floors.Restore).Plus(capacity.Budget{Launches: world.Processors})
}
