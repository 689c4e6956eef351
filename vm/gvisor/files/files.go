//go:build linux

// Package files knows where a gVisor driver keeps its files and control groups on the
// host, and removes those that nothing needs any more. It knows directories and keys,
// and no machine. It imports the standard library and golang.org/x/sys only.
package files

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/internal/process"
)

// Dirs are the directories of one driver value. Its methods may be called at the same
// time.
type Dirs struct {
	State    string // Durable; drivers may share it if their Instances differ.
	Run      string // Of running machines; of this driver value alone.
	Instance string
}

// NewKey names a machine's files, control group and container. It is random
// and never used again, unlike an id, so nothing old is ever mistaken for it.
func NewKey() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // Never fails.
	return hex.EncodeToString(b[:])
}

// Root is gVisor's own directory.
func (d Dirs) Root() string { return filepath.Join(d.Run, "runsc") }

// Machines has a bundle and a record for each machine.
func (d Dirs) Machines() string { return filepath.Join(d.Run, "machines") }

// Bundle is the directory of a machine's files.
func (d Dirs) Bundle(key string) string { return filepath.Join(d.Machines(), key) }

// Record is the file that finds all else of a machine.
func (d Dirs) Record(key string) string { return filepath.Join(d.Machines(), key+".json") }

// Snapshots has a directory for each id of a machine, with its snapshots.
func (d Dirs) Snapshots() string { return filepath.Join(d.State, "snapshots") }

// Snapshot is the directory of a snapshot.
func (d Dirs) Snapshot(vmID, snapshot string) string {
	return filepath.Join(d.Snapshots(), vmID, snapshot)
}

// Engines has the programs that run as the processes of sandboxes.
func (d Dirs) Engines() string { return filepath.Join(d.State, "engines") }

// AllPending is that of Pending for all boots and instances.
func (d Dirs) AllPending() string { return filepath.Join(d.State, "pending") }

// Pending holds what has no name to be found by yet or any more: half-made
// and half-deleted snapshots, and a directory for each machine. What another boot
// of the host left there has no owner.
func (d Dirs) Pending() string { return filepath.Join(d.AllPending(), process.BootID(), d.Instance) }

// Images is where a machine has the images that its start will load, and for a moment the files of its writable
// layers: a machine that is killed in that moment leaves them with their names.
func (d Dirs) Images(key string) string { return filepath.Join(d.Pending(), key) }

// ContainerState is where gVisor's command line finds a container. An earlier version left half of
// it, or a wrong one, when it died. The driver writes it, and never reads it.
func (d Dirs) ContainerState(key string) string {
	return filepath.Join(d.Root(), key+"_sandbox:"+key+".state")
}

// Socket is where a machine's sandbox takes requests.
func (d Dirs) Socket(key string) string { return filepath.Join(d.Root(), "runsc-"+key+".sock") }

// NullNetNS is the file that pins the empty network namespace of file servers.
func (d Dirs) NullNetNS() string { return filepath.Join(d.Root(), "null-netns") }

// CgroupParent is the path of the control group of all machines.
func (d Dirs) CgroupParent() string { return "/rundlet-" + d.Instance }

// Cgroup is the path of a machine's control group.
func (d Dirs) Cgroup(key string) string { return filepath.Join(d.CgroupParent(), key) }

// Make makes the directories that are not there. What is saved in them later does not
// go with the name of a directory above it.
func (d Dirs) Make() error {
	for _, dir := range []string{d.Root(), d.Machines(), d.Snapshots(), d.Pending(), d.Engines()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for dir := d.Snapshots(); len(dir) >= len(filepath.Dir(d.State)); dir = filepath.Dir(dir) {
		if err := durable.Sync(dir); err != nil {
			return err
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return nil
}

// Others returns the instances of other drivers that share State and were opened since the
// host booted. One that was closed while no machine waited to load images is not among them.
func (d Dirs) Others() (names []string, err error) {
	entries, err := os.ReadDir(filepath.Dir(d.Pending()))
	for _, entry := range entries {
		if entry.Name() != d.Instance {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// MakeMachine makes the directories of a machine's files. RemoveMachine removes them.
func (d Dirs) MakeMachine(key string) error {
	if err := os.Mkdir(d.Bundle(key), 0o700); err != nil {
		return err
	}
	return os.MkdirAll(d.Images(key), 0o700)
}

// RemoveMachine deletes everything that a machine has in the file system except
// its snapshots and the record, which is what finds the rest.
func (d Dirs) RemoveMachine(key string) {
	state := d.ContainerState(key)
	lock := strings.TrimSuffix(state, ".state") + ".lock"
	for _, file := range []string{state, state + ".tmp", lock, d.Socket(key)} {
		_ = os.Remove(file)
	}
	_ = os.RemoveAll(d.Images(key))
	_ = os.RemoveAll(d.Bundle(key))
}

// RemoveRecord deletes a machine's record, which comes last.
func (d Dirs) RemoveRecord(key string) {
	_ = os.Remove(d.Record(key) + ".tmp")
	_ = os.Remove(d.Record(key))
}

// RemoveUnclaimed removes images that no machine waits to load, half-made and
// half-deleted snapshots, directories for snapshots that were not made, and
// all that is left of earlier boots. keys returns those of the machines that there are;
// it is called when what is pending has been listed, for machines are made meanwhile.
func (d Dirs) RemoveUnclaimed(keys func() map[string]bool) {
	boots, _ := os.ReadDir(d.AllPending())
	for _, boot := range boots {
		if boot.Name() != process.BootID() {
			_ = os.RemoveAll(filepath.Join(d.AllPending(), boot.Name()))
		}
	}
	owners, _ := os.ReadDir(d.Snapshots())
	for _, owner := range owners {
		_ = unix.Rmdir(filepath.Join(d.Snapshots(), owner.Name())) // Succeeds if it is empty.
	}
	entries, _ := os.ReadDir(d.Pending())
	claimed := keys()
	for _, entry := range entries {
		if !claimed[entry.Name()] {
			_ = os.RemoveAll(filepath.Join(d.Pending(), entry.Name()))
		}
	}
}
