package machines

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/rundlet/rundlet/vm"
)

// SetWeight implements vm.Weigher. setter returns what sets the weight of a machine's control group; nil if it has none. It never waits for a machine's turn.
func (t *Table[M]) SetWeight(ctx context.Context, id string, weight int, setter func(m M) func(weight int) error) error {
	const op = "set weight"
	if err := ctx.Err(); err != nil {
		return Failure(op, id, nil, err)
	}
	if weight < vm.MinWeight || weight > vm.MaxWeight {
		return Failure(op, id, vm.ErrInvalid, fmt.Errorf("%d is not between %d and %d", weight, vm.MinWeight, vm.MaxWeight))
	}
	m, err := t.Find(op, id)
	if err != nil {
		return err
	}
	set := setter(m)
	switch _, status, exit := t.State(m); {
	case status == vm.StatusDestroyed:
		return vm.TransitionError(op, id, status, status)
	case set == nil && exit != "":
		return nil // It ended before this driver value knew it.
	case set == nil:
		return Failure(op, id, vm.ErrUnsupported, errors.New("the machine has no control group"))
	}
	err = set(weight)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil // It is being destroyed, and its group is gone already.
	}
	return Failure(op, id, nil, err)
}
