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
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// procUsage reads what processes use from /proc.
type procUsage struct{}

// clockTick is the unit of processor times in /proc: 100 a second in every
// Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// PSS implements bench.Usage.
func (procUsage) PSS(pids []int) (mib float64, err error) {
	return rollups(pids, func(r procfs.ProcSMapsRollup) uint64 { return r.Pss })
}

// Swapped implements bench.Usage.
func (procUsage) Swapped(pids []int) (mib float64, err error) {
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
func (procUsage) CPU(pids []int) (total time.Duration, err error) {
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
func (procUsage) Self() (cpu time.Duration, rss float64, err error) {
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
