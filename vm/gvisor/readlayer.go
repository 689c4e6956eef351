//go:build linux

package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/layer"
)

// ReadLayer implements vm.LayerReader. gVisor writes the tar file: it holds each file as a whole meanwhile, and leaves out extended
// attributes whose value is empty or not text.
func (d *Driver) ReadLayer(ctx context.Context, id string, largest int64, w io.Writer) error {
	const op = "read layer"
	return failure(op, id, nil, layer.Copy(ctx, w, func(out *os.File) error {
		return d.do(ctx, op, id, func(m *machine) error {
			switch _, status, exit := d.machines.State(m); {
			case exit != "" || status != vm.StatusRunning && status != vm.StatusStopped || m.pending != "":
				return vm.TransitionError(op, id, status, status)
			case largest < 0:
				return failure(op, id, vm.ErrInvalid, fmt.Errorf("the size of the largest file must not be negative, got %d", largest))
			case m.spec.RootfsReadOnly:
				return failure(op, id, vm.ErrUnsupported, errors.New("the root is read-only"))
			}
			lower, err := m.lift(&d.headroom, func(own, _ int64) int64 { return own + readFactor*largest })
			if err != nil {
				return err
			}
			defer lower()
			return m.outOfMemory("reading its layer", m.group.OOMKills(), m.calls.TarUpperLayer(out))
		})
	}))
}
