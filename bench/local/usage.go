package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/bench/processor"
)

// procUsage reads what processes use from /proc, and what all use from the control group
// of this process, if there is one, and that of the sandboxes. Close frees it.
type procUsage struct {
	own, home *processor.Group
	missing   error // why there is none

	mu       sync.Mutex
	machines *processor.Group // above those of the sandboxes; nil until one is found
}

// newUsage moves this process into a group, as far as that is possible.
func newUsage() *procUsage {
	u := &procUsage{}
	self := os.Getpid()
	if u.home, u.missing = processor.Of(self); u.missing != nil {
		return u
	}
	if u.own, u.missing = processor.Make("rundlet-bench"); u.missing != nil {
		return u
	}
	if u.missing = u.own.Add(self); u.missing != nil {
		u.missing = errors.Join(u.missing, u.own.Remove())
		u.own = nil
	}
	return u
}

// Close moves this process back.
func (u *procUsage) Close() error {
	if u.own == nil {
		return nil
	}
	return errors.Join(u.home.Add(os.Getpid()), u.own.Remove())
}

// Processor implements bench.Usage. It fails until a sandbox has shown where the driver
// has its groups, and begins again with each server.
func (u *procUsage) Processor() (time.Duration, error) {
	if u.missing != nil {
		return 0, u.missing
	}
	used, err := u.own.Used()
	if err != nil {
		return 0, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.findMachines(); err != nil {
		return 0, err
	}
	machines, err := u.machines.Used()
	if err != nil {
		u.machines = nil // It went with its server.
	}
	return used + machines, err
}

func (u *procUsage) findMachines() error {
	if u.machines != nil {
		return nil
	}
	for _, pid := range descendants([]int{os.Getpid()})[1:] {
		if g, err := processor.Of(pid); err == nil && !g.Is(u.own) {
			u.machines = g.Parent()
			return nil
		}
	}
	return errors.New("no process of a sandbox is in a separate control group")
}

// Wakeups implements bench.Usage.
func (*procUsage) Wakeups(pids ...int) (n int, err error) {
	if len(pids) == 0 {
		pids = []int{os.Getpid()}
	}
	for _, pid := range pids {
		threads, err := procfs.AllThreads(pid)
		if err != nil && !gone(err) {
			return 0, fmt.Errorf("threads of process %d: %w", pid, err)
		}
		for _, thread := range threads {
			status, err := thread.NewStatus()
			if err != nil && !gone(err) {
				return 0, fmt.Errorf("wake-ups of thread %d: %w", thread.PID, err)
			}
			n += int(status.VoluntaryCtxtSwitches)
		}
	}
	return n, nil
}

// clockTick is the unit of processor times in /proc: 100 a second in every
// Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// PSS implements bench.Usage.
func (*procUsage) PSS(pids []int) (mib float64, err error) {
	return rollups(pids, func(r procfs.ProcSMapsRollup) uint64 { return r.Pss })
}

// Swapped implements bench.Usage.
func (*procUsage) Swapped(pids []int) (mib float64, err error) {
	return rollups(pids, func(r procfs.ProcSMapsRollup) uint64 { return r.SwapPss })
}

// rollups adds up a figure of the memory of processes, in MiB. A process that has ended
// counts nothing, and memory that processes have as threads do counts once.
func rollups(pids []int, of func(procfs.ProcSMapsRollup) uint64) (mib float64, err error) {
	for i, pid := range pids {
		if slices.ContainsFunc(pids[:i], func(other int) bool { return sameMemory(pid, other) }) {
			continue
		}
		var rollup procfs.ProcSMapsRollup
		proc, err := procfs.NewProc(pid)
		if err == nil {
			rollup, err = proc.ProcSMapsRollup()
		}
		if err != nil && !gone(err) {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		mib += float64(of(rollup)) / (1 << 20)
	}
	return mib, nil
}

// CPU implements bench.Usage.
func (*procUsage) CPU(pids []int) (total time.Duration, err error) {
	for _, pid := range pids {
		var stat procfs.ProcStat
		proc, err := procfs.NewProc(pid)
		if err == nil {
			stat, err = proc.Stat()
		}
		if err != nil && !gone(err) {
			return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		total += time.Duration(stat.UTime+stat.STime) * clockTick
	}
	return total, nil
}

// Self implements bench.Usage.
func (*procUsage) Self() (cpu time.Duration, rss float64, err error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, 0, err
	}
	var status procfs.ProcStatus
	proc, err := procfs.Self()
	if err == nil {
		status, err = proc.NewStatus()
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), float64(status.VmRSS) / (1 << 20), err
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// descendants returns processes and all that come from them.
func descendants(pids []int) []int {
	for i := 0; i < len(pids); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, list := range lists {
			data, _ := os.ReadFile(list)
			for _, field := range strings.Fields(string(data)) {
				if child, err := strconv.Atoi(field); err == nil {
					pids = append(pids, child)
				}
			}
		}
	}
	return pids
}
