package runtime

import (
	"context"

	"github.com/rundlet/rundlet/sandbox"
)

// List returns the sandboxes that match, in order. It looks at those from the cursor
// on, until the page is full.
func (r *reads) List(_ context.Context, f sandbox.ListFilter) ([]sandbox.Sandbox, error) {
	var out []sandbox.Sandbox
	for _, e := range r.live.Roster.Page(f) {
		// Views have tokens and copies in them, and are of the page only.
		view := view(&r.parts, e.Sandbox.Row())
		view.State, view.StartedAt = e.State, e.At.StartedAt
		out = append(out, view)
	}
	return out, nil
}

// CountRunning returns how many sandboxes a list of running ones has on all of its
// pages.
func (r *reads) CountRunning(_ context.Context, f sandbox.ListFilter) (n int, err error) {
	return r.live.Roster.Running(f), nil
}
