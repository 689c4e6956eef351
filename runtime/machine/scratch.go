package machine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/vm"
)

// A machine that is not a sandbox yet, warm or of a template build, has no row. It
// has a mark instead: an empty file of its id in Config.ScratchDir, made before
// the machine and removed when it becomes a sandbox. So a start knows what it may
// end; a machine with neither row nor mark may be of a row that was lost. The mark
// is beside the machine and not in the database, since of a database there may be
// older copies.

// Mark marks a machine that is not a sandbox yet, before it is made.
func (m *Machines) Mark(id string) error {
	if m.cfg.ScratchDir == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(m.cfg.ScratchDir, id), nil, 0o600)
}

// Unmark removes a mark; without one it does nothing.
func (m *Machines) Unmark(id string) error {
	if m.cfg.ScratchDir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(m.cfg.ScratchDir, id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Marked reports whether a machine has a mark.
func (m *Machines) Marked(id string) bool {
	if m.cfg.ScratchDir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(m.cfg.ScratchDir, id))
	return err == nil
}

// Marks returns the machines that have a mark.
func (m *Machines) Marks() map[string]bool {
	marked := map[string]bool{}
	if m.cfg.ScratchDir == "" {
		return marked
	}
	entries, _ := os.ReadDir(m.cfg.ScratchDir)
	for _, e := range entries {
		marked[e.Name()] = true
	}
	return marked
}

// Sweep removes the marks of all but these machines, which have no row, and of those of
// them that are gone by now: a sandbox that was handed out just before a crash has its
// mark still, and would be ended for it if its row were lost later.
func (m *Machines) Sweep(ctx context.Context, unclaimed map[string]vm.View) {
	for id := range m.Marks() {
		if _, ok := unclaimed[id]; ok {
			view, there, err := m.cfg.Driver.Get(ctx, id)
			if err != nil || there && view.Status != vm.StatusDestroyed {
				continue // The next start ends it.
			}
		}
		_ = m.Unmark(id)
	}
}
