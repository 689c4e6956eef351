package main

import (
	goruntime "runtime"
	"time"

	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
)

// capacityOptions say how much of the machine sandboxes may have.
type capacityOptions struct {
	sandboxes        int
	memoryOvercommit float64
	cpuOvercommit    float64
	diskOvercommit   float64
	// pending is how many requests may wait for room, and wait how long one may.
	pending int
	wait    time.Duration
}

var capacityDefaults = capacityOptions{
	sandboxes: capacity.DefaultOvercommit.Sandboxes, memoryOvercommit: capacity.DefaultOvercommit.Memory,
	cpuOvercommit: capacity.DefaultOvercommit.CPU, diskOvercommit: capacity.DefaultOvercommit.Disk,
	pending: capacity.DefaultMaxPending, wait: capacity.DefaultMaxWait,
}

func (c *capacityOptions) flags(f *pflag.FlagSet) {
	f.IntVar(&c.sandboxes, "max-sandboxes", capacityDefaults.sandboxes, "the most sandboxes at a time")
	f.Float64Var(&c.memoryOvercommit, "memory-overcommit", capacityDefaults.memoryOvercommit, "sandbox memory promised, as a multiple of what the machine has")
	f.Float64Var(&c.cpuOvercommit, "cpu-overcommit", capacityDefaults.cpuOvercommit, "sandbox processors promised, as a multiple of what the machine has")
	f.Float64Var(&c.diskOvercommit, "disk-overcommit", capacityDefaults.diskOvercommit, "sandbox disk promised, as a multiple of the disk of the state directory without what is kept free")
	f.IntVar(&c.pending, "queue", capacityDefaults.pending, "the most requests that wait for room at a time; more are refused")
	f.DurationVar(&c.wait, "queue-wait", capacityDefaults.wait, "how long a request may wait for room")
}

// budget is what sandboxes may be promised together. The disk has diskTotal bytes;
// how much of it is really free is asked before each create, and every few
// seconds.
func (c capacityOptions) budget(diskTotal int64) capacity.Budget {
	o := capacity.Overcommit{Sandboxes: c.sandboxes, Memory: c.memoryOvercommit, CPU: c.cpuOvercommit, Disk: c.diskOvercommit}
	return o.Budget(goruntime.NumCPU(), int64(hostMemory()), diskTotal-disk.FloorsFor(diskTotal).Restore)
}
