//go:build linux

package gvisor

import (
	"os"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

// strays finds processes that were started for the given bundles, by the
// bundle in their command line: its name is random, so it is unique.
func strays(bundles map[string]bool) map[string][]int {
	found := map[string][]int{}
	if len(bundles) == 0 {
		return found
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return found
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if bundle := bundleOf(pid); bundles[bundle] {
			found[bundle] = append(found[bundle], pid)
		}
	}
	return found
}

func bundleOf(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || !strings.HasPrefix(string(data), launch.ProcessPrefix) {
		return ""
	}
	_, bundle := launch.Command(strings.Split(string(data), "\x00"))
	return bundle
}

// killRecorded ends the process with this number and start time, if there is
// one.
func killRecorded(pid int, start uint64) {
	if pid == 0 {
		return
	}
	if p, err := process.Open(pid, start); err == nil {
		_ = p.Kill()
		p.Release()
	}
}

// killStray ends a process found by strays, if it still is that process.
func killStray(pid int, bundle string) {
	p, err := process.Open(pid, 0)
	if err != nil {
		return
	}
	defer p.Release()
	if bundleOf(pid) == bundle {
		_ = p.Kill()
	}
}
