//go:build linux

package gvisor

import (
	"time"

	"gvisor.dev/gvisor/runsc/cgroup"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
)

// recordFormat is the version of record. 1 is the first; a record without a number has
// it, too. A field that an older program may leave out does not make a new version; one that it
// must heed to adopt, or to end, a machine does. Adopt refuses a newer one and changes
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
	// SavedRoot is as in the manifest.
	SavedRoot string `json:"saved_root,omitempty"`

	SandboxPID   int    `json:"sandbox_pid,omitempty"`
	SandboxStart uint64 `json:"sandbox_start,omitempty"`
	GoferPID     int    `json:"gofer_pid,omitempty"`
	GoferStart   uint64 `json:"gofer_start,omitempty"`
}

// records writes what the next process should know of the machines of a table. The holder
// of a machine's turn calls it.
type records struct {
	dirs     files.Dirs
	machines *machines.Table[*machine]
}

// write records the machine under an id; from is the one before it while
// snapshots are on their way.
func (w records) write(m *machine, id, from string) error {
	_, status, _ := w.machines.State(m)
	r := m.record(id, from, status)
	return durable.WriteJSON(w.dirs.Record(m.Key), &r) // CgroupJSON needs a pointer.
}

// settled sets and records a status that a machine is known to have.
func (w records) settled(m *machine, status vm.Status, runsc runscStatus) {
	w.machines.SetStatus(m, status)
	w.status(m, runsc)
}

// status writes what only helps: the record, if the sentry does not answer
// the next daemon, and the file of gVisor's own command line.
func (w records) status(m *machine, runsc runscStatus) {
	if w.machines.Closed() {
		return // An abandoned call came back; the files are another driver value's.
	}
	_ = w.write(m, m.ID(), "")
	_ = m.writeState(w.dirs, runsc)
}

func (m *machine) record(id, from string, status vm.Status) record {
	r := record{Format: recordFormat, ID: id, From: from, Status: status, Resume: m.resume, Key: m.Key, BootID: process.BootID(), Created: m.created, Spec: m.spec,
		Pending: m.pending, Cold: m.cold && m.pending != "", SetUID: m.setUID, OneLayer: m.oneLayer, SavedRoot: m.savedRoot}
	if m.group != nil {
		r.Cgroup = m.group.CgroupJSON
	}
	if m.sandbox != nil {
		r.SandboxPID, r.SandboxStart = m.sandbox.PID, m.sandbox.Start
	}
	if m.gofer != nil {
		r.GoferPID, r.GoferStart = m.gofer.PID, m.gofer.Start
	}
	return r
}
