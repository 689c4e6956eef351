//go:build linux

package gvisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
)

// table has the machines of a driver value by their ids, with what queries read of
// them. An id is reserved before there is a machine: queries show it when its creation
// has succeeded. Its methods may be called at the same time, with or without a
// machine's turn; only acquire waits.
type table struct {
	mu       sync.Mutex // Guards the fields below and the view fields of each machine.
	machines map[string]*machine
	closed   bool
}

var errClosed = errors.New("the driver is closed")

func newTable() *table { return &table{machines: map[string]*machine{}} }

// close refuses calls from now on, and returns the machines; first is false for a
// table that is closed already.
func (t *table) close() (all []*machine, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	t.closed = true
	for _, m := range t.machines {
		all = append(all, m)
	}
	return all, true
}

func (t *table) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// reserve takes the id for a machine that queries do not show yet.
func (t *table) reserve(id string) (*machine, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fmt.Errorf("%w: %w", vm.ErrUnavailable, errClosed)
	}
	if t.machines[id] != nil {
		return nil, vm.ErrAlreadyExists
	}
	m := newMachine(id, files.NewKey())
	t.machines[id] = m
	return m, nil
}

// release gives an id back that was reserved.
func (t *table) release(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.machines, id)
}

// show makes a machine visible that was created with this status. snapshots lists those
// of its id; it is called under the lock, so that none is deleted unnoticed in between.
// It returns the status that the machine has.
func (t *table) show(m *machine, status vm.Status, snapshots func() []string) vm.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.snapshots = snapshots()
	if m.exitReason != "" {
		status = vm.StatusStopped
	}
	m.status = status
	return status
}

// add enters a machine that an earlier process left, and starts to watch it. One of
// the same id is proof that it is lost.
func (t *table) add(m *machine) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.machines[m.id] != nil {
		return lostError("another machine has the id " + m.id)
	}
	t.machines[m.id] = m
	m.watched = true
	go m.watch(t)
	return nil
}

// setEngine says which engine a machine holds.
func (t *table) setEngine(m *machine, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.engine = name
}

// engines returns those of the machines that are not destroyed.
func (t *table) engines() map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := map[string]bool{}
	for _, m := range t.machines {
		if m.status != vm.StatusDestroyed {
			names[m.engine] = true
		}
	}
	return names
}

// find returns a machine whose creation has succeeded.
func (t *table) find(op, id string) (*machine, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, failure(op, id, vm.ErrUnavailable, errClosed)
	}
	if m := t.machines[id]; m != nil && m.status != "" {
		return m, nil
	}
	return nil, failure(op, id, vm.ErrNotFound, nil)
}

// acquire finds a machine and waits for its turn. The caller gives it back. The
// machine may have been renamed or destroyed meanwhile.
func (t *table) acquire(ctx context.Context, op, id string) (*machine, error) {
	for {
		m, err := t.find(op, id)
		if err != nil {
			return nil, err
		}
		if err := m.turn.Lock(ctx, op); err != nil {
			return nil, failure(op, id, nil, err)
		}
		if again, _ := t.find(op, id); again == m {
			return m, nil
		}
		m.turn.Unlock() // Renamed meanwhile.
	}
}

// keys returns those of all machines.
func (t *table) keys() map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := map[string]bool{}
	for _, m := range t.machines {
		keys[m.key] = true
	}
	return keys
}

// views are the machines that queries show, by their ids.
func (t *table) views() []vm.View {
	t.mu.Lock()
	defer t.mu.Unlock()
	views := make([]vm.View, 0, len(t.machines))
	for _, m := range t.machines {
		if m.status != "" {
			views = append(views, m.view())
		}
	}
	slices.SortFunc(views, func(a, b vm.View) int { return cmp.Compare(a.ID, b.ID) })
	return views
}

// viewOf is the view of the machine with an id, if queries show one.
func (t *table) viewOf(id string) (vm.View, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.machines[id]
	if m == nil || m.status == "" {
		return vm.View{}, false
	}
	return m.view(), true
}

func (t *table) view(m *machine) vm.View {
	t.mu.Lock()
	defer t.mu.Unlock()
	return m.view()
}

// view must be called with the table's lock.
func (m *machine) view() vm.View {
	return vm.View{ID: m.id, Status: m.status, Snapshots: slices.Clone(m.snapshots), ExitReason: m.exitReason,
		Busy: m.turn.Abandoned()}
}

// state reads what decides whether an operation is allowed.
func (t *table) state(m *machine) (status vm.Status, exitReason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return m.status, m.exitReason
}

// setStatus changes a machine's status unless its processes have ended.
func (t *table) setStatus(m *machine, status vm.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.exitReason == "" {
		m.status = status
	}
}

// assume gives an adopted machine whose sentry has not said its status the one that
// it must have had last.
func (t *table) assume(m *machine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.status == "" && m.pending != "" {
		m.status = vm.StatusStopped
	}
	m.status = cmp.Or(m.status, vm.StatusRunning) // The record is of an earlier version.
}

// rename moves a machine to an id that is reserved.
func (t *table) rename(m *machine, oldID, newID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.machines, oldID)
	t.machines[newID] = m
	m.id = newID
}

// saved adds a snapshot to a machine's list.
func (t *table) saved(m *machine, snapshot string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.snapshots = append(m.snapshots, snapshot)
}

// deleted removes a snapshot from the list of the machine with this id, if there is one.
func (t *table) deleted(id, snapshot string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.machines[id]; m != nil {
		m.snapshots = slices.DeleteFunc(m.snapshots, func(s string) bool { return s == snapshot })
	}
}

// forget drops a destroyed machine, or does nothing if the table does not have it.
func (t *table) forget(id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.machines[id]
	if m == nil {
		return nil
	}
	if m.status != vm.StatusDestroyed {
		return vm.TransitionError("forget", id, m.status, vm.StatusDestroyed)
	}
	delete(t.machines, id)
	return nil
}
