//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// Snapshot implements vm.Provider.
func (d *Driver) Snapshot(ctx context.Context, id, snapshot string) error {
	return d.save(ctx, id, snapshot, false)
}

// SnapshotFilesystem implements vm.FilesystemSnapshotter. It saves the machine's disk, after the guest has written what it had in memory.
func (d *Driver) SnapshotFilesystem(ctx context.Context, id, snapshot string) error {
	return d.save(ctx, id, snapshot, true)
}

func (d *Driver) save(ctx context.Context, id, snapshot string, onlyFiles bool) error {
	if err := vm.ValidateSnapshotID(snapshot); err != nil {
		return &vm.Error{Op: "snapshot", ID: id, Err: err}
	}
	return d.do(ctx, "snapshot", id, func(m *machine) (err error) {
		id, status, exit := d.machines.State(m)
		if exit != "" || status != vm.StatusRunning && status != vm.StatusStopped || m.cold && !onlyFiles {
			return vm.TransitionError("snapshot", id, status, status)
		}
		if d.hasSnapshot(id, snapshot) {
			return fmt.Errorf("%w: snapshot %s", vm.ErrAlreadyExists, snapshot)
		}
		staging, err := os.MkdirTemp(d.dirs.pending(), "save-")
		if err != nil {
			return err
		}
		defer func() {
			if err != nil {
				_ = os.RemoveAll(staging)
			}
		}()
		d.points.reached(stepSnapshotStaging, id)
		if err := d.saveTo(m, id, status, staging, onlyFiles); err != nil {
			return err
		}
		d.points.reached(stepSnapshotSaved, id)
		if err := errors.Join(d.points.inject("snapshot", id), ctx.Err()); err != nil {
			return err
		}
		if err := d.describe(m, staging, onlyFiles); err != nil {
			return err
		}
		if err := d.commit(staging, id, snapshot); err != nil {
			return err
		}
		d.points.reached(stepSnapshotCommitted, id)
		d.machines.Saved(m, snapshot)
		return nil
	})
}

// saveTo writes the files of a snapshot. A running guest stands still meanwhile, and then goes on.
func (d *Driver) saveTo(m *machine, id string, status vm.Status, dir string, onlyFiles bool) (err error) {
	running := status == vm.StatusRunning
	if onlyFiles && !running && !m.cold {
		// What it has in memory comes to the disk only if it runs.
		if err := d.ask(context.Background(), m, "cont"); err != nil {
			return err
		}
	}
	if !m.cold && (running || onlyFiles) {
		freeze := d.call(context.Background(), m, freezeTime, link.Call{Freeze: true, Sync: onlyFiles})
		if err := d.ask(context.Background(), m, "stop"); err != nil {
			m.unsure = true
			return err
		}
		if running {
			defer func() {
				if goOn := d.run(context.Background(), m); goOn != nil {
					m.unsure = true
					err = errors.Join(err, goOn)
				}
			}()
		}
		if freeze != nil {
			return fmt.Errorf("%w: the guest does not stop its programs: %w", vm.ErrUnavailable, freeze)
		}
	}
	if !m.spec.RootfsReadOnly {
		if err := d.saveDisk(m, filepath.Join(dir, diskFile)); err != nil {
			return err
		}
	}
	if onlyFiles {
		return nil
	}
	if err := d.saveState(m, filepath.Join(dir, stateFile)); err != nil {
		return err
	}
	return d.saveMemory(m, filepath.Join(dir, ramFile))
}

func (d *Driver) saveDisk(m *machine, to string) error {
	disk, err := os.Open(filepath.Join(d.dirs.disk(m.Key), diskFile))
	if err != nil {
		return err
	}
	defer disk.Close()
	info, err := disk.Stat()
	if err != nil {
		return err
	}
	return copySparse(disk, to, info.Size())
}

// saveState saves the state of processors and devices: QEMU writes it to the one directory that it sees. The command is that for hosts
// of the hypervisor Xen, and the only one that leaves the memory out also of a machine whose memory is a private mapping.
func (d *Driver) saveState(m *machine, to string) error {
	ctx, cancel := context.WithTimeout(context.Background(), launchTime)
	defer cancel()
	own := filepath.Join(d.dirs.machine(m.Key), stateFile)
	_ = os.Remove(own)
	err := m.qmp.Do(ctx, "xen-save-devices-state", map[string]any{"filename": "/" + stateFile, "live": false}, nil)
	if err != nil {
		return err
	}
	defer os.Remove(own)
	// The process runs the guest's code: it may have put anything there.
	f, err := os.OpenFile(own, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const most = 64 << 20 // A hundred times what it takes.
	if !info.Mode().IsRegular() || info.Size() > most {
		return errors.New("qemu: the saved state is not a file of a possible size")
	}
	return copySparse(f, to, info.Size())
}

// saveMemory saves the guest's memory. Of a restored machine that is the memory of its snapshot, and the pages that were written since.
func (d *Driver) saveMemory(m *machine, to string) error {
	size := int64(memoryMiB(m.spec)) << 20
	pid := m.process.PID
	if !m.restored {
		ram, err := os.Open(fmt.Sprintf("/proc/%d/fd/%d", pid, firstFD))
		if err != nil {
			return err
		}
		defer ram.Close()
		return copySparse(ram, to, size)
	}
	base, err := os.Open(filepath.Join(d.dirs.disk(m.Key), ramFile))
	if err != nil {
		return err
	}
	defer base.Close()
	info, err := base.Stat()
	if err != nil {
		return err
	}
	where, err := findRAM(pid, info.Sys().(*syscall.Stat_t).Ino, size)
	if err != nil {
		return err
	}
	if err := copySparse(base, to, size); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(copyWritten(pid, where, out), out.Close())
}
