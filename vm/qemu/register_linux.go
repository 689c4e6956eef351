package qemu

import (
	"errors"
	"os"
	"os/exec"
	"runtime"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/driver"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

func init() {
	if runtime.GOARCH != "amd64" {
		return // Never tried on another one.
	}
	vm.Register(vm.Driver{
		Name: driverName, Preference: -10, Optional: true, Capabilities: driver.Capabilities(),
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

// available says that the driver is chosen by its name only: an emulated processor is slow.
func available(vm.Options) error {
	return &vm.Error{Op: "open qemu driver", Kind: vm.ErrUnsupported, Err: errors.New("it is used only if it is named")}
}

// Check returns the problems of this host.
func Check(o vm.Options) (problems []vm.Problem) {
	if _, err := kernel.Open(o.Kernels); err != nil {
		problems = append(problems, vm.Problem{Fatal: true, What: err.Error(), Hint: driver.KernelHint})
	}
	if _, err := exec.LookPath(programName); err != nil {
		problems = append(problems, vm.Problem{Fatal: true, What: "QEMU is missing: " + err.Error(), Hint: installHint})
	}
	if !there("/dev/net/tun") {
		problems = append(problems, vm.Problem{Fatal: true, What: "there is no /dev/net/tun", Hint: "modprobe tun"})
	}
	if !there("/usr/sbin/mkfs.ext4") && !there("/sbin/mkfs.ext4") {
		problems = append(problems, vm.Problem{Fatal: true, What: "mkfs.ext4 is missing", Hint: "apt-get install e2fsprogs"})
	}
	if err := cgroups.Usable(); err != nil {
		problems = append(problems, vm.Problem{Fatal: true, What: "no usable control groups: " + err.Error(), Hint: "mount control groups (v1 or v2)"})
	}
	return problems
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
