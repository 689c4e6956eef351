//go:build linux

package monitor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rundlet/rundlet/vm/microvm/copies"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
	"github.com/rundlet/rundlet/vm/microvm/spec"
	"github.com/rundlet/rundlet/vm/microvm/untrusted"
)

// Save implements machine.Monitor.
func (m *VM) Save(ctx context.Context, dir string) error {
	if err := m.saveState(ctx, filepath.Join(dir, snapshots.StateFile)); err != nil {
		return err
	}
	return m.saveMemory(filepath.Join(dir, snapshots.MemoryFile))
}

// saveState saves the state of processors and devices: QEMU writes it to the one directory that it sees. The command is that for hosts
// of the hypervisor Xen, and the only one that leaves the memory out also of a machine whose memory is a private mapping.
func (m *VM) saveState(ctx context.Context, to string) error {
	ctx, cancel := context.WithTimeout(ctx, launchTime)
	defer cancel()
	own := filepath.Join(m.Dir, stateFile)
	_ = os.Remove(own)
	err := m.qmp.Do(ctx, "xen-save-devices-state", map[string]any{"filename": "/" + stateFile, "live": false}, nil)
	if err != nil {
		return err
	}
	defer os.Remove(own)
	f, err := untrusted.Open(own)
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
		ram, err := untrusted.OpenDescriptor(pid, firstFD)
		if err != nil {
			return err
		}
		defer ram.Close()
		if info, err := ram.Stat(); err != nil || info.Size() != size {
			return errors.Join(errors.New("qemu: the memory of the guest is not what it was given"), err)
		}
		return copies.Sparse(ram, to, size)
	}
	base, err := os.Open(filepath.Join(m.Disks, snapshots.MemoryFile))
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
