//go:build linux

package gvisor

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
)

var _ vm.Weigher = (*Driver)(nil)

// SetWeight implements vm.Weigher.
func (d *Driver) SetWeight(ctx context.Context, id string, weight int) error {
	const op = "set weight"
	if err := ctx.Err(); err != nil {
		return failure(op, id, nil, err)
	}
	if weight < vm.MinWeight || weight > vm.MaxWeight {
		return failure(op, id, vm.ErrInvalid, fmt.Errorf("%d is not between %d and %d", weight, vm.MinWeight, vm.MaxWeight))
	}
	m, err := d.machines.Find(op, id)
	if err != nil {
		return err
	}
	switch _, status, exit := d.machines.State(m); {
	case status == vm.StatusDestroyed:
		return vm.TransitionError(op, id, status, status)
	case m.group == nil && exit != "":
		return nil // It ended before this driver value knew it.
	case m.group == nil:
		return failure(op, id, vm.ErrUnsupported, errors.New("the machine has no control group"))
	}
	err = m.group.SetWeight(weight)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil // It is being destroyed, and its group is gone already.
	}
	return failure(op, id, nil, err)
}
