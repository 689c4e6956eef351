package memory

import (
	"testing"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"

	"github.com/rundlet/rundlet/vm/gvisor/budget"
)

// A call that gVisor spells in another way would be without the guard.
func TestGVisorHasTheCallsThatAreGuarded(t *testing.T) {
	known := map[string]bool{}
	for _, table := range []*kernel.SyscallTable{guest.AMD64, guest.ARM64} {
		for _, call := range table.Table {
			known[call.Name] = true
		}
	}
	for name := range guarded {
		if !known[name] {
			t.Errorf("gVisor has no system call %s", name)
		}
	}
}

func TestCallsUnderWayShareWhatIsFree(t *testing.T) {
	g := New(budget.New(100 * budget.MiB))
	g.used.Store(40 * budget.MiB)
	if !g.take(40 * budget.MiB) {
		t.Fatal("40 of 60 MiB were refused")
	}
	if g.take(40 * budget.MiB) {
		t.Error("80 of 60 MiB were granted")
	}
	g.give(40 * budget.MiB)
	if !g.take(60 * budget.MiB) {
		t.Error("what was given back is not free")
	}
	if g.give(60 * budget.MiB); g.taken.Load() != 0 {
		t.Errorf("%d bytes are still taken", g.taken.Load())
	}
}

// The first process is the way into the sandbox.
func TestTheFirstProcessMayUseHalfOfTheReserveOfTasks(t *testing.T) {
	g := New(budget.New(100 * budget.MiB))
	if !g.hasTasks(false) {
		t.Error("a process was refused without a limit")
	}
	g.budget.Tasks = 1000
	for tasks, want := range map[int64][2]bool{
		1000 - budget.TasksReserve - 1: {true, true}, 1000 - budget.TasksReserve: {false, true}, 1000 - budget.TasksReserve/2: {false, false},
	} {
		if g.tasks.Store(tasks); g.hasTasks(false) != want[0] || g.hasTasks(true) != want[1] {
			t.Errorf("with %d tasks: %v, %v", tasks, g.hasTasks(false), g.hasTasks(true))
		}
	}
}
