//go:build linux

package gvisor

import (
	"slices"

	"gvisor.dev/gvisor/pkg/log"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// raise makes files set-uid in a guest that runs and that a program of an earlier
// version made: the files on the host, which had the bit, have lost it, and its
// sandbox process has no hook that would set it. What changes its files is a
// program in it, as root. A guest whose root has none, or another one under that
// name, keeps what it has.
func raise(d *Driver, m *machine) {
	if _, status, _ := d.machines.State(m); status != vm.StatusRunning {
		return
	}
	paths := d.conf.setUIDFor(&snapshots.Manifest{SetUID: m.setUID})
	if len(paths) == 0 {
		return
	}
	const program = "/usr/bin/chmod"
	pid, err := m.calls.Execute(slices.Concat([]string{program, "u+s"}, paths), "/")
	if err != nil {
		log.Warningf("%v cannot be made set-uid in %s: %v", paths, m.ID(), err)
		return
	}
	go func() { _, _ = m.calls.WaitPID(pid) }() // The sentry keeps its exit status until it is asked for it.
	m.setUID = slices.Concat(m.setUID, paths)
	d.records.status(m, runscRunning) // If it fails, the next daemon does it again.
}
