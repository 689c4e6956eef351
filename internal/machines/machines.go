// Package machines has what every driver keeps of its machines: their ids, states, snapshots and ends, as package vm wants them
// shown. It may import vm, and internal/turn and internal/conns. Drivers import it.
package machines

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/internal/conns"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
)

// Machine is what a driver embeds in its own type of a machine.
type Machine struct {
	// Turn serialises what changes the machine.
	Turn turn.Turn
	// Key names its files and its control group. It is random and never used again, unlike an id.
	Key string
	// Conns are the connections into it.
	Conns conns.Set

	// Guarded by Table.mu.
	id         string
	status     vm.Status // Empty until its creation has succeeded.
	exitReason string
	snapshots  []string
	destroying bool
	reason     string // Valid when ended is closed.

	ended chan struct{}
}

// Init makes a machine that of an id. key is that of an earlier process; empty is a new one.
func (m *Machine) Init(id, key string) {
	m.id, m.Key, m.ended = id, cmp.Or(key, newKey()), make(chan struct{})
}

// ID is the machine's id, for the holder of its turn.
func (m *Machine) ID() string { return m.id }

// Done is closed when the machine's processes have ended.
func (m *Machine) Done() <-chan struct{} { return m.ended }

func newKey() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // Never fails.
	return hex.EncodeToString(b[:])
}

func (m *Machine) base() *Machine { return m }

// Embedding is a driver's type of a machine, which embeds a Machine.
type Embedding interface{ base() *Machine }

// Table has the machines of a driver value by their ids. Its methods may be called at the same time, with or without a machine's turn; only
// Acquire waits.
type Table[M Embedding] struct {
	mu       sync.Mutex
	machines map[string]M
	closed   bool
}

var errClosed = errors.New("the driver is closed")

// Close refuses calls from now on, and returns the machines; first is false for a table that is closed already.
func (t *Table[M]) Close() (all []M, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	t.closed = true
	for id, m := range t.machines {
		if m.base().id == id {
			all = append(all, m)
		}
	}
	return all, true
}

// Closed reports whether Close was called.
func (t *Table[M]) Closed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// Reserve takes the id of a machine that queries do not show yet: vm.ErrAlreadyExists.
func (t *Table[M]) Reserve(m M) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reserve(m.base().id, m)
}

func (t *Table[M]) reserve(id string, m M) error {
	if t.closed {
		return fmt.Errorf("%w: %w", vm.ErrUnavailable, errClosed)
	}
	if _, used := t.machines[id]; used {
		return vm.ErrAlreadyExists
	}
	if t.machines == nil {
		t.machines = map[string]M{}
	}
	t.machines[id] = m
	return nil
}

// Release gives the id of a machine back that was not shown.
func (t *Table[M]) Release(m M) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.machines, m.base().id)
}

// Show makes a machine visible with a status. snapshots lists those of its id; it is called under the lock, so that none is deleted
// unnoticed in between.
func (t *Table[M]) Show(m M, status vm.Status, snapshots func(id string) []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := m.base()
	b.snapshots = snapshots(b.id)
	if b.exitReason != "" {
		status = vm.StatusStopped
	}
	b.status = status
}

// Find returns a machine whose creation has succeeded.
func (t *Table[M]) Find(op, id string) (m M, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return m, Failure(op, id, vm.ErrUnavailable, errClosed)
	}
	if found, ok := t.machines[id]; ok && found.base().status != "" && found.base().id == id {
		return found, nil
	}
	return m, Failure(op, id, vm.ErrNotFound, nil)
}

// Acquire finds a machine and waits for its turn. The caller gives it back. The machine may have been destroyed meanwhile.
func (t *Table[M]) Acquire(ctx context.Context, op, id string) (M, error) {
	var none M
	for {
		m, err := t.Find(op, id)
		if err != nil {
			return none, err
		}
		if err := m.base().Turn.Lock(ctx, op); err != nil {
			return none, Failure(op, id, nil, err)
		}
		if again, err := t.Find(op, id); err == nil && again.base() == m.base() {
			return m, nil
		}
		m.base().Turn.Unlock() // Renamed meanwhile.
	}
}

// All returns the machines, also those that are not shown.
func (t *Table[M]) All() (all []M) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, m := range t.machines {
		if m.base().id == id { // Not one that is being renamed.
			all = append(all, m)
		}
	}
	return all
}

// Keys returns those of all machines.
func (t *Table[M]) Keys() map[string]bool {
	keys := map[string]bool{}
	for _, m := range t.All() {
		keys[m.base().Key] = true
	}
	return keys
}

// Views are the machines that queries show, by their ids.
func (t *Table[M]) Views() []vm.View {
	t.mu.Lock()
	defer t.mu.Unlock()
	views := make([]vm.View, 0, len(t.machines))
	for id, m := range t.machines {
		if b := m.base(); b.status != "" && b.id == id {
			views = append(views, b.view())
		}
	}
	slices.SortFunc(views, func(a, b vm.View) int { return cmp.Compare(a.ID, b.ID) })
	return views
}

// View is that of the machine with an id, if queries show one.
func (t *Table[M]) View(id string) (vm.View, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.machines[id]
	if !ok || m.base().status == "" || m.base().id != id {
		return vm.View{}, false
	}
	return m.base().view(), true
}

func (m *Machine) view() vm.View {
	return vm.View{ID: m.id, Status: m.status, Snapshots: slices.Clone(m.snapshots), ExitReason: m.exitReason, Busy: m.Turn.Abandoned()}
}

// State reads what decides whether an operation is allowed.
func (t *Table[M]) State(m M) (id string, status vm.Status, exitReason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := m.base()
	return b.id, b.status, b.exitReason
}

// SetStatus changes a machine's status, unless its processes have ended or it is destroyed.
func (t *Table[M]) SetStatus(m M, status vm.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b := m.base(); b.exitReason == "" && b.status != vm.StatusDestroyed {
		b.status = status
	}
}

// Saved adds a snapshot to a machine's list.
func (t *Table[M]) Saved(m M, snapshot string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.base().snapshots = append(m.base().snapshots, snapshot)
}

// Deleted removes a snapshot from the list of the machine with an id, if there is one.
func (t *Table[M]) Deleted(id, snapshot string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m, ok := t.machines[id]; ok && m.base().id == id { // Not one that is being renamed: its list is of its id.
		b := m.base()
		b.snapshots = slices.DeleteFunc(b.snapshots, func(s string) bool { return s == snapshot })
	}
}

// Forget drops a destroyed machine, or does nothing if the table does not have it.
func (t *Table[M]) Forget(id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.machines[id]
	if !ok || m.base().id != id {
		return nil
	}
	if status := m.base().status; status != vm.StatusDestroyed {
		return vm.TransitionError("forget", id, status, vm.StatusDestroyed)
	}
	delete(t.machines, id)
	return nil
}
