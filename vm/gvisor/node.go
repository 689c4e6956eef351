//go:build linux

package gvisor

import (
	"fmt"
	"os"
	"strconv"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rundlet/rundlet/internal/cgroups"
)

// nodeLimits bound the resources of the host that all sandboxes of a driver use, and
// the threads of one of them.
type nodeLimits struct {
	// Memory is in bytes. It is above the use at which new work is refused (a tenth
	// of the memory left), so that only existing sandboxes can reach it.
	Memory int64
	// Tasks are processes and threads of the host.
	Tasks int64
	// SandboxTasks is the limit of one sandbox.
	SandboxTasks int64
}

const (
	// mostHostMemory bounds the memory that is kept for the host, which is a tenth of all.
	mostHostMemory = 4 << 30
	// mostSandboxTasks is a safety net on hosts with many; leastSandboxTasks is
	// enough for a sandbox with a few hundred processes: an idle one has 31.
	mostSandboxTasks, leastSandboxTasks = 8192, 1024
	// sharesOfTasks is how many sandboxes it takes, at least, to use up the tasks.
	sharesOfTasks = 8
)

// limitsFor are those of a host with so much memory and so many tasks.
func limitsFor(memory, tasks int64) nodeLimits {
	l := nodeLimits{Memory: memory - max(min(memory/10, mostHostMemory), hostReserve), Tasks: tasks - tasks/4}
	l.SandboxTasks = min(max(l.Tasks/sharesOfTasks, leastSandboxTasks), mostSandboxTasks, l.Tasks)
	return l
}

// hostLimits reads how much memory and how many tasks the host has.
func hostLimits() (nodeLimits, error) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nodeLimits{}, err
	}
	kib, ok := cgroups.StatField(string(info), "MemTotal:")
	if !ok {
		return nodeLimits{}, fmt.Errorf("/proc/meminfo has no MemTotal")
	}
	tasks, err := cgroups.ReadInt("/proc/sys/kernel/pid_max")
	if err != nil {
		return nodeLimits{}, err
	}
	threads, err := cgroups.ReadInt("/proc/sys/kernel/threads-max")
	if err != nil {
		return nodeLimits{}, err
	}
	return limitsFor(kib<<10, min(tasks, threads)), nil
}

// nodeGroup is the control group above those of all machines of a driver.
type nodeGroup struct {
	limits nodeLimits

	mu sync.Mutex
	g  *cgroups.Group // Nil until it has its limits.
}

// limit makes the group, or gives the one that is there its limits. A limit that
// is below what is in use would be refused, or end sandboxes: then it is left for
// the next call.
func (n *nodeGroup) limit(path string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.g != nil {
		return nil
	}
	g, err := cgroups.New(path, &specs.LinuxResources{}, 0)
	if err != nil {
		return err
	}
	if err := os.WriteFile(g.TasksFile("pids.max"), []byte(strconv.FormatInt(n.limits.Tasks, 10)), 0); err != nil {
		return fmt.Errorf("limit the tasks of all sandboxes: %w", err)
	}
	used, err := g.UnreclaimableBelow()
	if err != nil {
		return err
	}
	if used+leastHeadroom > n.limits.Memory {
		return nil
	}
	if err := g.SetMemoryLimit(n.limits.Memory); err != nil {
		return fmt.Errorf("limit the memory of all sandboxes: %w", err)
	}
	n.g = g
	return nil
}

func (n *nodeGroup) group() *cgroups.Group {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.g
}

// available is the memory that a save or a restore may still take: of the host, and
// of the limit of all sandboxes together.
func (n *nodeGroup) available() (int64, error) {
	bytes, err := cgroups.HostAvailable()
	g := n.group()
	if err != nil || g == nil {
		return bytes, err
	}
	used, err := g.UnreclaimableBelow()
	if err != nil {
		return 0, err
	}
	return min(bytes, n.limits.Memory-used+hostReserve), nil
}

// Tasks returns how many processes and threads of the host all sandboxes have, and
// may have; zeros where nothing limits them.
func (d *Driver) Tasks() (used, most int64) {
	g := d.node.group()
	if g == nil {
		return 0, 0
	}
	used, err := cgroups.ReadInt(g.TasksFile("pids.current"))
	if err != nil {
		return 0, 0
	}
	return used, d.node.limits.Tasks
}
