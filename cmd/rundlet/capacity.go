package main

import (
	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/node"
)

// capacityFlags adds the flags that say how much of the machine sandboxes may have,
// with their defaults.
func capacityFlags(f *pflag.FlagSet, c *node.Capacity) {
	*c = node.DefaultCapacity
	f.IntVar(&c.Overcommit.Sandboxes, "max-sandboxes", c.Overcommit.Sandboxes, "the most sandboxes at a time")
	f.Float64Var(&c.Overcommit.Memory, "memory-overcommit", c.Overcommit.Memory, "sandbox memory promised, as a multiple of what the machine has")
	f.Float64Var(&c.Overcommit.CPU, "cpu-overcommit", c.Overcommit.CPU, "sandbox processors promised, as a multiple of what the machine has")
	f.Float64Var(&c.Overcommit.Disk, "disk-overcommit", c.Overcommit.Disk, "sandbox disk promised, as a multiple of the disk of the state directory without what is kept free")
	f.IntVar(&c.Pending, "queue", c.Pending, "the most requests that wait for room at a time; more are refused")
	f.DurationVar(&c.Wait, "queue-wait", c.Wait, "how long a request may wait for room")
}
