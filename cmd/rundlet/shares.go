package main

import (
	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/runtime/admission"
)

// shareFlags adds the flags that limit the sandboxes and snapshots of one API key and
// of all keys. A negative value means unlimited; zero means the default.
func shareFlags(f *pflag.FlagSet, s *admission.Shares) {
	d := admission.DefaultShares
	f.IntVar(&s.RunningPerKey, "max-sandboxes-per-key", d.RunningPerKey, "maximum number of running sandboxes per API key; -1 means no limit besides --max-sandboxes")
	f.IntVar(&s.SandboxesPerKey, "max-kept-per-key", d.SandboxesPerKey, "maximum number of sandboxes per API key, including paused ones; -1 means unlimited")
	f.IntVar(&s.Sandboxes, "max-kept", d.Sandboxes, "maximum number of sandboxes, including paused ones; -1 means unlimited")
	f.IntVar(&s.SnapshotsPerKey, "max-snapshots-per-key", d.SnapshotsPerKey, "maximum number of snapshots per API key; -1 means unlimited")
	f.IntVar(&s.Snapshots, "max-snapshots", d.Snapshots, "maximum number of snapshots; -1 means unlimited")
}
