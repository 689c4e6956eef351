package machines

import (
	"context"
	"fmt"

	"github.com/rundlet/rundlet/vm"
)

// Rename implements vm.Renamer. It calls rename in the machine's turn, to move what the driver keeps by the old id. Queries show the new id
// when rename has returned; if it fails, the machine keeps the old one.
func (t *Table[M]) Rename(ctx context.Context, oldID, newID string, rename func(m M) error) error {
	const op = "rename"
	if err := vm.ValidateID(newID); err != nil {
		return Failure(op, oldID, nil, err)
	}
	m, err := t.Acquire(ctx, op, oldID)
	if err != nil {
		return err
	}
	defer m.base().Turn.Unlock()
	if _, status, _ := t.State(m); status == vm.StatusDestroyed {
		return vm.TransitionError(op, oldID, status, status)
	}
	if oldID == newID {
		return nil
	}
	if err := t.reserveID(newID, m); err != nil {
		return Failure(op, oldID, nil, fmt.Errorf("%w: %s", err, newID))
	}
	if err := rename(m); err != nil {
		t.releaseID(newID)
		return Failure(op, oldID, nil, err)
	}
	t.move(m, newID)
	return nil
}

// reserveID takes an id for a machine that is renamed.
func (t *Table[M]) reserveID(id string, m M) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reserve(id, m)
}

// releaseID gives an id back that was reserved.
func (t *Table[M]) releaseID(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.machines, id)
}

// move gives a machine the id that is reserved.
func (t *Table[M]) move(m M, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.machines, m.base().id)
	t.machines[id] = m
	m.base().id = id
}
