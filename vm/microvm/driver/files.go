//go:build linux

package driver

import (
	"os"
	"path/filepath"
)

// dirs are the directories of one driver value.
type dirs struct{ state, run, instance, driver string }

// machines has a directory and a record of each running machine.
func (d dirs) machines() string { return filepath.Join(d.run, "machines") }

// machine has the sockets of a machine, and is all that its process sees of the host.
func (d dirs) machine(key string) string { return filepath.Join(d.machines(), key) }

// record is the file that finds all else of a machine.
func (d dirs) record(key string) string { return filepath.Join(d.machines(), key+".json") }

// snapshots has a directory for each id of a machine, with its snapshots.
func (d dirs) snapshots() string { return filepath.Join(d.state, "snapshots") }

// disks has a directory for each machine of this instance: its disk, and the files of the snapshot from which it was restored.
func (d dirs) disks() string { return filepath.Join(d.state, "machines", d.instance) }

func (d dirs) disk(key string) string { return filepath.Join(d.disks(), key) }

// pending has half-made and half-deleted snapshots.
func (d dirs) pending() string { return filepath.Join(d.state, "pending", d.instance) }

func (d dirs) cgroupParent() string { return "/rundlet-" + d.instance + "-" + d.driver }

func (d dirs) cgroup(key string) string { return filepath.Join(d.cgroupParent(), key) }

func (d dirs) make() error {
	for _, dir := range []string{d.machines(), d.snapshots(), d.disks(), d.pending()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}
