package simulate

import (
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// policy is what a node is run by: the configuration of a daemon that was given no
// flags, and its decisions. Tests break parts of it, to show that the invariants
// notice.
type policy struct {
	floors     disk.Floors
	overcommit capacity.Overcommit
	maxPending int
	warm       warmpool.Target
	// decide is the recovery decision.
	decide func(reconcile.Row, reconcile.Machine, bool) reconcile.Decision
	// see is what the daemon makes of a sample.
	see func(autoscale.Sample) autoscale.Sample
	// retryKill says whether a kill that failed is tried again.
	retryKill bool
	release   func(*capacity.Reservation)
	checkout  func(*warmpool.Pool, warmpool.Key, time.Time) (warmpool.Entry, bool)
	// overtakes lets a request by while others wait.
	overtakes bool
}

func policies() policy {
	return policy{
		floors:     disk.FloorsFor(diskTotal),
		overcommit: capacity.DefaultOvercommit,
		maxPending: capacity.DefaultMaxPending,
		warm:       warmpool.DefaultTarget,
		decide:     reconcile.Decide,
		see:        func(s autoscale.Sample) autoscale.Sample { return s },
		retryKill:  true,
		release:    func(r *capacity.Reservation) { r.Release() },
		checkout:   (*warmpool.Pool).Checkout,
	}
}

// pressure is how the daemon configures its policy for a host under pressure.
func (p policy) pressure() pressure.Config {
	return pressure.Config{
		RestoreFloor: p.floors.Restore, Interval: pressure.Interval, Launches: processors, EntryMemoryBytes: perSandbox.MemoryBytes,
	}
}

// reserve is what the daemon keeps for the host.
func (p policy) reserve() reserve {
	t := p.pressure().Thresholds()
	return reserve{memory: t.ReserveMemory.Of(memoryTotal), disk: t.ReserveDisk.Of(diskTotal)}
}

// capacity is what the daemon lets all sandboxes of the node have together.
func (p policy) capacity() capacity.Budget {
	return p.overcommit.Budget(processors, memoryTotal, diskTotal-p.floors.Restore).Plus(capacity.Budget{Launches: processors})
}
