package qemu

import (
	"errors"
	"os/exec"
	"runtime"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/driver"
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
func Check(o vm.Options) []vm.Problem {
	var own []vm.Problem
	if _, err := exec.LookPath(programName); err != nil {
		own = append(own, vm.Problem{Fatal: true, What: "QEMU is missing: " + err.Error(), Hint: installHint})
	}
	return driver.Check(o.Kernels, own...)
}
