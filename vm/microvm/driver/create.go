//go:build linux

package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
	"github.com/rundlet/rundlet/vm/microvm/spec"
)

// Create implements vm.Provider. With RestoreFrom and without ResumeImmediately the state is loaded, and Start lets it run.
func (d *Driver) Create(ctx context.Context, id string, asked vm.Spec) error {
	if err := errors.Join(vm.ValidateID(id), ctx.Err()); err != nil {
		return machines.Failure("create", id, nil, err)
	}
	m := d.newMachine(id, "")
	if err := d.machines.Reserve(m); err != nil {
		return machines.Failure("create", id, nil, err)
	}
	asked = spec.Own(asked)
	_ = m.Turn.Lock(context.WithoutCancel(ctx), "create") // Not shared yet.
	return machines.Failure("create", id, nil, m.Turn.Run(ctx, turn.Bound, func() error {
		err := d.create(ctx, m, id, asked)
		if err == nil {
			return nil
		}
		d.machines.Release(m)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return err
	}))
}

func (d *Driver) newMachine(id, key string) *vmachine {
	m := &vmachine{created: time.Now(), watching: make(chan struct{})}
	m.Init(id, key)
	m.Dir, m.Disks, m.SetUID, m.Version = d.dirs.machine(m.Key), d.dirs.disk(m.Key), d.setUID, d.hypervisor.Version
	m.Monitor = d.hypervisor.New(&m.State)
	return m
}

// create is for the holder of the turn.
func (d *Driver) create(ctx context.Context, m *vmachine, id string, asked vm.Spec) (err error) {
	if err := spec.Check(asked, d.hypervisor.MaxVCPUs); err != nil {
		return err
	}
	made, ref, from := asked, asked.RestoreFrom, (*snapshots.Manifest)(nil)
	status := vm.StatusCreated
	if ref != nil {
		if from, err = d.Store.Read(ref.VMID, ref.SnapshotID); err != nil {
			return err
		}
		if made, err = from.Fits(d.Store, asked); err != nil {
			return err
		}
		status = vm.StatusStopped
	}
	m.limits = spec.Limits{VCPUs: cmp.Or(asked.VCPUs, spec.VCPUs(made)), MemoryMiB: cmp.Or(asked.MemoryMiB, spec.MemoryMiB(made))}
	m.Spec, m.Cold = made, from == nil || from.Filesystem
	m.Restored, m.Frozen = !m.Cold, !m.Cold
	if !d.limits && (made.VCPUs > 0 || made.MemoryMiB > 0 || made.Weight > 0) {
		return &vm.Error{Op: "create", ID: id, Kind: vm.ErrUnsupported, Err: fmt.Errorf("cpu and memory limits: this host has no usable control groups: %w", cgroups.Usable()),
			Hint: "mount control groups (v1 or v2)"}
	}
	defer func() {
		if err != nil {
			_ = d.end(m, id)
		}
	}()
	if err := d.build(ctx, m, id, ref, from); err != nil {
		return err
	}
	if err := errors.Join(d.inject("create", id), ctx.Err()); err != nil {
		return err
	}
	if ref != nil && ref.ResumeImmediately {
		d.reached(stepCreateLoading, id)
		if err := m.Run(ctx); err != nil {
			return err
		}
		d.reached(stepCreateRunning, id)
		status = vm.StatusRunning
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.machines.Show(m, status, d.Store.Of)
	d.record(m)
	return nil
}

// build makes all that the machine has on the host, up to a process whose guest stands still.
func (d *Driver) build(ctx context.Context, m *vmachine, id string, ref *vm.SnapshotRef, from *snapshots.Manifest) (err error) {
	d.users.take(m, &d.machines)
	if err := d.write(m, id, ""); err != nil { // First: it is what finds the rest.
		return err
	}
	d.reached(stepCreateRecord, id)
	dir := m.Dir
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chown(dir, m.UID, m.UID); err != nil {
		return err
	}
	if err := os.Mkdir(m.Disks, 0o700); err != nil {
		return err
	}
	if m.console, err = console.Open(filepath.Join(dir, machine.ConsoleFile)); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	saved := ""
	if ref != nil {
		saved = d.Store.Path(ref.VMID, ref.SnapshotID)
	}
	if err := m.MakeFiles(saved, from); err != nil {
		return err
	}
	if d.limits {
		if m.Group, err = cgroups.New(d.dirs.cgroup(m.Key), m.limits.Resources(spec.VCPUs(m.Spec), d.hypervisor.Overhead), m.Spec.Weight); err != nil {
			return err
		}
	}
	d.reached(stepCreateFiles, id)
	if err := m.Monitor.Launch(ctx, d.boots.latest); err != nil {
		return err
	}
	if err := d.write(m, id, ""); err != nil {
		return err
	}
	d.reached(stepCreateLaunched, id)
	m.watched = true
	go d.watch(m)
	if m.Restored {
		return m.Monitor.Load(ctx)
	}
	return nil
}

// users are those of machines.
type users struct {
	mu   sync.Mutex
	last int
}

// take gives a machine a user that no other machine of the table has.
func (u *users) take(m *vmachine, table *machines.Table[*vmachine]) {
	used := map[int]bool{}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, other := range table.All() {
		if other != m {
			used[other.UID] = true
		}
	}
	for i := range uids {
		if uid := firstUID + (u.last+1+i)%uids; !used[uid] {
			u.last, m.UID = uid-firstUID, uid
			return
		}
	}
	m.UID = firstUID // More machines than users: they share one.
}
