package main

import (
	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/node"
)

// capacityFlags adds the flags that limit the host resources sandboxes may use.
func capacityFlags(f *pflag.FlagSet, c *node.Capacity) {
	*c = node.DefaultCapacity
	f.IntVar(&c.Overcommit.Sandboxes, "max-sandboxes", c.Overcommit.Sandboxes, "maximum number of running sandboxes")
	f.Float64Var(&c.Overcommit.Memory, "memory-overcommit", c.Overcommit.Memory, "limit on total sandbox memory, as a multiple of the host's memory")
	f.Float64Var(&c.Overcommit.CPU, "cpu-overcommit", c.Overcommit.CPU, "limit on total sandbox CPUs, as a multiple of the host's CPUs")
	f.Float64Var(&c.Overcommit.Disk, "disk-overcommit", c.Overcommit.Disk, "limit on total sandbox disk, as a multiple of the state directory's disk minus its reserve")
	f.IntVar(&c.Pending, "queue", c.Pending, "maximum number of requests that wait for capacity; more are refused")
	f.DurationVar(&c.Wait, "queue-wait", c.Wait, "how long a request may wait for capacity")
}
