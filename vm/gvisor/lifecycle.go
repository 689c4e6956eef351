//go:build linux

package gvisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/control"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// Start implements vm.Provider. A start that fails after gVisor began to load
// a snapshot leaves nothing to start again: the machine is then stopped with an
// exit reason.
func (d *Driver) Start(ctx context.Context, id string) error {
	return d.do(ctx, "start", id, d.start)
}

func (d *Driver) start(m *machine) (err error) {
	_, status, exit := d.machines.State(m)
	if exit != "" || status != vm.StatusCreated && status != vm.StatusStopped {
		return vm.TransitionError("start", m.ID(), status, vm.StatusRunning)
	}
	if err := d.points.inject("start", m.ID()); err != nil {
		return err
	}
	d.points.reached(stepStartBegun, m.ID())
	switch {
	case status == vm.StatusCreated:
		err = m.boot()
	case m.pending != "":
		if err = m.load(&d.headroom, m.pending); err != nil {
			err = restoreError(m.ID(), err)
			m.sandbox.SignalKill()
			<-m.Done()
		}
	default:
		err = m.calls.Resume()
	}
	if err != nil {
		m.unsure = true
		return err
	}
	d.points.reached(stepStartRunning, m.ID())
	m.loaded()
	d.records.settled(m, vm.StatusRunning, runscRunning)
	raise(d, m)
	return nil
}

// boot runs the guest's first process.
func (m *machine) boot() error {
	return m.calls.StartRoot(func() (*control.Network, error) { return m.packets.take(m.spec, m.sandbox.PID, m.sandbox.Start) })
}

// load makes the sandbox what was saved in images. The guest runs when it
// returns.
func (m *machine) load(host *headroom, images string) error {
	lower, err := m.liftForRestore(host, images)
	if err != nil {
		return err
	}
	defer lower()
	if m.cold {
		return m.boot()
	}
	if err := snapshots.CheckHostFiles(m.hostFiles, m.spec); err != nil {
		return err
	}
	kills := m.group.OOMKills()
	err = m.outOfMemory("restoring it", kills,
		m.calls.Restore(images, func() (*control.Network, error) { return m.packets.take(m.spec, m.sandbox.PID, m.sandbox.Start) }))
	// A package may have been installed meanwhile.
	return cmp.Or(err, snapshots.CheckHostFiles(m.hostFiles, m.spec))
}

// restoreError classifies what went wrong while a snapshot was loaded.
func restoreError(id string, err error) error {
	text := err.Error()
	if strings.Contains(text, "does not match") || strings.Contains(text, "inconsistent") ||
		strings.Contains(text, "incompatible") {
		return failure("restore", id, vm.ErrIncompatible, err)
	}
	return err
}

// Stop implements vm.Provider.
func (d *Driver) Stop(ctx context.Context, id string) error {
	return d.do(ctx, "stop", id, d.stop)
}

func (d *Driver) stop(m *machine) error {
	if _, status, _ := d.machines.State(m); status != vm.StatusRunning {
		return vm.TransitionError("stop", m.ID(), status, vm.StatusStopped)
	}
	if err := m.calls.Pause(); err != nil {
		m.unsure = true
		return err
	}
	d.points.reached(stepStopPaused, m.ID())
	if err := d.points.inject("stop", m.ID()); err != nil {
		undone := m.calls.Resume()
		m.unsure = undone != nil
		return errors.Join(err, undone)
	}
	d.records.settled(m, vm.StatusStopped, runscPaused)
	return nil
}

// Destroy implements vm.Provider.
func (d *Driver) Destroy(_ context.Context, id string) error {
	m, err := d.machines.Find("destroy", id)
	if err != nil {
		return err
	}
	if !d.machines.BeginDestroy(m) {
		return vm.TransitionError("destroy", id, vm.StatusDestroyed, vm.StatusDestroyed)
	}
	err = m.Turn.Seize("destroy", func() {
		m.sandbox.SignalKill()
		m.gofer.SignalKill()
	})
	if err != nil {
		d.machines.NotDestroyed(m)
		return failure("destroy", id, nil, err)
	}
	defer m.Turn.Unlock()
	if err := d.points.inject("destroy", id); err != nil {
		d.machines.CancelDestroy(m)
		return failure("destroy", id, nil, err)
	}
	if err = m.end(d.dirs, &d.points); err != nil {
		d.machines.NotDestroyed(m)
		return failure("destroy", id, nil, err)
	}
	d.machines.Destroyed(m)
	d.engines.freed(m.engine)
	return nil
}

// end kills a machine's processes and frees all that the driver holds for it.
// It can be repeated.
func (m *machine) end(dirs files.Dirs, points *failpoints) error {
	// Both end at the same time.
	m.sandbox.SignalKill()
	m.gofer.SignalKill()
	if err := errors.Join(m.sandbox.Kill(), m.gofer.Kill()); err != nil {
		return err
	}
	if m.watched {
		<-m.watching
	}
	m.sandbox.Release()
	m.gofer.Release()
	if m.console != nil {
		m.console.Finish()
	}
	points.reached(stepDestroyKilled, m.ID())
	if err := m.group.Remove(); err != nil {
		return err // The record stays until all is freed.
	}
	points.reached(stepDestroyCgroup, m.ID())
	dirs.RemoveMachine(m.Key)
	points.reached(stepDestroyFiles, m.ID())
	dirs.RemoveRecord(m.Key)
	points.reached(stepDestroyRemoved, m.ID())
	return nil
}

// watch waits for the end of the sandbox process, and makes it and its reason known in
// the machine's table.
func (m *machine) watch(t *machines.Table[*machine]) {
	defer close(m.watching)
	defer m.packets.close()
	if !m.sandbox.Wait() {
		return // Released: the sandbox runs on.
	}
	m.Conns.End()
	m.console.Finish()
	reason := m.sandbox.Reason
	switch {
	// A guest whose first process lost its stub exits as if it were killed itself.
	case m.group.OOMKills() > 0 && (!strings.HasPrefix(reason, "exited") || reason == "exited: 137"):
		reason = "oom"
	case reason == "":
		reason = "exited"
	}
	t.Ended(m, reason)
}

// Rename implements vm.Renamer. The machine's files and processes do not carry
// its id, so only its record and its snapshots move.
func (d *Driver) Rename(ctx context.Context, oldID, newID string) error {
	return d.machines.Rename(ctx, oldID, newID, func(m *machine) error { return failure("rename", oldID, nil, d.rename(m, oldID, newID)) })
}

// rename moves a machine to an id that is reserved.
func (d *Driver) rename(m *machine, oldID, newID string) error {
	if d.snapshots.HasAny(newID) {
		return fmt.Errorf("%w: snapshots of %s", vm.ErrAlreadyExists, newID)
	}
	from := ""
	if d.snapshots.HasAny(oldID) {
		from = oldID
	}
	if err := d.records.write(m, newID, from); err != nil {
		return err
	}
	d.points.reached(stepRenameRecorded, oldID)
	err := d.points.inject("rename", oldID)
	if err == nil && from != "" {
		err = d.snapshots.Move(from, newID)
	}
	if err != nil {
		return errors.Join(err, d.records.write(m, oldID, ""))
	}
	d.points.reached(stepRenameMoved, oldID)
	if from != "" {
		// Without it, the next process would only look for them and find none.
		_ = d.records.write(m, newID, "")
	}
	return nil
}
