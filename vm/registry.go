package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
)

// Driver is an entry of the registry: one mechanism that this program can use. A
// driver's package registers it in an init function, for the systems that it runs
// on, so that nothing outside the package has to know its name.
type Driver struct {
	// Name is Info().Driver: short, lower case, and stable, since snapshots name
	// the driver that made them.
	Name string
	// Preference orders the drivers: the one with the highest comes first.
	Preference int
	// Capabilities is sorted and equal to Info().Capabilities.
	Capabilities []Capability
	// Available returns nil if this host can run machines of the driver, and the
	// reason otherwise. It is cheap, or keeps its answer: a driver may have to start a
	// machine to know. Only Kernels of the options is set.
	Available func(Options) error
	// New opens the driver. A driver that holds something of the process (files,
	// goroutines) implements io.Closer; machines outlive its Close.
	New func(Options) (Runtime, error)
	// Check reports the problems of this host that keep machines from running, or from
	// running well. It changes nothing. The directories of the options need not exist.
	Check func(Options) []Problem
	// Optional: a host need not have what is missing for the driver.
	Optional bool
}

// Options say where a driver keeps its files and how it reaches guests.
type Options struct {
	// StateDir holds files that must survive a reboot, and RunDir files of running
	// machines. One driver value at a time may use a RunDir.
	StateDir, RunDir string
	// Kernels has the kernels that the operator installed, for drivers that boot one.
	Kernels string
	// Instance separates the host objects of this driver value from those of others: a
	// part of names, by the rules of ValidateID.
	Instance string
	// DialContext reaches a guest address; nil is a plain net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// SetUID are absolute paths of files in guests, owned by root, that are made
	// set-uid in each guest that has them. On the host they are not.
	SetUID []string
	// Failpoint, if not nil, is called at every step of a lifecycle operation, by the
	// goroutine that does it and with the id of the machine. It is for tests of the
	// state that a process leaves that dies there.
	Failpoint func(step, id string)
}

// Problem is something about a host that a driver's Check found.
type Problem struct {
	// Fatal problems keep machines from running; the others cost something.
	Fatal bool
	// What is the problem, in one line, and Hint the remedy.
	What, Hint string
}

var registry struct {
	mu   sync.Mutex
	list []Driver // In the order of Drivers.
}

// Register adds a driver. It panics if the entry has no name, no New, or the name of
// another driver: that is a mistake in the program.
func Register(d Driver) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if d.Name == "" || d.New == nil {
		panic("vm: a driver needs a name and New")
	}
	for _, other := range registry.list {
		if other.Name == d.Name {
			panic("vm: driver " + d.Name + " is registered twice")
		}
	}
	registry.list = append(registry.list, d)
	slices.SortFunc(registry.list, func(a, b Driver) int {
		return cmp.Or(cmp.Compare(b.Preference, a.Preference), strings.Compare(a.Name, b.Name))
	})
}

// Drivers returns the registered drivers, the preferred one first.
func Drivers() []Driver {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	return slices.Clone(registry.list)
}

// AutoDriver is the name that stands for the first available driver.
const AutoDriver = "auto"

// FindDriver returns the driver of that name. For AutoDriver it is the first that is
// available; if none is, the first that is not optional, or the first of all, whose New
// reports what is missing. kernels is Options.Kernels. The
// error is ErrUnsupported and names the existing drivers.
func FindDriver(name, kernels string) (Driver, error) { return findDriver(Drivers(), name, kernels) }

func findDriver(all []Driver, name, kernels string) (Driver, error) {
	if name == AutoDriver && len(all) > 0 {
		for _, d := range all {
			if d.Available == nil || d.Available(Options{Kernels: kernels}) == nil {
				return d, nil
			}
		}
		return all[max(0, slices.IndexFunc(all, func(d Driver) bool { return !d.Optional }))], nil
	}
	names := []string{AutoDriver}
	for _, d := range all {
		if d.Name == name {
			return d, nil
		}
		names = append(names, d.Name)
	}
	if len(all) == 0 {
		return Driver{}, &Error{Op: "find driver", Kind: ErrUnsupported,
			Err: errors.New("this build has no sandbox driver for this operating system; use Linux")}
	}
	return Driver{}, fmt.Errorf("driver %.40q is not in this build; available: %s", name, strings.Join(names, ", "))
}
