//go:build linux

package gvisor

import (
	"cmp"
	"context"
	"slices"

	"github.com/rundlet/rundlet/vm"
)

// List implements vm.Query.
func (d *Driver) List(ctx context.Context) ([]vm.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, failure("list", "", nil, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	views := make([]vm.View, 0, len(d.machines))
	for _, m := range d.machines {
		if m.status != "" {
			views = append(views, m.view())
		}
	}
	slices.SortFunc(views, func(a, b vm.View) int { return cmp.Compare(a.ID, b.ID) })
	return views, nil
}

// Get implements vm.Query.
func (d *Driver) Get(ctx context.Context, id string) (vm.View, bool, error) {
	if err := ctx.Err(); err != nil {
		return vm.View{}, false, failure("get", id, nil, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[id]
	if m == nil || m.status == "" {
		return vm.View{}, false, nil
	}
	return m.view(), true, nil
}

// view must be called with Driver.mu held.
func (m *machine) view() vm.View {
	return vm.View{ID: m.id, Status: m.status, Snapshots: slices.Clone(m.snapshots), ExitReason: m.exitReason,
		Busy: m.turn.Abandoned()}
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
	m, err := d.find("read console", id)
	if err != nil {
		return nil, err
	}
	if status, _ := d.state(m); status == vm.StatusDestroyed {
		return nil, failure("read console", id, vm.ErrInvalidTransition, nil)
	}
	return m.console.tail(max), nil
}

// Wait implements vm.Waiter.
func (d *Driver) Wait(ctx context.Context, id string) (string, error) {
	m, err := d.find("wait", id)
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
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[id]
	if m == nil {
		return nil
	}
	if m.status != vm.StatusDestroyed {
		return vm.TransitionError("forget", id, m.status, vm.StatusDestroyed)
	}
	delete(d.machines, id)
	return nil
}
