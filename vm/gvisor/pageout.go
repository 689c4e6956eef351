//go:build linux

package gvisor

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/pages"
)

var _ vm.PageOuter = (*Driver)(nil)

// PageOut implements vm.PageOuter, for the sentry, the processes that run the guest's
// code, and the file server.
func (d *Driver) PageOut(ctx context.Context, id string) (freed int64, err error) {
	const op = "page out"
	if err := ctx.Err(); err != nil {
		return 0, failure(op, id, nil, err)
	}
	m, err := d.machines.Find(op, id)
	if err != nil {
		return 0, err
	}
	if _, status, _ := d.machines.State(m); status != vm.StatusRunning {
		return 0, vm.TransitionError(op, id, status, vm.StatusRunning)
	}
	freed, err = pages.Out(ctx, m.processes)
	if errors.Is(err, errors.ErrUnsupported) {
		return freed, failure(op, id, vm.ErrUnsupported, err)
	}
	return freed, failure(op, id, nil, err)
}

// processes returns the numbers of a machine's processes. Without a control group, those
// that run the guest's code are not known: what they have is mostly the sentry's too.
func (m *machine) processes() (pids []int, err error) {
	for _, p := range []*process.Process{m.sandbox, m.gofer} {
		if p == nil {
			continue
		}
		if _, start, err := process.State(p.PID); err == nil && start == p.Start {
			pids = append(pids, p.PID)
		}
	}
	of, err := m.group.Processes()
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		err = nil // The machine is being destroyed.
	}
	pids = append(pids, of...)
	slices.Sort(pids)
	return slices.Compact(pids), err
}
