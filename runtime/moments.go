package runtime

import (
	"cmp"
	"maps"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// look returns the row, the number of the machine, and whether a kill owns what is
// left of the sandbox, all of one moment.
func (sb *handle) look() (row store.Sandbox, run int, condemned bool) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	row = sb.row
	row.Metadata = maps.Clone(row.Metadata)
	return row, sb.run, sb.doom != ""
}

// nextRun counts another machine of the sandbox and returns its number.
func (sb *handle) nextRun() int {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.run++
	return sb.run
}

// setRestored notes when the restore of its machine began.
func (sb *handle) setRestored(at time.Time) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.restored = at
}

// takeRestored returns what setRestored noted, once.
func (sb *handle) takeRestored() time.Time {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	at := sb.restored
	sb.restored = time.Time{}
	return at
}

// pauseCount is how many pauses of the sandbox were finished.
func (sb *handle) pauseCount() int {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.pauses
}

// countPause counts a pause that was finished.
func (sb *handle) countPause() {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.pauses++
}

// setForgetting says whether a resume that begins now is to leave the memory out.
func (sb *handle) setForgetting(forget bool) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.forgetting = forget
}

func (sb *handle) isForgetting() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.forgetting
}

// kill changes the row to that of a sandbox that is being ended, for the reason with
// which it was condemned, if it was, and returns it. The first reason stays.
func (sb *handle) kill(reason string, deadline time.Time) store.Sandbox {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.row.State != sandbox.StateKilling {
		sb.row.State, sb.row.Deadline = sandbox.StateKilling, deadline
	}
	if sb.row.Reason == "" {
		sb.row.Reason = cmp.Or(sb.doom, reason)
	}
	sb.updateRoster()
	return sb.row
}

// firstRetry reports, once, that no retry of its end is in progress. Its state does
// not say so: it may be that of an earlier process.
func (sb *handle) firstRetry() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	first := !sb.retried
	sb.retried = true
	return first
}

// firstInsistence reports, once, that no kill goes on in the background.
func (sb *handle) firstInsistence() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	first := !sb.insisting
	sb.insisting = true
	return first
}
