package gvisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
)

func TestTheHostKeepsAShareOfMemoryAndTasks(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name          string
		memory, tasks int64
		want          nodeLimits
	}{
		{"small", 2 * gib, 32768, nodeLimits{Memory: 2*gib - 2*gib/10, Tasks: 24576, SandboxTasks: 3072}},
		{"tiny", gib, 8192, nodeLimits{Memory: gib - hostReserve, Tasks: 6144, SandboxTasks: 1024}},
		{"large", 512 * gib, 4194304, nodeLimits{Memory: 508 * gib, Tasks: 3145728, SandboxTasks: 8192}},
		{"hardly any tasks", gib, 400, nodeLimits{Memory: gib - hostReserve, Tasks: 300, SandboxTasks: 300}},
	} {
		if got := limitsFor(c.memory, c.tasks); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	if l, err := hostLimits(); err != nil || l.Memory <= 0 || l.Tasks <= 0 {
		t.Errorf("this host: %+v, %v", l, err)
	}
}

func TestAllSandboxesTogetherAreLimited(t *testing.T) {
	d := guardedMachine(t, 128)
	ctx := testContext(t)
	g := d.node.group()
	for name, file := range map[string]struct {
		path string
		want int64
	}{
		"memory": {g.MemoryFile("memory.limit_in_bytes", "memory.max"), d.node.limits.Memory},
		"tasks":  {g.TasksFile("pids.max"), d.node.limits.Tasks},
	} {
		if got, err := cgroups.ReadInt(file.path); err != nil || got > file.want || got < file.want-int64(os.Getpagesize()) {
			t.Errorf("%s of the group: %d, %v; want %d", name, got, err, file.want)
		}
	}
	if used, most := d.Tasks(); used < 10 || used > 500 || most != d.node.limits.Tasks {
		t.Errorf("tasks: %d of %d", used, most)
	}

	// A save needs memory beyond the machine's limit, and counts here, too.
	used, err := g.UnreclaimableBelow()
	if err != nil {
		t.Fatal(err)
	}
	most := d.node.limits.Memory
	d.node.limits.Memory = used + 16*budget.MiB
	if err := d.Snapshot(ctx, "a", "one"); !errors.Is(err, vm.ErrOutOfMemory) {
		t.Errorf("a save that the group has no memory for: %v", err)
	}
	stillAlive(t, d, "a")
	d.node.limits.Memory = most
	if err := d.Snapshot(ctx, "a", "one"); err != nil {
		t.Errorf("a save that it has memory for: %v", err)
	}
}

// TestALimitBelowTheUseIsLeftForLater: it would end sandboxes.
func TestALimitBelowTheUseIsLeftForLater(t *testing.T) {
	d := newDriver(t)
	if !d.limits {
		t.Skip("this host has no usable control groups")
	}
	most := d.node.limits.Memory
	d.node.limits.Memory = 0
	s := guestSpec(t)
	s.MemoryMiB = 64
	start(t, d, "a", s)
	if d.node.group() != nil {
		t.Fatal("the group has a limit of nothing")
	}
	d.node.limits.Memory = most
	s = guestSpec(t)
	s.MemoryMiB = 64
	start(t, d, "b", s)
	if d.node.group() == nil {
		t.Error("the group has no limit")
	}
	stillAlive(t, d, "a")
}

// TestAForkBombLeavesTheSandboxItsOwnTasks has memory for many more processes
// than the host has for this sandbox: they are refused before the sandbox itself
// would be.
func TestAForkBombLeavesTheSandboxItsOwnTasks(t *testing.T) {
	d := newDriver(t)
	if !d.limits {
		t.Skip("this host has no usable control groups")
	}
	d.node.limits.SandboxTasks = 600
	s := guestSpec(t)
	s.VCPUs, s.MemoryMiB = 2, 2048
	start(t, d, "a", s)
	got := run(t, d, "a", "", "/init", "processes", "2000")
	made, _, _ := strings.Cut(got, " ")
	if n, err := strconv.Atoi(made); err != nil || n < 50 || n > 300 || !strings.Contains(got, "resource temporarily unavailable") {
		t.Errorf("starting 2000 processes with 600 tasks of the host: %q, want EAGAIN after some hundred", got)
	}
	stillAlive(t, d, "a")
	g := mustFind(t, d, "a").group
	if _, tasks, err := g.Usage(); err != nil || tasks > 600-budget.TasksReserve/4 {
		t.Errorf("it has %d tasks, %v", tasks, err)
	}
	if refused, err := os.ReadFile(g.TasksFile("pids.events")); err != nil || strings.TrimSpace(string(refused)) != "max 0" {
		t.Errorf("the host refused tasks: %q, %v", refused, err)
	}
	if err := d.Snapshot(testContext(t), "a", "one"); err != nil {
		t.Errorf("it cannot be saved: %v", err)
	}
	if got := fmt.Sprint(oomScores(t, mustFind(t, d, "a"))); got != fmt.Sprint([]string{strconv.Itoa(oomScoreSandbox), strconv.Itoa(oomScoreGofer)}) {
		t.Errorf("oom scores of sandbox and file server: %s", got)
	}
}

func oomScores(t *testing.T, m *machine) (out []string) {
	t.Helper()
	for _, p := range []*process.Process{m.sandbox, m.gofer} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimSpace(string(data)))
	}
	return out
}
