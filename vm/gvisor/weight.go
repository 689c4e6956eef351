//go:build linux

package gvisor

import (
	"context"

	"github.com/rundlet/rundlet/vm"
)

var _ vm.Weigher = (*Driver)(nil)

// SetWeight implements vm.Weigher.
func (d *Driver) SetWeight(ctx context.Context, id string, weight int) error {
	return d.machines.SetWeight(ctx, id, weight, func(m *machine) func(int) error {
		if m.group == nil {
			return nil
		}
		return m.group.SetWeight
	})
}
