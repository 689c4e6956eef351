//go:build linux

package gvisor

import (
	"context"

	"github.com/rundlet/rundlet/vm"
)

// ConsoleTail implements vm.Console.
func (d *Driver) ConsoleTail(ctx context.Context, id string, max int) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, failure("read console", id, nil, err)
	}
	m, err := d.machines.Find("read console", id)
	if err != nil {
		return nil, err
	}
	if _, status, _ := d.machines.State(m); status == vm.StatusDestroyed {
		return nil, failure("read console", id, vm.ErrInvalidTransition, nil)
	}
	return m.console.Tail(max), nil
}
