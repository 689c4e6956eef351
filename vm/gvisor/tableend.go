//go:build linux

package gvisor

import (
	"cmp"

	"github.com/rundlet/rundlet/vm"
)

// The methods of this file are how a machine ends: alone, or destroyed by one call,
// which may fail and be made again.

// beginDestroy makes a call the one that destroys a machine, or reports false if there
// is one already.
func (t *table) beginDestroy(m *machine) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.destroying {
		return false
	}
	m.destroying = true
	return true
}

// cancelDestroy lets go of a machine to which nothing was done.
func (t *table) cancelDestroy(m *machine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.destroying = false
}

// notDestroyed makes it possible to destroy a machine again, to free the rest. Its processes were killed.
func (t *table) notDestroyed(m *machine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.destroying, m.status = false, vm.StatusStopped
	m.exitReason = cmp.Or(m.exitReason, "destroyed")
}

// destroyed says that nothing is left of a machine but its id, until it is forgotten.
func (t *table) destroyed(m *machine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.status = vm.StatusDestroyed
}

// ended makes known why the processes of a machine have ended, and closes m.ended.
func (t *table) ended(m *machine, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.destroying {
		reason = "destroyed"
	} else {
		m.exitReason = reason
		if m.status != "" {
			m.status = vm.StatusStopped
		}
	}
	m.reason = reason
	close(m.ended)
}
