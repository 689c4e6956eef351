package runtime

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/vm"
)

// A machine that is no sandbox yet, warm or of a template build, has no row. It
// has a mark instead: an empty file of its id in Config.ScratchDir, made before
// the machine and removed when it becomes a sandbox. So a start knows what it may
// end; a machine with neither row nor mark may be of a row that was lost. The mark
// is beside the machine and not in the database, since of a database there may be
// older copies.

func (r *Runtime) markScratch(id string) error {
	if r.cfg.ScratchDir == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(r.cfg.ScratchDir, id), nil, 0o600)
}

// unmarkScratch removes the mark; without one it does nothing.
func (r *Runtime) unmarkScratch(id string) error {
	if r.cfg.ScratchDir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(r.cfg.ScratchDir, id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (r *Runtime) isScratch(id string) bool {
	if r.cfg.ScratchDir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(r.cfg.ScratchDir, id))
	return err == nil
}

// scratchMarks returns the machines that have a mark.
func (r *Runtime) scratchMarks() map[string]bool {
	marked := map[string]bool{}
	if r.cfg.ScratchDir == "" {
		return marked
	}
	entries, _ := os.ReadDir(r.cfg.ScratchDir)
	for _, e := range entries {
		marked[e.Name()] = true
	}
	return marked
}

// sweepScratch removes the marks of all but these machines, which have no row: a
// sandbox that was handed out just before a crash has its mark still, and would be
// ended for it if its row were lost later.
func (r *Runtime) sweepScratch(unclaimed map[string]vm.View) {
	for id := range r.scratchMarks() {
		if _, ok := unclaimed[id]; !ok {
			_ = r.unmarkScratch(id)
		}
	}
}
