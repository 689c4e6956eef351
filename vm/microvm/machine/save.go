//go:build linux

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/copies"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
	"github.com/rundlet/rundlet/vm/microvm/spec"
)

// MakeFiles makes the machine's disk, and what it needs of the snapshot in a directory: links, since the snapshot may be deleted before. from is nil
// for a machine without a snapshot.
func (m *VM) MakeFiles(saved string, from *snapshots.Manifest) error {
	disk := filepath.Join(m.Disks, snapshots.DiskFile)
	if from == nil {
		if m.Spec.RootfsReadOnly {
			return nil
		}
		return copies.MakeDisk(disk, int64(spec.DiskMiB(m.Spec))<<20)
	}
	if m.Restored {
		for _, name := range []string{snapshots.MemoryFile, snapshots.StateFile} {
			if err := os.Link(filepath.Join(saved, name), filepath.Join(m.Disks, name)); err != nil {
				return err
			}
		}
	}
	if m.Spec.RootfsReadOnly {
		return nil
	}
	return copyFile(filepath.Join(saved, snapshots.DiskFile), disk)
}

// Save writes the files of a snapshot. A running guest stands still meanwhile, and then goes on.
func (m *VM) Save(running bool, dir string, onlyFiles bool) (err error) {
	defer func() {
		if err != nil && !running {
			m.Unsure = true // Of one that goes on, Run has found out.
		}
	}()
	again := !running && !m.Cold && (onlyFiles || !m.Frozen)
	if again {
		// What it has in memory comes to the disk only if it runs; and what was not frozen would run in a copy before it knows what it is.
		if err := ask(context.Background(), m.Monitor.Resume); err != nil {
			return err
		}
	}
	if !m.Cold && running || again {
		freeze := m.call(context.Background(), freezeTime, link.Call{Freeze: true, Sync: onlyFiles})
		if err := ask(context.Background(), m.Monitor.Pause); err != nil {
			m.Unsure = true
			return err
		}
		m.Frozen = freeze == nil
		if running {
			defer func() {
				if goOn := m.Run(context.Background()); goOn != nil {
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
		if err := copyFile(filepath.Join(m.Disks, snapshots.DiskFile), filepath.Join(dir, snapshots.DiskFile)); err != nil {
			return err
		}
	}
	if onlyFiles {
		return nil
	}
	return m.Monitor.Save(context.Background(), dir)
}

func copyFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return copies.Sparse(f, to, info.Size())
}
