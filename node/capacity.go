package node

import (
	"fmt"
	goruntime "runtime"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
)

// Capacity says how much of the machine sandboxes may have.
type Capacity struct {
	// Overcommit says how many sandboxes run at a time, and how much they are promised
	// together.
	Overcommit capacity.Overcommit
	// Pending is how many requests may wait for capacity, and Wait how long one may.
	Pending int
	Wait    time.Duration
}

// DefaultCapacity is for machines with many idle sandboxes; see
// capacity.DefaultOvercommit.
var DefaultCapacity = Capacity{Overcommit: capacity.DefaultOvercommit, Pending: capacity.DefaultMaxPending, Wait: capacity.DefaultMaxWait}

// check refuses numbers that allow nothing.
func (c Capacity) check() error {
	for _, field := range []struct {
		what  string
		value float64
	}{
		{"the number of running sandboxes", float64(c.Overcommit.Sandboxes)},
		{"the overcommit of memory", c.Overcommit.Memory}, {"the overcommit of CPUs", c.Overcommit.CPU}, {"the overcommit of disk", c.Overcommit.Disk},
		{"the number of requests that wait", float64(c.Pending)}, {"the time that a request may wait", c.Wait.Seconds()},
	} {
		if !(field.value >= 0) { // NaN too.
			return fmt.Errorf("capacity: %s must not be negative, got %v", field.what, field.value)
		}
	}
	return nil
}

// budget is the sum that sandboxes may reserve. The disk has diskTotal bytes; the free
// part of it is checked before each create, and every few
// seconds.
func (c Capacity) budget(diskTotal int64) capacity.Budget {
	memory, _ := host.Host{}.Memory() // Not known on every system; no driver runs there either.
	return c.Overcommit.Budget(goruntime.NumCPU(), memory.Total, diskTotal-disk.FloorsFor(diskTotal).Restore)
}
