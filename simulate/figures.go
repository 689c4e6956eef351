package simulate

import (
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// Counts only grow.
type Counts struct {
	Events   uint64 `json:"events"`
	Requests uint64 `json:"requests"`
	// AtOnce were served without a wait, Queued after one. These two, Expired and
	// Refused add up to the requests.
	AtOnce uint64 `json:"at_once"`
	Queued uint64 `json:"queued"`
	// Expired gave up in the queue or lost their place by a crash.
	Expired uint64 `json:"expired"`
	// Refused were not let in: the host was out of room, or the daemon down.
	Refused uint64 `json:"refused"`
	Hits    uint64 `json:"hits"`
	// Misses include those that did not get an entry as others of their tenant
	// waited.
	Misses uint64 `json:"misses"`
	// Yielded entries made room for active work; Retired ones were too old, stale
	// or too many.
	Yielded uint64 `json:"yielded"`
	Retired uint64 `json:"retired"`
	// CreateFailures and LaunchFailures failed for a tenant and for the pool.
	CreateFailures uint64 `json:"create_failures"`
	LaunchFailures uint64 `json:"launch_failures"`
	KillRetries    uint64 `json:"kill_retries"`
	Crashes        uint64 `json:"crashes"`
	// After a crash sandboxes and machines were Recovered, CleanedUp or Quarantined.
	// Lost are the sandboxes among them that ended with the crash's damage.
	Recovered   uint64 `json:"recovered"`
	CleanedUp   uint64 `json:"cleaned_up"`
	Quarantined uint64 `json:"quarantined"`
	Lost        uint64 `json:"lost"`
	// Episodes of pressure, and changes of the state of the scaler.
	Episodes     uint64 `json:"pressure_episodes"`
	StateChanges uint64 `json:"state_changes"`

	ActiveEvictions uint64 `json:"active_evictions"`
	FloorViolations uint64 `json:"reserve_floor_violations"`
	// Leftover is what was there after the end.
	Leftover uint64 `json:"leftover"`
	// Violations counts all broken invariants, those above included.
	Violations uint64 `json:"violations"`
}

// samples can be added up too.
type samples struct {
	waits, floors, targets []time.Duration
	// useful is the integral of the utilisation over the nominal seconds.
	useful, nominal float64
}

// figures are what a node measures.
type figures struct {
	Counts
	samples
	// last is when the utilisation was seen, counts whether it counts.
	last        time.Duration
	utilisation float64
	counts      bool
}

func (f *figures) wait(d time.Duration) {
	if d > 0 {
		f.waits = append(f.waits, d)
	}
}

func (f *figures) toFloor(d time.Duration) {
	f.Episodes++
	f.floors = append(f.floors, d)
}

func (f *figures) toTarget(d time.Duration) { f.targets = append(f.targets, d) }

// pool adds the figures of a pool that ends.
func (f *figures) pool(stats []warmpool.Stats) {
	for _, s := range stats {
		f.Hits += s.Hits
		f.Misses += s.Misses
	}
}

// observe adds the time since the last event to the utilisation, and sees what
// it is from now on.
func (f *figures) observe(n *node) {
	if f.counts {
		d := (n.now - f.last).Seconds()
		f.useful += f.utilisation * d
		f.nominal += d
	}
	f.last = n.now
	f.counts = !n.down && n.state == autoscale.Nominal
	if f.counts {
		u, ready := n.ledger.Usage(), int64(n.ready)
		used := capacity.Budget{CPUs: ready * perSandbox.CPUs, MemoryBytes: ready * perSandbox.MemoryBytes, DiskBytes: ready * perSandbox.DiskBytes}
		// The reserves are not part of the ledger's capacity.
		f.utilisation = limitingUtilisation(used, safeSpare(u.Capacity, u.Active, capacity.Budget{}))
	}
}
