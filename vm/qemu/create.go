//go:build linux

package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/internal/machines"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
)

// Create implements vm.Provider. With RestoreFrom and without ResumeImmediately the state is loaded, and Start lets it run.
func (d *Driver) Create(ctx context.Context, id string, spec vm.Spec) error {
	if err := errors.Join(vm.ValidateID(id), ctx.Err()); err != nil {
		return machines.Failure("create", id, nil, err)
	}
	m := newMachine(id, "")
	if err := d.machines.Reserve(m); err != nil {
		return machines.Failure("create", id, nil, err)
	}
	spec = ownSpec(spec)
	_ = m.Turn.Lock(context.WithoutCancel(ctx), "create") // Not shared yet.
	return machines.Failure("create", id, nil, m.Turn.Run(ctx, turn.Bound, func() error {
		err := d.create(ctx, m, id, spec)
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

func newMachine(id, key string) *machine {
	m := &machine{created: time.Now(), watching: make(chan struct{})}
	m.Init(id, key)
	return m
}

// create is for the holder of the turn.
func (d *Driver) create(ctx context.Context, m *machine, id string, spec vm.Spec) (err error) {
	if err := check(spec); err != nil {
		return err
	}
	asked, ref, from := spec, spec.RestoreFrom, (*manifest)(nil)
	status := vm.StatusCreated
	if ref != nil {
		if from, err = d.readManifest(ref.VMID, ref.SnapshotID); err != nil {
			return err
		}
		if spec, err = from.fits(d, spec); err != nil {
			return err
		}
		status = vm.StatusStopped
	}
	m.limits = limits{cmp.Or(asked.VCPUs, vcpus(spec)), cmp.Or(asked.MemoryMiB, memoryMiB(spec))}
	m.spec, m.cold = spec, from == nil || from.Filesystem
	m.restored = !m.cold
	if !d.limits && (spec.VCPUs > 0 || spec.MemoryMiB > 0 || spec.Weight > 0) {
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
	if err := errors.Join(d.points.inject("create", id), ctx.Err()); err != nil {
		return err
	}
	if ref != nil && ref.ResumeImmediately {
		d.points.reached(stepCreateLoading, id)
		if err := d.run(ctx, m); err != nil {
			return err
		}
		d.points.reached(stepCreateRunning, id)
		status = vm.StatusRunning
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.machines.Show(m, status, d.snapshotsOf)
	d.record(m)
	return nil
}

// build makes all that the machine has on the host, up to a process whose guest stands still.
func (d *Driver) build(ctx context.Context, m *machine, id string, ref *vm.SnapshotRef, from *manifest) (err error) {
	m.uid = d.freeUID(m)
	if err := d.write(m, id, ""); err != nil { // First: it is what finds the rest.
		return err
	}
	d.points.reached(stepCreateRecord, id)
	dir := d.dirs.machine(m.Key)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chown(dir, m.uid, m.uid); err != nil {
		return err
	}
	if err := os.Mkdir(d.dirs.disk(m.Key), 0o700); err != nil {
		return err
	}
	if err := unix.Mkfifo(filepath.Join(dir, consolePipe+".in"), 0o600); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	if m.console, err = console.Open(filepath.Join(dir, consolePipe+".out")); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	if err := d.makeFiles(m, ref, from); err != nil {
		return err
	}
	if d.limits {
		if m.group, err = cgroups.New(d.dirs.cgroup(m.Key), m.limits.resources(), m.spec.Weight); err != nil {
			return err
		}
	}
	d.points.reached(stepCreateFiles, id)
	if err := d.launch(ctx, m); err != nil {
		return err
	}
	if err := d.write(m, id, ""); err != nil {
		return err
	}
	d.points.reached(stepCreateLaunched, id)
	m.watched = true
	go d.watch(m)
	if m.restored {
		return d.loaded(ctx, m)
	}
	return nil
}

// makeFiles makes the machine's disk, and what it needs of the snapshot: links, since the snapshot may be deleted before.
func (d *Driver) makeFiles(m *machine, ref *vm.SnapshotRef, from *manifest) error {
	dir := d.dirs.disk(m.Key)
	if from == nil {
		if m.spec.RootfsReadOnly {
			return nil
		}
		return makeDisk(filepath.Join(dir, diskFile), int64(diskMiB(m.spec))<<20)
	}
	saved := d.dirs.snapshot(ref.VMID, ref.SnapshotID)
	if m.restored {
		for _, name := range []string{ramFile, stateFile} {
			if err := os.Link(filepath.Join(saved, name), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if m.spec.RootfsReadOnly {
		return nil
	}
	disk, err := os.Open(filepath.Join(saved, diskFile))
	if err != nil {
		return err
	}
	defer disk.Close()
	info, err := disk.Stat()
	if err != nil {
		return err
	}
	return copySparse(disk, filepath.Join(dir, diskFile), info.Size())
}

// freeUID is a user that no other machine of this driver value has.
func (d *Driver) freeUID(m *machine) int {
	used := map[int]bool{}
	d.uids.Lock()
	defer d.uids.Unlock()
	for _, other := range d.machines.All() {
		if other != m {
			used[other.uid] = true
		}
	}
	for i := range uids {
		if uid := firstUID + (d.lastUID+1+i)%uids; !used[uid] {
			d.lastUID = uid - firstUID
			return uid
		}
	}
	return firstUID // More machines than users: they share one.
}

// loaded waits until QEMU has loaded the state of a restored machine.
func (d *Driver) loaded(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeout(ctx, launchTime)
	defer cancel()
	for pause := connectFirst; ; pause = min(2*pause, connectLast) {
		var status struct {
			Status string `json:"status"`
		}
		if err := m.qmp.Do(ctx, "query-status", nil, &status); err != nil {
			if why := d.complaint(m); why != "" {
				err = fmt.Errorf("%w: %s", vm.ErrIncompatible, why)
			}
			return fmt.Errorf("load the snapshot: %w", err)
		}
		if status.Status != "inmigrate" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("load the snapshot: %w", ctx.Err())
		case <-time.After(pause):
		}
	}
}
