package live

import (
	"cmp"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Kill changes the row to that of a sandbox that is being ended, for the reason with
// which it was condemned, if it was, and returns it. The first reason stays.
func (sb *Sandbox) Kill(reason string, deadline time.Time) store.Sandbox {
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

// FirstRetry reports, once, that no retry of its end is in progress. Its state does
// not say so: it may be that of an earlier process.
func (sb *Sandbox) FirstRetry() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	first := !sb.retried
	sb.retried = true
	return first
}

// FirstInsistence reports, once, that no kill goes on in the background.
func (sb *Sandbox) FirstInsistence() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	first := !sb.insisting
	sb.insisting = true
	return first
}
