package main

import (
	"runtime"
	"time"

	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/substrate/capacity"
)

// capacityOptions say how much of the machine sandboxes may have.
type capacityOptions struct {
	sandboxes        int
	memoryOvercommit float64
	cpuOvercommit    float64
	// pending is how many requests may wait for room, and wait how long one may.
	pending int
	wait    time.Duration
}

// capacityDefaults: a sandbox's memory is a limit, not a use, and an idle one
// uses a small part of it and no processor time; so both are promised several
// times over.
var capacityDefaults = capacityOptions{sandboxes: 1000, memoryOvercommit: 4, cpuOvercommit: 200,
	pending: capacity.DefaultMaxPending, wait: time.Minute}

func (c *capacityOptions) flags(f *pflag.FlagSet) {
	f.IntVar(&c.sandboxes, "max-sandboxes", capacityDefaults.sandboxes, "the most sandboxes at a time")
	f.Float64Var(&c.memoryOvercommit, "memory-overcommit", capacityDefaults.memoryOvercommit, "sandbox memory promised, as a multiple of what the machine has")
	f.Float64Var(&c.cpuOvercommit, "cpu-overcommit", capacityDefaults.cpuOvercommit, "sandbox processors promised, as a multiple of what the machine has")
	f.IntVar(&c.pending, "queue", capacityDefaults.pending, "the most requests that wait for room at a time; more are refused")
	f.DurationVar(&c.wait, "queue-wait", capacityDefaults.wait, "how long a request may wait for room")
}

// unlimitedDisk: a sandbox's disk is a sparse file or memory.
const unlimitedDisk = 1 << 62

func (c capacityOptions) budget() capacity.Budget {
	return capacity.Budget{
		CPUs:        int64(float64(runtime.NumCPU()) * 1000 * c.cpuOvercommit),
		MemoryBytes: int64(float64(hostMemory()) * c.memoryOvercommit),
		DiskBytes:   unlimitedDisk,
		Sandboxes:   int64(c.sandboxes),
	}
}
