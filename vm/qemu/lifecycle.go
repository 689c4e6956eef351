//go:build linux

package qemu

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// The times that a guest has: to boot, to go on, and to stop its programs. Emulated processors are slow, and shared.
const (
	bootTime   = 60 * time.Second
	wakeTime   = 20 * time.Second
	freezeTime = 3 * time.Second
)

// Start implements vm.Provider.
func (d *Driver) Start(ctx context.Context, id string) error {
	return d.do(ctx, "start", id, func(m *machine) error {
		id, status, exit := d.machines.State(m)
		if exit != "" || status != vm.StatusCreated && status != vm.StatusStopped {
			return vm.TransitionError("start", id, status, vm.StatusRunning)
		}
		if err := d.points.inject("start", id); err != nil {
			return err
		}
		if err := d.run(context.Background(), m); err != nil {
			m.unsure = true
			return err
		}
		d.points.reached(stepStartRunning, id)
		d.settled(m, vm.StatusRunning)
		return nil
	})
}

// run lets the guest run: it boots, or goes on.
func (d *Driver) run(ctx context.Context, m *machine) error {
	if err := d.ask(ctx, m, "cont"); err != nil {
		return err
	}
	wake := link.Wake{Time: time.Now(), Seed: make([]byte, 64), Hostname: m.spec.Hostname, Network: m.network}
	rand.Read(wake.Seed)
	call, limit := link.Call{Wake: &wake}, wakeTime
	if m.cold {
		call, limit = link.Call{Boot: &link.Boot{Wake: wake, Args: m.spec.Args, Env: m.spec.Env, Cwd: m.spec.Cwd, MaxProcesses: m.spec.MaxProcesses,
			ReadOnly: m.spec.RootfsReadOnly, SetUID: d.conf.SetUID}}, bootTime
	}
	if err := d.call(ctx, m, limit, call); err != nil {
		return err
	}
	m.cold = false
	return nil
}

// call asks the guest.
func (d *Driver) call(ctx context.Context, m *machine, limit time.Duration, call link.Call) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m.mu.Lock()
	client := m.link
	m.mu.Unlock()
	if client == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.dirs.machine(m.Key), linkSocket))
		if err != nil {
			return fmt.Errorf("link to the guest: %w", err)
		}
		client = link.NewClient(conn, func(exit string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.exit = exit
		})
		m.mu.Lock()
		m.link = client
		m.mu.Unlock()
	}
	err := client.Call(ctx, call)
	if err != nil && !errors.As(err, new(link.RefusedError)) {
		return fmt.Errorf("%w: %w", vm.ErrUnavailable, err)
	}
	return err
}

// ask makes a request of QEMU.
func (d *Driver) ask(ctx context.Context, m *machine, command string) error {
	ctx, cancel := context.WithTimeout(ctx, launchTime)
	defer cancel()
	return m.qmp.Do(ctx, command, nil, nil)
}

// Stop implements vm.Provider. The guest's programs stop first, so that none of them runs before the guest knows the time, its name and
// its address again, in this machine or in one of its snapshots. A guest that does not do so is stopped all the same.
func (d *Driver) Stop(ctx context.Context, id string) error {
	return d.do(ctx, "stop", id, func(m *machine) error {
		id, status, _ := d.machines.State(m)
		if status != vm.StatusRunning {
			return vm.TransitionError("stop", id, status, vm.StatusStopped)
		}
		if err := d.halt(m); err != nil {
			m.unsure = true
			return err
		}
		d.points.reached(stepStopPaused, id)
		if err := d.points.inject("stop", id); err != nil {
			undone := d.run(context.Background(), m)
			m.unsure = undone != nil
			return errors.Join(err, undone)
		}
		d.settled(m, vm.StatusStopped)
		return nil
	})
}

func (d *Driver) halt(m *machine) error {
	_ = d.call(context.Background(), m, freezeTime, link.Call{Freeze: true})
	return d.ask(context.Background(), m, "stop")
}

// settle finds out what a machine does after a call that failed, or that an earlier process made.
func (d *Driver) settle(m *machine) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if m.qmp == nil {
		if err := d.connect(ctx, m); err != nil {
			return err
		}
	}
	var is struct {
		Running bool `json:"running"`
	}
	if err := m.qmp.Do(ctx, "query-status", nil, &is); err != nil {
		m.hangUp()
		m.qmp = nil
		return err
	}
	_, status, _ := d.machines.State(m)
	if is.Running {
		if m.cold {
			return d.finishRun(m, vm.StatusCreated)
		}
		return d.finishRun(m, vm.StatusRunning)
	}
	if status != vm.StatusCreated {
		status = vm.StatusStopped
	}
	m.unsure = false
	d.settled(m, status)
	return nil
}

