//go:build !linux

package gvisor

import (
	"errors"

	"github.com/rundlet/rundlet/vm"
)

// Driver is not available on this system.
type Driver struct{ vm.Runtime }

// New fails with vm.ErrUnsupported.
func New(Config) (*Driver, error) {
	return nil, &vm.Error{Op: "open gvisor driver", Kind: vm.ErrUnsupported, Err: errors.New("it needs Linux")}
}

// Close does nothing.
func (*Driver) Close() error { return nil }

// Check reports that this system cannot run machines.
func Check(string) []vm.Problem {
	return []vm.Problem{{Fatal: true, What: "gVisor needs Linux", Hint: "use another driver"}}
}
