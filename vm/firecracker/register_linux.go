package firecracker

import (
	"context"
	"os"
	"runtime"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/driver"
)

func init() {
	if runtime.GOARCH != "amd64" {
		return // Never tried on another one.
	}
	vm.Register(vm.Driver{
		Name: driverName, Preference: 10, Optional: true, Capabilities: driver.Capabilities(),
		Available: available, Check: Check,
		New: func(o vm.Options) (vm.Runtime, error) {
			d, err := New(o)
			if err != nil {
				return nil, err // Not a *driver.Driver that is nil.
			}
			return d, nil
		},
	})
}

// probeTime bounds a probe with all that comes before the start of its guest.
const probeTime = 30 * time.Second

// available asks for a guest that has really booted.
func available(o vm.Options) error {
	programs, err := findPrograms()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	return works(ctx, programs, o.Kernels, bootLimit, false)
}

// Check returns the problems of this host.
func Check(o vm.Options) (problems []vm.Problem) {
	fatal := func(what, hint string) { problems = append(problems, vm.Problem{Fatal: true, What: what, Hint: hint}) }
	programs, err := findPrograms()
	if err != nil {
		fatal("Firecracker is missing, or of no use: "+err.Error(), installHint)
	}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		fatal("/dev/kvm is missing", "use a host with hardware virtualization, and load its module: modprobe kvm_intel or kvm_amd")
	}
	problems = driver.Check(o.Kernels, problems...)
	if len(problems) > 0 {
		return problems
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	if err := works(ctx, programs, o.Kernels, bootLimit, true); err != nil {
		fatal("KVM runs no guest here: "+err.Error(), "use another driver; on a virtual machine, let its host offer nested virtualization")
	}
	return problems
}
