package node

import (
	goruntime "runtime"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/runtime"
)

// Capacity says how much of the machine sandboxes may have.
type Capacity struct {
	// Sandboxes is the most that run at a time.
	Sandboxes int
	// MemoryOvercommit, CPUOvercommit and DiskOvercommit are how much sandboxes are
	// promised together, as multiples of what the machine has; of the disk, of that of
	// the state directory without what is kept free.
	MemoryOvercommit, CPUOvercommit, DiskOvercommit float64
	// Pending is how many requests may wait for capacity, and Wait how long one may.
	Pending int
	Wait    time.Duration
}

// DefaultCapacity is for machines with many idle sandboxes. The memory and the disk
// of a sandbox are limits, not uses, and an idle one uses a small part of them and no
// processor time; so all are promised several times over. Of a disk of 1 GiB a fresh
// sandbox has 24 KiB.
var DefaultCapacity = Capacity{Sandboxes: 1000, MemoryOvercommit: 4, CPUOvercommit: 200, DiskOvercommit: 10,
	Pending: capacity.DefaultMaxPending, Wait: time.Minute}

// budget is what sandboxes may be promised together. The disk has diskTotal bytes;
// how much of it is really free is asked before each create, and every few
// seconds.
func (c Capacity) budget(diskTotal int64) capacity.Budget {
	memory, _ := host.Host{}.Memory() // Not known on every system; no driver runs there either.
	return capacity.Budget{
		CPUs:        int64(float64(goruntime.NumCPU()) * 1000 * c.CPUOvercommit),
		MemoryBytes: int64(float64(memory.Total) * c.MemoryOvercommit),
		DiskBytes:   int64(float64(diskTotal-runtime.FloorsFor(diskTotal).Restore) * c.DiskOvercommit),
		Sandboxes:   int64(c.Sandboxes),
	}
}
