//go:build linux

package testmachine

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// kvmPatience is how long a machine that only ends may take with KVM: a second on
// hardware. A host that emulates what KVM needs takes minutes, or never gets there.
const kvmPatience = 10 * time.Second

// KVMWorks reports whether a machine with the kernel boots with the host's KVM. That a
// program can open /dev/kvm does not show it.
func KVMWorks(ctx context.Context, k kernel.Tree) bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	ctx, cancel := context.WithTimeout(ctx, kvmPatience)
	defer cancel()
	code, err := Run(ctx, Config{Kernel: k, MemoryMiB: 256, CPUs: 1, KVM: true, Command: []string{Nothing}})
	return err == nil && code == 0
}

// Nothing is a command that every machine has, and that only succeeds.
const Nothing = "nothing"

// hostKHz is the frequency of this host's processor, which an emulated one has, too; 0 if
// the host does not say.
func hostKHz() int {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "cpu MHz" {
			continue
		}
		mhz, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return 0
		}
		return int(mhz * 1000)
	}
	return 0
}
