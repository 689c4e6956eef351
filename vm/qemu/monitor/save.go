//go:build linux

package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/copies"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/qemu/spec"
)

// Save writes the files of a snapshot. A running guest stands still meanwhile, and then goes on.
func (m *VM) Save(status vm.Status, dir string, onlyFiles bool, setUID []string) (err error) {
	running := status == vm.StatusRunning
	defer func() {
		if err != nil && !running {
			m.Unsure = true // Of one that goes on, Run has found out.
		}
	}()
	again := !running && !m.Cold && (onlyFiles || !m.Frozen)
	if again {
		// What it has in memory comes to the disk only if it runs; and what was not frozen would run in a copy before it knows what it is.
		if err := m.ask(context.Background(), "cont"); err != nil {
			return err
		}
	}
	if !m.Cold && running || again {
		freeze := m.call(context.Background(), freezeTime, link.Call{Freeze: true, Sync: onlyFiles})
		if err := m.ask(context.Background(), "stop"); err != nil {
			m.Unsure = true
			return err
		}
		m.Frozen = freeze == nil
		if running {
			defer func() {
				if goOn := m.Run(context.Background(), setUID); goOn != nil {
					m.Unsure = true
					err = errors.Join(err, goOn)
				}
			}()
		}
		if freeze != nil {
			return fmt.Errorf("%w: the guest does not stop its programs: %w", vm.ErrUnavailable, freeze)
		}
	}
	if !m.Spec.RootfsReadOnly {
		if err := m.saveDisk(filepath.Join(dir, diskFile)); err != nil {
			return err
		}
	}
	if onlyFiles {
		return nil
	}
	if err := m.saveState(filepath.Join(dir, stateFile)); err != nil {
		return err
	}
	return m.saveMemory(filepath.Join(dir, ramFile))
}

func (m *VM) saveDisk(to string) error {
	disk, err := os.Open(filepath.Join(m.Disks, diskFile))
	if err != nil {
		return err
	}
	defer disk.Close()
	info, err := disk.Stat()
	if err != nil {
		return err
	}
	return copies.Sparse(disk, to, info.Size())
}

// saveState saves the state of processors and devices: QEMU writes it to the one directory that it sees. The command is that for hosts
// of the hypervisor Xen, and the only one that leaves the memory out also of a machine whose memory is a private mapping.
func (m *VM) saveState(to string) error {
	ctx, cancel := context.WithTimeout(context.Background(), launchTime)
	defer cancel()
	own := filepath.Join(m.Dir, stateFile)
	_ = os.Remove(own)
	err := m.qmp.Do(ctx, "xen-save-devices-state", map[string]any{"filename": "/" + stateFile, "live": false}, nil)
	if err != nil {
		return err
	}
	defer os.Remove(own)
	f, err := openOwn(own)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const most = 64 << 20 // A hundred times what it takes.
	if info.Size() > most {
		return errors.New("qemu: the saved state is not a file of a possible size")
	}
	return copies.Sparse(f, to, info.Size())
}

// saveMemory saves the guest's memory. Of a restored machine that is the memory of its snapshot, and the pages that were written since.
func (m *VM) saveMemory(to string) error {
	size := int64(spec.MemoryMiB(m.Spec)) << 20
	pid := m.Process.PID
	if !m.Restored {
		ram, err := openRegular(fmt.Sprintf("/proc/%d/fd/%d", pid, firstFD), 0)
		if err != nil {
			return err
		}
		defer ram.Close()
		if info, err := ram.Stat(); err != nil || info.Size() != size {
			return errors.Join(errors.New("qemu: the memory of the guest is not what it was given"), err)
		}
		return copies.Sparse(ram, to, size)
	}
	base, err := os.Open(filepath.Join(m.Disks, ramFile))
	if err != nil {
		return err
	}
	defer base.Close()
	info, err := base.Stat()
	if err != nil {
		return err
	}
	where, err := copies.FindMemory(pid, info.Sys().(*syscall.Stat_t).Ino, size)
	if err != nil {
		return err
	}
	if err := copies.Sparse(base, to, size); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(copies.Written(pid, where, out), out.Close())
}
