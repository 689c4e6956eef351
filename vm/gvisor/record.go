//go:build linux

package gvisor

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/cgroup"
	"gvisor.dev/gvisor/runsc/container"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/cgroups"
)

// recordFormat is the version of record. 1 is the first; a record without a number has
// it, too. A field that an older program may leave out is no new version; one that it
// must heed to adopt, or to end, a machine is. Adopt refuses a newer one and changes
// nothing: a machine that is not understood is not lost.
const recordFormat = 1

// record has the facts that a later process needs to take over a machine, or to clean
// up after it. It is written before the first object of the machine is made, and again
// when its processes are known.
type record struct {
	Format  int64     `json:"format"`
	ID      string    `json:"id"`
	Key     string    `json:"key"`
	BootID  string    `json:"boot_id"`
	Created time.Time `json:"created_at"`
	Spec    vm.Spec   `json:"spec"`
	Pending string    `json:"pending,omitempty"`
	Cold    bool      `json:"cold,omitempty"`
	// Status is the last known one of the machine; empty until it is created. It counts only while the sentry itself does not answer.
	Status vm.Status `json:"status,omitempty"`
	// Resume says that Create itself loads a snapshot: found before that, the
	// machine is incomplete.
	Resume bool `json:"resume,omitempty"`
	// From is the id that the snapshots may still have: a renaming moves them
	// after it has written the record.
	From   string            `json:"from,omitempty"`
	Cgroup cgroup.CgroupJSON `json:"cgroup"`
	// SetUID is as in the manifest.
	SetUID []string `json:"set_uid,omitempty"`
	// OneLayer is as in the manifest.
	OneLayer bool `json:"one_layer,omitempty"`

	SandboxPID   int    `json:"sandbox_pid,omitempty"`
	SandboxStart uint64 `json:"sandbox_start,omitempty"`
	GoferPID     int    `json:"gofer_pid,omitempty"`
	GoferStart   uint64 `json:"gofer_start,omitempty"`
}

// thisBoot is the id that bootID has read.
var thisBoot struct {
	mu sync.Mutex
	id string
}

// bootID names this boot of the host. Process ids mean nothing in another. It is
// read once, by New, which fails without it: a machine whose record has another
// one is taken for lost.
func bootID() string {
	thisBoot.mu.Lock()
	defer thisBoot.mu.Unlock()
	if thisBoot.id == "" {
		data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
		thisBoot.id = strings.TrimSpace(string(data))
	}
	return thisBoot.id
}

// newKey names a machine's files, control group and container. It is random
// and never used again, unlike an id, so nothing old is ever mistaken for it.
func newKey() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // Never fails.
	return hex.EncodeToString(b[:])
}

func (c Config) allPending() string { return filepath.Join(c.StateDir, "pending") }

// pendingDir holds what has no name to be found by yet or any more: half-made
// and half-deleted snapshots, images that machines wait to load, and for a
// moment the files of writable layers. What another boot of the host left there
// has no owner.
func (c Config) pendingDir() string {
	return filepath.Join(c.allPending(), bootID(), c.Instance)
}

func (c Config) bundle(key string) string     { return filepath.Join(c.machinesDir(), key) }
func (c Config) recordFile(key string) string { return filepath.Join(c.machinesDir(), key+".json") }
func (c Config) cgroupPath(key string) string { return filepath.Join(c.cgroupParent(), key) }

// records writes what the next process should know of the machines of a table. The holder
// of a machine's turn calls it.
type records struct {
	conf     Config
	machines *table
}

// write records the machine under an id; from is the one before it while
// snapshots are on their way.
func (w records) write(m *machine, id, from string) error {
	status, _ := w.machines.state(m)
	r := m.record(id, from, status)
	return writeJSON(w.conf.recordFile(m.key), &r) // CgroupJSON needs a pointer.
}

// settled sets and records a status that a machine is known to have.
func (w records) settled(m *machine, status vm.Status, runsc container.Status) {
	w.machines.setStatus(m, status)
	w.status(m, runsc)
}

// status writes what only helps: the record, if the sentry does not answer
// the next daemon, and the file of gVisor's own command line.
func (w records) status(m *machine, runsc container.Status) {
	if w.machines.isClosed() {
		return // An abandoned call came back; the files are another driver value's.
	}
	_ = w.write(m, m.id, "")
	_ = m.writeState(w.conf.stateFile(m.key), runsc)
}

func (m *machine) record(id, from string, status vm.Status) record {
	r := record{Format: recordFormat, ID: id, From: from, Status: status, Resume: m.resume, Key: m.key, BootID: bootID(), Created: m.created, Spec: m.spec,
		Pending: m.pending, Cold: m.cold && m.pending != "", SetUID: m.setUID, OneLayer: m.oneLayer}
	if m.group != nil {
		r.Cgroup = m.group.CgroupJSON
	}
	if m.sandbox != nil {
		r.SandboxPID, r.SandboxStart = m.sandbox.pid, m.sandbox.start
	}
	if m.gofer != nil {
		r.GoferPID, r.GoferStart = m.gofer.pid, m.gofer.start
	}
	return r
}

// removeFiles deletes everything that a machine has in the file system except
// its snapshots and the record, which is what finds the rest.
func (c Config) removeFiles(key string) {
	root := c.rootDir()
	state := c.stateFile(key)
	lock := strings.TrimSuffix(state, ".state") + ".lock"
	for _, file := range []string{state, state + ".tmp", lock, filepath.Join(root, "runsc-"+key+".sock")} {
		_ = os.Remove(file)
	}
	_ = os.RemoveAll(filepath.Join(c.pendingDir(), key))
	_ = os.RemoveAll(c.bundle(key))
}

func (c Config) removeRecord(key string) {
	_ = os.Remove(c.recordFile(key) + ".tmp")
	_ = os.Remove(c.recordFile(key))
}

// clean frees the objects that dead machines left. It signals only processes whose command
// line names the machine's bundle.
func (c Config) clean(keys []string) {
	bundles := map[string]bool{}
	for _, key := range keys {
		bundles[c.bundle(key)] = true
	}
	for bundle, pids := range strays(bundles) {
		for _, pid := range pids {
			killStray(pid, bundle)
		}
	}
	for _, key := range keys {
		if r, err := readRecord(c.recordFile(key)); err == nil && r.BootID == bootID() {
			killRecorded(r.SandboxPID, r.SandboxStart)
			killRecorded(r.GoferPID, r.GoferStart)
		}
		// By name: the group may be older than the record, or the record damaged.
		cgroups.RemoveAt(c.cgroupPath(key))
		c.removeFiles(key)
		c.removeRecord(key)
	}
}

// cleanPending removes images that no machine waits to load, half-made and
// half-deleted snapshots, directories for snapshots that were not made, files of layers that were not unlinked in time, and
// all that is left of earlier boots.
func (c Config) cleanPending(keys map[string]bool) {
	boots, _ := os.ReadDir(c.allPending())
	for _, boot := range boots {
		if boot.Name() != bootID() {
			_ = os.RemoveAll(filepath.Join(c.allPending(), boot.Name()))
		}
	}
	owners, _ := os.ReadDir(c.snapshotsDir())
	for _, owner := range owners {
		_ = unix.Rmdir(filepath.Join(c.snapshotsDir(), owner.Name())) // Succeeds if it is empty.
	}
	entries, _ := os.ReadDir(c.pendingDir())
	for _, entry := range entries {
		if !keys[entry.Name()] {
			_ = os.RemoveAll(filepath.Join(c.pendingDir(), entry.Name()))
		}
	}
}
