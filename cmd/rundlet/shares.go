package main

import (
	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/runtime"
)

// shareFlags adds the flags that bound the sandboxes and snapshots of one API key and
// of all keys. A negative value means no bound; zero means the default.
func shareFlags(f *pflag.FlagSet, s *runtime.Shares) {
	d := runtime.DefaultShares
	f.IntVar(&s.RunningPerKey, "max-sandboxes-per-key", d.RunningPerKey, "the most sandboxes of one API key that run at a time; -1 for no bound but that of --max-sandboxes")
	f.IntVar(&s.SandboxesPerKey, "max-kept-per-key", d.SandboxesPerKey, "the most sandboxes of one API key, paused ones included; -1 for no bound")
	f.IntVar(&s.Sandboxes, "max-kept", d.Sandboxes, "the most sandboxes, paused ones included; -1 for no bound")
	f.IntVar(&s.SnapshotsPerKey, "max-snapshots-per-key", d.SnapshotsPerKey, "the most snapshots of one API key; -1 for no bound")
	f.IntVar(&s.Snapshots, "max-snapshots", d.Snapshots, "the most snapshots; -1 for no bound")
}

// capacityFlags adds the flags that say how much of the machine sandboxes may have.
func capacityFlags(f *pflag.FlagSet, c *node.Capacity) {
	f.IntVar(&c.Sandboxes, "max-sandboxes", c.Sandboxes, "the most sandboxes at a time")
	f.Float64Var(&c.MemoryOvercommit, "memory-overcommit", c.MemoryOvercommit, "sandbox memory promised, as a multiple of what the machine has")
	f.Float64Var(&c.CPUOvercommit, "cpu-overcommit", c.CPUOvercommit, "sandbox processors promised, as a multiple of what the machine has")
	f.Float64Var(&c.DiskOvercommit, "disk-overcommit", c.DiskOvercommit, "sandbox disk promised, as a multiple of the disk of the state directory without what is kept free")
	f.IntVar(&c.Pending, "queue", c.Pending, "the most requests that wait for room at a time; more are refused")
	f.DurationVar(&c.Wait, "queue-wait", c.Wait, "how long a request may wait for room")
}
