package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// procUsage reads what processes use from /proc.
type procUsage struct{}

// clockTick is the unit of processor times in /proc: 100 a second in every
// Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// PSS implements bench.Usage. A process that has ended counts nothing.
func (procUsage) PSS(pids []int) (mib float64, err error) {
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if gone(err) {
			continue
		} else if err != nil {
			return 0, err
		}
		kb, err := field(data, "Pss:")
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		mib += float64(kb) / 1024
	}
	return mib, nil
}

// CPU implements bench.Usage.
func (procUsage) CPU(pids []int) (total time.Duration, err error) {
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if gone(err) {
			continue
		} else if err != nil {
			return 0, err
		}
		// The name may contain anything; the fields begin after its last bracket.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) < 13 {
			return 0, fmt.Errorf("processor time of process %d: %d fields", pid, len(fields))
		}
		for _, f := range fields[11:13] { // utime and stime
			ticks, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
			}
			total += time.Duration(ticks) * clockTick
		}
	}
	return total, nil
}

// Self implements bench.Usage.
func (procUsage) Self() (cpu time.Duration, rss float64, err error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, 0, err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	kb, err := field(status, "VmRSS:")
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), float64(kb) / 1024, err
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// field is the number of a line that begins with a name, in kB.
func field(data []byte, name string) (int64, error) {
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			return strconv.ParseInt(number, 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no %s", name)
}

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
