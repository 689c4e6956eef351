//go:build linux

package qemu

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/driver"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/spec"
	"github.com/rundlet/rundlet/vm/qemu/monitor"
)

const (
	driverName  = "qemu"
	programName = "qemu-system-x86_64"
	installHint = "apt-get install qemu-system-x86"
)

// QEMU makes as many threads for requests of the drives as there are at once, up to workers, and has few others beside one for each processor.
// overheadMiB is what it takes beside the guest's memory: its own, and the code that it translates.
const workers, otherThreads, overheadMiB = 64, 16, 256

// New opens the driver: see driver.Open.
func New(o vm.Options) (*driver.Driver, error) {
	fail := func(kind, err error, hint string) (*driver.Driver, error) {
		return nil, &vm.Error{Op: "open qemu driver", Kind: kind, Err: err, Hint: hint}
	}
	if strings.Contains(o.StateDir+o.RunDir, ",") {
		return fail(vm.ErrInvalid, errors.New("state or run directory contains a comma, which QEMU takes for the end of a value"), "")
	}
	program, err := exec.LookPath(programName)
	if err != nil {
		return fail(vm.ErrUnsupported, err, installHint)
	}
	version, err := programVersion(program)
	if err != nil {
		return fail(vm.ErrUnsupported, err, installHint)
	}
	return driver.Open(o, driver.Hypervisor{
		Name: driverName, Version: version, Platform: "tcg",
		Isolation: "guest kernel in a virtual machine, by software (TCG); own user, root, network namespace and control group of its monitor",
		MaxVCPUs:  255,
		Overhead:  spec.Overhead{MemoryMiB: overheadMiB, Threads: workers + otherThreads},
		Argument:  func(dir string) string { return dir }, // of -chroot
		New:       func(m *machine.State) machine.Monitor { return monitor.New(program, m) },
	})
}

// programVersion asks QEMU what it is. A snapshot is restored by the version that made it.
func programVersion(program string) (string, error) {
	out, err := driver.AskVersion(program)
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(out, "version ")
	if fields := strings.Fields(rest); found && len(fields) > 0 {
		return fields[0], nil
	}
	return "", fmt.Errorf("%s does not say its version", program)
}
