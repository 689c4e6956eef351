package statedir

import (
	"cmp"
	"context"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/vm"
)

// Driver returns the driver with a name. For vm.AutoDriver, and an empty name, it is the one that has the sandboxes or templates of the state
// directory, and else the first that is available: a driver that becomes available later must not take what is saved for lost. A
// database that cannot be read is ignored here: opening it for use reports the error.
func Driver(ctx context.Context, dirs layout.Layout, name string) (vm.Driver, error) {
	if name = cmp.Or(name, vm.AutoDriver); name == vm.AutoDriver {
		if d, err := vm.FindDriver(ownDriver(ctx, dirs), ""); err == nil {
			return d, nil
		}
	}
	return vm.FindDriver(name, dirs.Kernels())
}

// ownDriver returns the name of a driver with sandboxes or templates in the state directory; empty without one.
func ownDriver(ctx context.Context, dirs layout.Layout) string {
	db, err := OpenToRead(ctx, dirs)
	if err != nil {
		return ""
	}
	defer db.Close()
	driver, err := db.OtherDriver(ctx, "")
	if err != nil {
		return ""
	}
	return driver
}
