package node

import (
	goruntime "runtime"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
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

// DefaultCapacity is for machines with many idle sandboxes; see
// capacity.DefaultOvercommit.
var DefaultCapacity = Capacity{
	Sandboxes: capacity.DefaultOvercommit.Sandboxes, MemoryOvercommit: capacity.DefaultOvercommit.Memory,
	CPUOvercommit: capacity.DefaultOvercommit.CPU, DiskOvercommit: capacity.DefaultOvercommit.Disk,
	Pending: capacity.DefaultMaxPending, Wait: capacity.DefaultMaxWait,
}

// budget is what sandboxes may be promised together. The disk has diskTotal bytes;
// how much of it is really free is asked before each create, and every few
// seconds.
func (c Capacity) budget(diskTotal int64) capacity.Budget {
	memory, _ := host.Host{}.Memory() // Not known on every system; no driver runs there either.
	o := capacity.Overcommit{Sandboxes: c.Sandboxes, Memory: c.MemoryOvercommit, CPU: c.CPUOvercommit, Disk: c.DiskOvercommit}
	return o.Budget(goruntime.NumCPU(), memory.Total, diskTotal-disk.FloorsFor(diskTotal).Restore)
}
