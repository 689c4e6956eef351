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
	return d.machines.views(), nil
}

// Get implements vm.Query.
func (d *Driver) Get(ctx context.Context, id string) (vm.View, bool, error) {
	if err := ctx.Err(); err != nil {
		return vm.View{}, false, failure("get", id, nil, err)
	}
	view, ok := d.machines.viewOf(id)
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
	m, err := d.machines.find("read console", id)
	if err != nil {
		return nil, err
	}
	if status, _ := d.machines.state(m); status == vm.StatusDestroyed {
		return nil, failure("read console", id, vm.ErrInvalidTransition, nil)
	}
	return m.console.Tail(max), nil
}

// Wait implements vm.Waiter.
func (d *Driver) Wait(ctx context.Context, id string) (string, error) {
	m, err := d.machines.find("wait", id)
	if err != nil {
		return "", err
	}
	select {
	case <-m.ended:
		return m.reason, nil
	default:
	}
	select {
	case <-m.ended:
		return m.reason, nil
	case <-ctx.Done():
		return "", failure("wait", id, nil, ctx.Err())
	}
}

// Forget implements vm.Forgetter.
func (d *Driver) Forget(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return failure("forget", id, nil, err)
	}
	return d.machines.forget(id)
}