// finishRun is what is left of run, whose guest runs already.
func (d *Driver) finishRun(m *machine, _ vm.Status) error {
	if err := d.run(context.Background(), m); err != nil {
		if !errors.As(err, new(link.RefusedError)) {
			return err
		}
		m.cold = false // It has booted.
	}
	m.unsure = false
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
	if err := m.Turn.Seize("destroy", m.process.SignalKill); err != nil {
		d.machines.NotDestroyed(m)
		return machines.Failure("destroy", id, nil, err)
	}
	defer m.Turn.Unlock()
	if err := d.points.inject("destroy", id); err != nil {
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
func (d *Driver) end(m *machine, id string) error {
	if err := m.process.Kill(); err != nil {
		return err
	}
	m.release()
	d.points.reached(stepDestroyKilled, id)
	if err := m.group.Remove(); err != nil {
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

// hangUp ends the connections to QEMU and to the guest.
func (m *machine) hangUp() {
	m.mu.Lock()
	qmp, link := m.qmp, m.link
	m.link = nil
	m.mu.Unlock()
	if qmp != nil {
		_ = qmp.Close()
	}
	if link != nil {
		_ = link.Close()
	}
}

// watch waits for the end of the process, and makes it and its reason known.
func (d *Driver) watch(m *machine) {
	defer close(m.watching)
	select {
	case <-m.process.Ended:
	case <-m.process.Joined:
		select {
		case <-m.process.Ended:
		default:
			return // Released: the machine runs on.
		}
	}
	m.Conns.End()
	m.hangUp()
	m.console.Finish()
	m.mu.Lock()
	reason := m.exit
	m.mu.Unlock()
	switch {
	case m.group.OOMKills() > 0:
		reason = "oom"
	case reason != "" && !strings.HasPrefix(m.process.Reason, "signal"):
	case m.process.Reason == "" || m.process.Reason == "exited: 0": // A guest that restarts, or whose kernel panics, ends QEMU so.
		reason = "exited"
	default:
		reason = m.process.Reason
	}
	d.machines.Ended(m, reason)
}

// Rename implements vm.Renamer. The machine's files and process do not carry its id, so only its record and its snapshots move.
func (d *Driver) Rename(ctx context.Context, oldID, newID string) error {
	if err := vm.ValidateID(newID); err != nil {
		return machines.Failure("rename", oldID, nil, err)
	}
	m, err := d.machines.Acquire(ctx, "rename", oldID)
	if err != nil {
		return err
	}
	defer m.Turn.Unlock()
	if _, status, _ := d.machines.State(m); status == vm.StatusDestroyed {
		return vm.TransitionError("rename", oldID, status, status)
	}
	if oldID == newID {
		return nil
	}
	if err := d.machines.ReserveID(newID, m); err != nil {
		return machines.Failure("rename", oldID, nil, fmt.Errorf("%w: %s", err, newID))
	}
	if err := d.rename(m, oldID, newID); err != nil {
		d.machines.ReleaseID(newID)
		return machines.Failure("rename", oldID, nil, err)
	}
	return nil
}

func (d *Driver) rename(m *machine, oldID, newID string) error {
	if d.hasSnapshots(newID) {
		return fmt.Errorf("%w: snapshots of %s", vm.ErrAlreadyExists, newID)
	}
	from := ""
	if d.hasSnapshots(oldID) {
		from = oldID
	}
	if err := d.write(m, newID, from); err != nil {
		return err
	}
	err := d.points.inject("rename", oldID)
	if err == nil && from != "" {
		err = d.moveSnapshots(from, newID)
	}
	if err != nil {
		return errors.Join(err, d.write(m, oldID, ""))
	}
	if from != "" {
		_ = d.write(m, newID, "")
	}
	d.machines.Rename(m, newID)
	return nil
}

// SetWeight implements vm.Weigher.
func (d *Driver) SetWeight(_ context.Context, id string, weight int) error {
	m, err := d.machines.Find("set weight", id)
	if err != nil {
		return err
	}
	switch _, status, _ := d.machines.State(m); {
	case weight < vm.MinWeight || weight > vm.MaxWeight:
		return machines.Failure("set weight", id, vm.ErrInvalid, fmt.Errorf("a weight of %d", weight))
	case status == vm.StatusDestroyed:
		return vm.TransitionError("set weight", id, status, status)
	case m.group == nil:
		return machines.Failure("set weight", id, vm.ErrUnsupported, cgroups.Usable())
	}
	return machines.Failure("set weight", id, nil, m.group.SetWeight(weight))
}
