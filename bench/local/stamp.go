package local

import (
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/vm"
)

// stamp describes this machine and what is measured on it.
func stamp(driver vm.Runtime, version string) report.Host {
	var uts unix.Utsname
	unix.Uname(&uts)
	info := driver.Info()
	memory, _ := host.Host{}.Memory()
	return report.Host{
		Time: time.Now().UTC().Truncate(time.Second), Version: version, Driver: info.Driver, Mechanism: info.Version,
		Kernel: unix.ByteSliceToString(uts.Release[:]), CPU: cpuModel(), CPUs: runtime.NumCPU(),
		MemoryMiB: memory.Total >> 20,
	}
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, " \t:\n")
		}
	}
	return runtime.GOARCH
}

// loadAverage is the load of the last minute.
func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(b), " ")
	return load
}

// memoryFree is what the host can give without swapping, in MiB.
func memoryFree() int {
	memory, _ := host.Host{}.Memory()
	return int(memory.Available >> 20)
}

// swapFree is the swap that the host can give, in MiB.
func swapFree() int {
	swap, _ := host.Host{}.Swap()
	return int(swap.Free >> 20)
}
