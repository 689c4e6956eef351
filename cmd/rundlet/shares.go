package main

import (
	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/runtime/admission"
)

// shareFlags adds the flags that bound the sandboxes and snapshots of one API key and
// of all keys. A negative value means no bound; zero means the default.
func shareFlags(f *pflag.FlagSet, s *admission.Shares) {
	d := admission.DefaultShares
	f.IntVar(&s.RunningPerKey, "max-sandboxes-per-key", d.RunningPerKey, "the most sandboxes of one API key that run at a time; -1 for no bound but that of --max-sandboxes")
	f.IntVar(&s.SandboxesPerKey, "max-kept-per-key", d.SandboxesPerKey, "the most sandboxes of one API key, paused ones included; -1 for no bound")
	f.IntVar(&s.Sandboxes, "max-kept", d.Sandboxes, "the most sandboxes, paused ones included; -1 for no bound")
	f.IntVar(&s.SnapshotsPerKey, "max-snapshots-per-key", d.SnapshotsPerKey, "the most snapshots of one API key; -1 for no bound")
	f.IntVar(&s.Snapshots, "max-snapshots", d.Snapshots, "the most snapshots; -1 for no bound")
}
