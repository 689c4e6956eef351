//go:build linux

package firecracker

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/firecracker/monitor"
	"github.com/rundlet/rundlet/vm/microvm/driver"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/spec"
)

const (
	driverName  = "firecracker"
	installHint = "put firecracker and jailer of one release, 1.12 or later, into a directory of the search path"
)

// maxVCPUs is Firecracker's limit. otherThreads are those beside one for each processor, and overheadMiB is what a process takes beside the guest's memory.
const maxVCPUs, otherThreads, overheadMiB = 32, 16, 64

// New opens the driver: see driver.Open. The search path has Firecracker and its jailer.
func New(o vm.Options) (*driver.Driver, error) {
	programs, err := findPrograms()
	if err != nil {
		return nil, &vm.Error{Op: "open " + driverName + " driver", Kind: vm.ErrUnsupported, Err: err, Hint: installHint}
	}
	return driver.Open(o, driver.Hypervisor{
		Name: driverName, Version: programs.Version.String(), Platform: "kvm",
		Isolation: "guest kernel in a virtual machine, by KVM; own user, root, control group, and network, mount and process namespaces of its monitor, which has no capabilities",
		MaxVCPUs:  maxVCPUs,
		Overhead:  spec.Overhead{MemoryMiB: overheadMiB, Threads: otherThreads},
		Argument:  filepath.Base, // of --id
		New:       func(m *machine.State) machine.Monitor { return monitor.New(programs, m) },
	})
}

// findPrograms finds Firecracker and its jailer, which must be of one version: api.Oldest or later.
func findPrograms() (p monitor.Programs, err error) {
	var versions [2]api.Version
	for i, name := range []string{"firecracker", "jailer"} {
		path, err := exec.LookPath(name)
		if err != nil {
			return p, err
		}
		// The jailer copies the program that it is given.
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return p, err
		}
		if path, err = filepath.Abs(path); err != nil {
			return p, err
		}
		if versions[i], err = programVersion(path); err != nil {
			return p, err
		}
		*[]*string{&p.Firecracker, &p.Jailer}[i] = path
	}
	p.Version = versions[0]
	switch {
	case versions[0] != versions[1]:
		return p, fmt.Errorf("%s is version %s, and %s is %s", p.Firecracker, versions[0], p.Jailer, versions[1])
	case p.Version.Before(api.Oldest):
		return p, fmt.Errorf("%s is version %s: %s or later is needed", p.Firecracker, p.Version, api.Oldest)
	case !strings.Contains(filepath.Base(p.Firecracker), "firecracker"):
		return p, errors.New("the jailer refuses a program whose name does not contain firecracker: " + p.Firecracker)
	}
	return p, nil
}

// programVersion asks a program: "Firecracker v1.12.1", "Jailer v1.12.1".
func programVersion(program string) (api.Version, error) {
	out, err := driver.AskVersion(program)
	if err != nil {
		return api.Version{}, err
	}
	_, version, _ := strings.Cut(out, " ")
	v, err := api.ParseVersion(version)
	if err != nil {
		return v, fmt.Errorf("%s --version: %w", program, err)
	}
	return v, nil
}
