//go:build linux

package gvisor

import (
	"context"

	"github.com/rundlet/rundlet/vm"
)

// List implements vm.Query.
func (d *Driver) List(ctx context.Context) ([]vm.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, failure("list", "", nil, err)
	}
	return d.machines.Views(), nil
}

// Get implements vm.Query.
func (d *Driver) Get(ctx context.Context, id string) (vm.View, bool, error) {
	if err := ctx.Err(); err != nil {
		return vm.View{}, false, failure("get", id, nil, err)
	}
	view, ok := d.machines.View(id)
	return view, ok, nil
}

// ListSnapshots implements vm.Query.
func (d *Driver) ListSnapshots(ctx context.Context, id string) ([]string, bool, error) {
	view, ok, err := d.Get(ctx, id)
	return view.Snapshots, ok, err
}

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

// Wait implements vm.Waiter.
func (d *Driver) Wait(ctx context.Context, id string) (string, error) {
	return d.machines.Wait(ctx, id)
}

// Forget implements vm.Forgetter.
func (d *Driver) Forget(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return failure("forget", id, nil, err)
	}
	return d.machines.Forget(id)
}
