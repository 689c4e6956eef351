//go:build linux

package monitor

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
)

// saved saves, and returns the memory of the snapshot, which must be whole.
func saved(t *testing.T, m *VM) ([]byte, error) {
	t.Helper()
	dir, err := os.MkdirTemp(m.Disks, "snapshot")
	must(t, err)
	if err := m.Save(patience(t), dir); err != nil {
		return nil, err
	}
	memory, err := os.ReadFile(filepath.Join(dir, snapshots.MemoryFile))
	must(t, err)
	state, err := os.ReadFile(filepath.Join(dir, snapshots.StateFile))
	must(t, err)
	if string(state) != "state" {
		t.Errorf("the state is %q", state)
	}
	// The snapshot is deleted soon: the next one must not need it.
	must(t, os.RemoveAll(dir))
	return memory, nil
}

func TestEachSnapshotHasTheWholeMemory(t *testing.T) {
	m := newVM(t)
	d := newDouble(t, m)
	restored(t, m, d)
	for i := range 4 {
		d.write(int64(i)<<20, byte(i+1))
		d.write(100, byte(i)) // The last time it becomes what it was.
		d.receive(9*page, byte(i+1))
		memory, err := saved(t, m)
		if err != nil || !bytes.Equal(memory, d.memory) {
			t.Fatalf("snapshot %d: %v, the memory differs", i, err)
		}
	}
	d.want("Diff", "Full", "Full", "Full")
	if left, err := os.ReadDir(m.jail()); err != nil || len(left) != 1 {
		t.Errorf("the jail has %v, %v; want only the socket", left, err)
	}
}

// restored makes a machine one that was restored, with something in its memory.
func restored(t *testing.T, m *VM, d *double) {
	t.Helper()
	d.memory[7*page] = 7
	must(t, os.WriteFile(filepath.Join(m.Disks, snapshots.MemoryFile), d.memory, 0o444), m.Resume(patience(t)), m.Pause(patience(t)))
	m.Restored = true
	d.done()
}

// TestAMachineThatBootedKeepsNothingOfASnapshot, which is deleted with all its room.
func TestAMachineThatBootedKeepsNothingOfASnapshot(t *testing.T) {
	m := newVM(t)
	d := newDouble(t, m)
	must(t, m.Resume(patience(t)), m.Pause(patience(t)))
	d.done()
	for i := range 2 {
		d.write(int64(i)<<20, byte(i+1))
		memory, err := saved(t, m)
		if err != nil || !bytes.Equal(memory, d.memory) {
			t.Fatalf("%v, or the memory differs", err)
		}
	}
	d.want("Full", "Full")
	if left, err := os.ReadDir(m.Disks); err != nil || len(left) != 1 {
		t.Errorf("beside the jail are %v, %v", left, err)
	}
}

// TestASnapshotAfterOneThatFailedIsWhole: the process has forgotten what was written before it.
func TestASnapshotAfterOneThatFailedIsWhole(t *testing.T) {
	for name, break_ := range map[string]func(d *double) error{
		"refused":         func(*double) error { return errors.New("no space") },
		"memory is short": func(d *double) error { return os.Truncate(filepath.Join(d.jail, savedMemory), page) },
		"memory is a link": func(d *double) error {
			path := filepath.Join(d.jail, savedMemory)
			return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path))
		},
		"memory is a pipe": func(d *double) error {
			path := filepath.Join(d.jail, savedMemory)
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		},
		"state is large":   func(d *double) error { return os.Truncate(filepath.Join(d.jail, savedState), maxState+1) },
		"state is missing": func(d *double) error { return os.Remove(filepath.Join(d.jail, savedState)) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newVM(t)
			d := newDouble(t, m)
			restored(t, m, d)
			d.write(3*page, 3)
			d.save = func() error { return break_(d) }
			if _, err := saved(t, m); err == nil {
				t.Fatal("no error")
			}
			d.save = nil
			d.done()
			for range 2 {
				d.write(5*page, 5)
				memory, err := saved(t, m)
				if err != nil || !bytes.Equal(memory, d.memory) {
					t.Errorf("%v, or the memory differs", err)
				}
			}
			d.want("Full", "Full")
		})
	}
}

// TestAProcessCannotChangeASnapshot: what it has written is its own file.
func TestAProcessCannotChangeASnapshot(t *testing.T) {
	m := newVM(t)
	d := newDouble(t, m)
	must(t, m.Resume(patience(t)), m.Pause(patience(t)))
	var kept *os.File
	d.save = func() (err error) {
		kept, err = os.OpenFile(filepath.Join(d.jail, savedMemory), os.O_RDWR, 0)
		return err
	}
	dir := filepath.Join(m.Disks, "snapshot")
	must(t, os.Mkdir(dir, 0o700), m.Save(patience(t), dir))
	defer kept.Close()
	if _, err := kept.WriteAt([]byte("changed"), 0); err != nil {
		t.Fatal(err)
	}
	memory, err := os.ReadFile(filepath.Join(dir, snapshots.MemoryFile))
	if err != nil || !bytes.Equal(memory, d.memory) {
		t.Errorf("%v, or the process has changed it", err)
	}
	info, err := os.Stat(filepath.Join(dir, snapshots.MemoryFile))
	if err != nil || info.Mode().Perm() != readable {
		t.Error(info.Mode(), err)
	}
}

// TestLargeMachinesAreSavedWhole: differences of one that version 1.12 runs are wrong, also after the programs have become later ones.
func TestLargeMachinesAreSavedWhole(t *testing.T) {
	for name, c := range map[string]struct {
		runs, installed api.Version
		kind            string
	}{
		"1.12":                  {api.Version{Major: 1, Minor: 12}, api.Version{Major: 1, Minor: 12}, "Full"},
		"1.14, and now 1.15":    {api.Version{Major: 1, Minor: 14}, api.Version{Major: 1, Minor: 15}, "Full"},
		"1.15":                  {api.Version{Major: 1, Minor: 15}, api.Version{Major: 1, Minor: 15}, "Diff"},
		"1.15, and now 1.12.1 ": {api.Version{Major: 1, Minor: 15}, api.Version{Major: 1, Minor: 12, Patch: 1}, "Diff"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newVM(t)
			m.Spec.MemoryMiB, m.programs.Version = 4096, c.installed
			d := newDouble(t, m)
			d.size, d.version = 4096<<20, c.runs
			restored(t, m, d)
			must(t, os.Truncate(filepath.Join(m.Disks, snapshots.MemoryFile), d.size))
			for i := range 2 {
				d.write(int64(i)*page, 1)
				dir := filepath.Join(m.Disks, "snapshot", string('a'+rune(i)))
				must(t, os.MkdirAll(dir, 0o700), m.Save(patience(t), dir))
				f, err := os.Open(filepath.Join(dir, snapshots.MemoryFile))
				must(t, err)
				defer f.Close()
				begin := make([]byte, memoryBytes)
				if _, err := io.ReadFull(f, begin); err != nil || !bytes.Equal(begin, d.memory) {
					t.Errorf("%v, or the memory differs", err)
				}
				if info, err := f.Stat(); err != nil || info.Size() != d.size {
					t.Errorf("%d bytes, %v", info.Size(), err)
				}
			}
			d.want(c.kind, "Full")
		})
	}
}
