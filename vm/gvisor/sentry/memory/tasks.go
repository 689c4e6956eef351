//go:build linux

package memory

import (
	"bytes"
	"os"
	"strconv"

	"github.com/rundlet/rundlet/vm/gvisor/budget"
)

// CountTasks makes the guard refuse new processes of the guest before the sandbox
// has as many tasks on the host as it may: at the limit itself the sentry would not
// get a thread, and end. The file is opened before the process gives up the host's
// file system.
func (g *Guard) CountTasks(file string, most int64) (err error) {
	if most <= 0 || file == "" {
		return nil
	}
	g.budget.Tasks = most
	g.count, err = os.Open(file)
	return err
}

// readTasks reads the count anew.
func (g *Guard) readTasks() {
	if g.count == nil {
		return
	}
	var text [32]byte
	n, _ := g.count.ReadAt(text[:], 0) // The file is shorter.
	if tasks, err := strconv.ParseInt(string(bytes.TrimSpace(text[:n])), 10, 64); err == nil {
		g.tasks.Store(tasks)
	}
}

// hasTasks reports whether the guest may have one more process or thread. The
// first process, which is the way into the sandbox, may use half of the reserve.
func (g *Guard) hasTasks(first bool) bool {
	reserve := int64(budget.TasksReserve)
	if first {
		reserve /= 2
	}
	return g.budget.Tasks == 0 || g.tasks.Load() < g.budget.Tasks-reserve
}
