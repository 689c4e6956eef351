//go:build linux

package testmachine

import (
	"context"
	"os"
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
