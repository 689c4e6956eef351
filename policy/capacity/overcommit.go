package capacity

import "time"

// DefaultMaxWait is how long a request may wait in a queue that is not configured
// otherwise.
const DefaultMaxWait = time.Minute

// Overcommit says how much more sandboxes may be promised than a machine has.
type Overcommit struct {
	Sandboxes         int // the most sandboxes
	Memory, CPU, Disk float64
}

// DefaultOvercommit: a sandbox's memory and disk are limits, not uses, and an idle
// one uses a small part of them and no processor time; so all are promised several
// times over. Of a disk of 1 GiB a fresh sandbox has 24 KiB.
var DefaultOvercommit = Overcommit{Sandboxes: 1000, Memory: 4, CPU: 200, Disk: 10}

// Budget is what sandboxes may be promised together on a machine that has so many
// processors and bytes. diskBytes is without what is kept free. How many launches
// there may be is for the caller to add.
func (o Overcommit) Budget(processors int, memoryBytes, diskBytes int64) Budget {
	return Budget{
		CPUs:        int64(float64(processors) * 1000 * o.CPU),
		MemoryBytes: int64(float64(memoryBytes) * o.Memory),
		DiskBytes:   int64(float64(diskBytes) * o.Disk),
		Sandboxes:   int64(o.Sandboxes),
	}
}

// Sandbox is the budget of one sandbox whose machine is being made.
func Sandbox(processors, memoryMiB, diskMiB int) Budget {
	return Budget{
		CPUs: int64(processors) * 1000, MemoryBytes: int64(memoryMiB) << 20,
		DiskBytes: int64(diskMiB) << 20, Sandboxes: 1, Launches: 1,
	}
}
