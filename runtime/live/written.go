package live

import (
	"sync"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Written is the part of the row of a sandbox, as it was written or read last, by which a change of it shows. The row that
// Sandbox.Row returns is ahead of it while a change is made.
type Written struct {
	State         sandbox.State // empty before the first write
	EndAt         time.Time
	AllowInternet *bool
	Egress        sandbox.Egress
}

// Record keeps what was written last of a sandbox. Safe for concurrent use.
type Record struct {
	mu   sync.Mutex
	last Written
}

// Last returns what was written last.
func (r *Record) Last() Written {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Note notes a row that was written or read. One without a version was neither.
func (r *Record) Note(row store.Sandbox) {
	if row.Version == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = Written{State: row.State, EndAt: row.EndAt, AllowInternet: row.AllowInternet, Egress: row.Egress}
}
