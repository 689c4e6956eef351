package live

import (
	"maps"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// NextRun counts another machine of the sandbox and returns its number.
func (sb *Sandbox) NextRun() int {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.run++
	return sb.run
}

// Run returns State, and the number of the machine, of one moment.
func Run(sb *Sandbox) (state sandbox.State, run int) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.stateLocked(), sb.run
}

// Look returns the row, the number of the machine, and whether a kill owns the rest
// of the sandbox, all of one moment.
func (sb *Sandbox) Look() (row store.Sandbox, run int, condemned bool) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	row = sb.row
	row.Metadata = maps.Clone(row.Metadata)
	return row, sb.run, sb.doom != ""
}

// SetRestored notes when the restore of its machine began.
func (sb *Sandbox) SetRestored(at time.Time) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.restored = at
}

// TakeRestored returns the time that SetRestored noted, once.
func (sb *Sandbox) TakeRestored() time.Time {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	at := sb.restored
	sb.restored = time.Time{}
	return at
}
