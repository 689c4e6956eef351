//go:build linux

package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/microvm/copies"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
	"github.com/rundlet/rundlet/vm/microvm/spec"
	"github.com/rundlet/rundlet/vm/microvm/untrusted"
)

// saveTime is for a snapshot, and saveTimeMiB for each MiB of its memory more: a slow disk writes that.
const saveTime, saveTimeMiB = time.Minute, 50 * time.Millisecond

// maxState bounds the state of processors and devices, in bytes: a thousand times what it takes.
const maxState = 64 << 20

// mergedFile is the memory from which a machine was restored, while its first snapshot is made.
const mergedFile = "merged"

// Save implements machine.Monitor. The process writes into its jail, and what it writes is copied, so that it cannot change a snapshot afterwards. For the
// first snapshot of a restored machine it writes what was written since; that is put over a copy of the memory from which it was restored. So the memory
// is whole in each snapshot. A machine that goes on after a snapshot, also after one that failed or was broken off by the end of the driver, is saved in full
// from then on: the process has forgotten what was written before, and the next differences of Firecracker 1.12.1 lack packets that have come since.
func (m *VM) Save(ctx context.Context, dir string) error {
	if m.client == nil {
		return errors.New("firecracker: not connected")
	}
	restored, base := filepath.Join(m.Disks, snapshots.MemoryFile), filepath.Join(m.Disks, mergedFile)
	kind := api.Diff
	_ = os.Remove(base)
	if err := os.Rename(restored, base); errors.Is(err, fs.ErrNotExist) || !m.differences() {
		kind = api.Full
	} else if err != nil {
		return err
	}
	defer os.Remove(base)
	m.discard(savedState, savedMemory)
	defer m.discard(savedState, savedMemory)
	ctx, cancel := m.bounded(ctx, saveTime+time.Duration(spec.MemoryMiB(m.Spec))*saveTimeMiB)
	defer cancel()
	if err := m.client.Save(ctx, api.Snapshot{Kind: kind, State: savedState, Memory: savedMemory}); err != nil {
		return err
	}
	state, size, err := m.saved(savedState)
	if err != nil {
		return err
	}
	defer state.Close()
	if size > maxState {
		return fmt.Errorf("firecracker: the saved state has %d bytes", size)
	}
	if err := copies.Sparse(state, filepath.Join(dir, snapshots.StateFile), size); err != nil {
		return err
	}
	to := filepath.Join(dir, snapshots.MemoryFile)
	if err := m.saveMemory(kind, base, to); err != nil {
		return err
	}
	// Processes that are restored from it read it as other users: see share.
	return os.Chmod(to, readable)
}

func (m *VM) saveMemory(kind api.Kind, base, to string) error {
	memory, size, err := m.saved(savedMemory)
	if err != nil {
		return err
	}
	defer memory.Close()
	if want := int64(spec.MemoryMiB(m.Spec)) << 20; size != want {
		return fmt.Errorf("firecracker: the saved memory has %d bytes, not %d", size, want)
	}
	if kind == api.Full {
		return copies.NonZero(memory, to, size)
	}
	before, err := os.Open(base)
	if err != nil {
		return err
	}
	defer before.Close()
	if err := copies.Sparse(before, to, size); err != nil {
		return err
	}
	return copies.Over(memory, to, size)
}

// saved opens a file that the process has written.
func (m *VM) saved(name string) (*os.File, int64, error) {
	f, err := untrusted.Open(filepath.Join(m.jail(), name))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}
