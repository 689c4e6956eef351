package main

import (
	goruntime "runtime"
	"time"

	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/runtime"
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

// capacityDefaults: a sandbox's memory and disk are limits, not uses, and an idle
// one uses a small part of them and no processor time; so all are promised several
// times over. Of a disk of 1 GiB a fresh sandbox has 24 KiB.
var capacityDefaults = capacityOptions{sandboxes: 1000, memoryOvercommit: 4, cpuOvercommit: 200, diskOvercommit: 10,
	pending: capacity.DefaultMaxPending, wait: time.Minute}

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
	return capacity.Budget{
		CPUs:        int64(float64(goruntime.NumCPU()) * 1000 * c.cpuOvercommit),
		MemoryBytes: int64(float64(hostMemory()) * c.memoryOvercommit),
		DiskBytes:   int64(float64(diskTotal-runtime.FloorsFor(diskTotal).Restore) * c.diskOvercommit),
		Sandboxes:   int64(c.sandboxes),
	}
}
