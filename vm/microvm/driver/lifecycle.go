//go:build linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// Start implements vm.Provider.
func (d *Driver) Start(ctx context.Context, id string) error {
	return d.do(ctx, "start", id, func(m *vmachine) error {
		id, status, exit := d.machines.State(m)
		if exit != "" || status != vm.StatusCreated && status != vm.StatusStopped {
			return vm.TransitionError("start", id, status, vm.StatusRunning)
		}
		if err := d.inject("start", id); err != nil {
			return err
		}
		if err := m.Run(context.Background()); err != nil {
			m.Unsure = true
			return err
		}
		d.reached(stepStartRunning, id)
		d.settled(m, vm.StatusRunning)
		return nil
	})
}

// Stop implements vm.Provider. The guest's programs stop first, so that none of them runs before the guest knows the time, its name and
// its address again, in this machine or in one of its snapshots. A guest that does not do so is stopped all the same.
func (d *Driver) Stop(ctx context.Context, id string) error {
	return d.do(ctx, "stop", id, func(m *vmachine) error {
		id, status, _ := d.machines.State(m)
		if status != vm.StatusRunning {
			return vm.TransitionError("stop", id, status, vm.StatusStopped)
		}
		if err := m.Halt(); err != nil {
			m.Unsure = true
			return err
		}
		d.reached(stepStopPaused, id)
		if err := d.inject("stop", id); err != nil {
			undone := m.Run(context.Background())
			m.Unsure = undone != nil
			return errors.Join(err, undone)
		}
		d.settled(m, vm.StatusStopped)
		return nil
	})
}

// settle finds out what a machine does after a call that failed, or that an earlier process made.
func (d *Driver) settle(m *vmachine) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	running, err := m.Monitor.Running(ctx)
	if err != nil {
		return err
	}
	_, status, _ := d.machines.State(m)
	if running && status == vm.StatusStopped { // A save let it run to write its files, or a start did not come to its end.
		if err := m.Halt(); err != nil {
			return err
		}
		running = false
	}
	if running {
		return d.finishRun(m)
	}
	if status != vm.StatusCreated {
		status = vm.StatusStopped
	}
	m.Unsure = false
	d.settled(m, status)
	return nil
}

// finishRun is what is left of run, whose guest runs already.
func (d *Driver) finishRun(m *vmachine) error {
	if err := m.Run(context.Background()); err != nil {
		if !errors.As(err, new(link.RefusedError)) {
			return err
		}
		m.Cold = false // It has booted.
	}
	m.Unsure = false
	d.settled(m, vm.StatusRunning)
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
	if err := m.Turn.Seize("destroy", m.Process.SignalKill); err != nil {
		d.machines.NotDestroyed(m)
		return machines.Failure("destroy", id, nil, err)
	}
	defer m.Turn.Unlock()
	if err := d.inject("destroy", id); err != nil {
		d.machines.CancelDestroy(m)
		return machines.Failure("destroy", id, nil, err)
	}
	if err := d.end(m, id); err != nil {
		d.machines.NotDestroyed(m)
		return machines.Failure("destroy", id, nil, err)
	}
	d.machines.Destroyed(m)
	return nil
}

// end kills a machine's process and frees all that the driver holds for it. It can be repeated.
func (d *Driver) end(m *vmachine, id string) error {
	if err := m.Process.Kill(); err != nil {
		return err
	}
	m.release()
	d.reached(stepDestroyKilled, id)
	if err := m.Group.Remove(); err != nil {
		return err // The record stays until all is freed.
	}
	return d.remove(m.Key)
}

// remove deletes the files of a machine whose process has ended; the record comes last.
func (d *Driver) remove(key string) error {
	err := errors.Join(os.RemoveAll(d.dirs.machine(key)), os.RemoveAll(d.dirs.disk(key)))
	if err != nil {
		return err
	}
	_ = os.Remove(d.dirs.record(key) + ".tmp")
	if err := os.Remove(d.dirs.record(key)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// watch waits for the end of the process, and makes it and its reason known.
func (d *Driver) watch(m *vmachine) {
	defer close(m.watching)
	if !m.Process.Wait() {
		return // Released: the machine runs on.
	}
	m.Conns.End()
	m.HangUp()
	m.console.Finish()
	reason := m.Exit()
	switch {
	case m.Group.OOMKills() > 0:
		reason = "oom"
	case reason != "" && !strings.HasPrefix(m.Process.Reason, "signal"):
	case m.Process.Reason == "" || m.Process.Reason == "exited: 0": // A guest that restarts, or whose kernel panics, ends its monitor so.
		reason = "exited"
	default:
		reason = m.Process.Reason
	}
	d.machines.Ended(m, reason)
}

// Rename implements vm.Renamer. The machine's files and process do not carry its id, so only its record and its snapshots move.
func (d *Driver) Rename(ctx context.Context, oldID, newID string) error {
	return d.machines.Rename(ctx, oldID, newID, func(m *vmachine) error { return d.rename(m, oldID, newID) })
}

func (d *Driver) rename(m *vmachine, oldID, newID string) error {
	if taken, err := d.Store.HasAny(newID); err != nil {
		return err
	} else if taken {
		return fmt.Errorf("%w: snapshots of %s", vm.ErrAlreadyExists, newID)
	}
	from := ""
	if has, err := d.Store.HasAny(oldID); err != nil {
		return err
	} else if has {
		from = oldID
	}
	if err := d.write(m, newID, from); err != nil {
		return err
	}
	err := d.inject("rename", oldID)
	if err == nil && from != "" {
		err = d.Store.Move(from, newID)
	}
	if err != nil {
		return errors.Join(err, d.write(m, oldID, ""))
	}
	if from != "" {
		_ = d.write(m, newID, "")
	}
	return nil
}

// SetWeight implements vm.Weigher.
func (d *Driver) SetWeight(ctx context.Context, id string, weight int) error {
	return d.machines.SetWeight(ctx, id, weight, func(m *vmachine) func(int) error {
		if m.Group == nil {
			return nil
		}
		return m.Group.SetWeight
	})
}
