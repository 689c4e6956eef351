//go:build linux

package driver

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/spec"
)

// recordFormat is the version of record.
const recordFormat = 1

// record has the facts that a later process needs to take over a machine, or to clean up after it. It is written before the first object
// of the machine is made, and again when its process is known.
type record struct {
	Format   int64         `json:"format"`
	ID       string        `json:"id"`
	From     string        `json:"from,omitempty"` // the id that the snapshots may still have
	Boot     string        `json:"boot_id"`
	Created  time.Time     `json:"created_at"`
	Spec     vm.Spec       `json:"spec"`
	Limits   spec.Limits   `json:"limits"`
	Status   vm.Status     `json:"status,omitempty"` // empty until it is created
	UID      int           `json:"uid"`
	Restored bool          `json:"restored,omitempty"`
	Cold     bool          `json:"cold,omitempty"`
	Network  *link.Network `json:"network,omitempty"`
	Version  string        `json:"version,omitempty"` // of the hypervisor; earlier records have none
	PID      int           `json:"pid,omitempty"`
	Start    uint64        `json:"start,omitempty"`
}

func (d *Driver) write(m *vmachine, id, from string) error {
	_, status, _ := d.machines.State(m)
	r := record{Format: recordFormat, ID: id, From: from, Boot: d.boot, Created: m.created, Spec: m.Spec, Limits: m.limits, Status: status, UID: m.UID,
		Restored: m.Restored, Cold: m.Cold, Network: m.Network, Version: m.Version}
	r.Spec.RestoreFrom = nil
	if m.Process != nil {
		r.PID, r.Start = m.Process.PID, m.Process.Start
	}
	return durable.WriteJSON(d.dirs.record(m.Key), r)
}

// record writes what only helps.
func (d *Driver) record(m *vmachine) {
	id, _, _ := d.machines.State(m)
	_ = d.write(m, id, "")
}

// settled sets and records a status that a machine is known to have.
func (d *Driver) settled(m *vmachine, status vm.Status) {
	d.machines.SetStatus(m, status)
	d.record(m)
}

func readRecord(file string) (record, error) {
	var r record
	if err := format.ReadJSON("the record of the machine in", file, recordFormat, &r); err != nil {
		return r, err
	}
	return r, vm.ValidateID(r.ID)
}

// lostError is proof that a machine is gone, and why. Nothing else is a reason to give one up.
type lostError string

func (e lostError) Error() string { return string(e) }

// Adopt implements vm.Adopter. It fails, and leaves alone the machines that it did not adopt, if it cannot find out whether a machine is gone.
func (d *Driver) Adopt(ctx context.Context) (adopted []vm.View, lost map[string]string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, machines.Failure("adopt", "", nil, err)
	}
	entries, err := os.ReadDir(d.dirs.machines())
	if err != nil {
		return nil, nil, machines.Failure("adopt", "", nil, err)
	}
	lost, known := map[string]string{}, d.machines.Keys()
	for _, entry := range entries {
		key, isRecord := strings.CutSuffix(entry.Name(), ".json")
		if !isRecord || known[key] {
			continue
		}
		known[key] = true
		r, readErr := readRecord(d.dirs.record(key))
		if errors.As(readErr, new(*fs.PathError)) || errors.As(readErr, new(*format.NewerError)) {
			err = errors.Join(err, machines.Failure("adopt", key, nil, readErr))
			continue
		}
		if readErr != nil {
			lost[key] = "its record is damaged"
			d.clean(key, record{})
			continue
		}
		gone := d.adopt(ctx, key, r)
		if why := lostError(""); errors.As(gone, &why) {
			lost[r.ID] = string(why)
			d.clean(key, r)
		} else if gone != nil {
			err = errors.Join(err, machines.Failure("adopt", r.ID, nil, gone))
		} else if view, ok := d.machines.View(r.ID); ok {
			adopted = append(adopted, view)
		}
	}
	if err != nil {
		return adopted, lost, err
	}
	for _, dir := range []string{d.dirs.machines(), d.dirs.disks()} {
		left, _ := os.ReadDir(dir)
		for _, entry := range left {
			if entry.IsDir() && !known[entry.Name()] { // Of a process that died early.
				d.clean(entry.Name(), record{})
			}
		}
	}
	left, _ := os.ReadDir(d.dirs.pending())
	for _, entry := range left {
		_ = os.RemoveAll(filepath.Join(d.dirs.pending(), entry.Name()))
	}
	return adopted, lost, nil
}

// adopt takes over one machine. The error is a lostError if it is gone.
func (d *Driver) adopt(ctx context.Context, key string, r record) (err error) {
	switch {
	case r.Boot != d.boot:
		return lostError("the host was restarted")
	case r.PID == 0 || r.Status == "":
		return lostError("it was not created to the end")
	}
	if r.From != "" { // The renaming is complete now, unless its snapshots cannot be moved.
		if err := d.Store.Move(r.From, r.ID); err != nil {
			if moved, _ := d.Store.HasAny(r.ID); !moved {
				return err
			}
		}
	}
	m := d.newMachine(r.ID, key)
	m.created, m.Spec, m.limits, m.UID, m.Restored, m.Cold, m.Network, m.Unsure = r.Created, r.Spec, r.Limits, r.UID, r.Restored, r.Cold, r.Network, true
	m.Version = cmp.Or(r.Version, m.Version)
	if d.limits {
		m.Group, _ = cgroups.Open(d.dirs.cgroup(key))
	}
	if m.Process, err = process.Open(r.PID, r.Start); errors.Is(err, process.ErrGone) {
		if m.Group.OOMKills() > 0 {
			return lostError("oom")
		}
		return lostError("its process has ended")
	} else if err != nil {
		return err
	}
	if m.console, err = console.Open(filepath.Join(d.dirs.machine(key), machine.ConsoleFile)); err != nil {
		m.console = console.None() // A machine is worth more than what it prints.
	}
	if err := d.machines.Reserve(m); err != nil {
		m.release()
		return err
	}
	m.watched = true
	go d.watch(m)
	d.machines.Show(m, r.Status, d.Store.Of)
	ctx, cancel := context.WithTimeout(ctx, adoptTime)
	defer cancel()
	_ = m.Turn.Lock(context.WithoutCancel(ctx), "adopt")
	_ = m.Turn.Run(ctx, 0, func() error { return d.meet(m) })
	return nil
}

// meetPause is the pause between questions to a machine that does not answer.
const meetPause = 100 * time.Millisecond

// meet finds out what an adopted machine does. One that does not answer is asked until it does, or has ended: it is busy meanwhile.
func (d *Driver) meet(m *vmachine) error {
	for {
		err := d.settle(m)
		if err == nil {
			return nil
		}
		select {
		case <-m.Process.Joined:
			return err
		case <-time.After(meetPause):
		}
	}
}

// clean frees what a machine left whose process has ended, or is ended now if it is the recorded one. Where it may live on, its files
// stay: the next Adopt finds it by them.
func (d *Driver) clean(key string, r record) {
	if r.Boot == d.boot {
		if err := process.KillRecorded(r.PID, r.Start); err != nil && !errors.Is(err, process.ErrGone) {
			return
		}
	}
	if process.KillByArgument(d.hypervisor.Argument(d.dirs.machine(key))) != nil {
		return
	}
	cgroups.RemoveAt(d.dirs.cgroup(key))
	_ = d.remove(key)
}
