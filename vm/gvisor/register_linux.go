package gvisor

import (
	"errors"

	"github.com/rundlet/rundlet/vm"
)

func init() {
	vm.Register(vm.Driver{
		Name: driverName, Capabilities: driverCapabilities,
		Available: available, Check: func(o vm.Options) []vm.Problem { return Check(o.RunDir) },
		New: func(o vm.Options) (vm.Runtime, error) {
			d, err := New(Config{
				StateDir: o.StateDir, RunDir: o.RunDir, Instance: o.Instance,
				DialContext: o.DialContext, SetUID: o.SetUID, Failpoint: o.Failpoint,
			})
			if err != nil {
				return nil, err // Not a *Driver that is nil.
			}
			return d, nil
		},
	})
}

// available returns the first problem that keeps machines from running.
func available(vm.Options) error {
	for _, p := range Check("/") {
		if p.Fatal {
			return &vm.Error{Op: "open gvisor driver", Kind: vm.ErrUnsupported, Err: errors.New(p.What), Hint: p.Hint}
		}
	}
	return nil
}
