package memvm

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm/layer"
)

var _ vm.LayerReader = (*Driver)(nil)

// ReadLayer implements vm.LayerReader. The layer has all files of the guest.
func (d *Driver) ReadLayer(ctx context.Context, id string, largest int64, w io.Writer) error {
	const op = "read layer"
	r, status, err := d.begin(ctx, op, id)
	if err != nil {
		return err
	}
	var data []byte
	err = r.turn.Run(ctx, turn.Grace, func() error {
		switch g := r.guest; {
		case largest < 0:
			return fail(op, id, vm.ErrInvalid, fmt.Errorf("the size of the largest file must not be negative, got %d", largest))
		case status != vm.StatusRunning && status != vm.StatusStopped || g.ended():
			return vm.TransitionError(op, id, status, status)
		case g.Spec().RootfsReadOnly:
			return fail(op, id, vm.ErrUnsupported, errors.New("the root is read-only"))
		}
		err := d.midway(ctx, op, id, r.guest)
		if err == nil {
			data, err = layer.Archive(r.guest.Files())
		}
		return err
	})
	if err != nil { // An abandoned call still has the buffer.
		return err
	}
	if _, err := w.Write(data); err != nil {
		return fail(op, id, nil, err)
	}
	return nil
}
