package supervise

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/sandbox"
)

// View is the part of a sandbox that a Watcher sees.
type View struct {
	ID string
	// Run counts the machines that it had.
	Run int
	// State is that of its row, and Deadline when a transitional state has to have
	// ended.
	State    sandbox.State
	Deadline time.Time
	Slot     string
	// Busy: a lifecycle call works on it, within its time. Overdue: one should have
	// ended.
	Busy, Overdue bool
	// Condemned: a kill owns the rest of it.
	Condemned bool
}

// state is the state that others see: a condemned sandbox is being killed.
func (v View) state() sandbox.State {
	if v.Condemned {
		return sandbox.StateKilling
	}
	return v.State
}

// Sandboxes is the part of the state machine that a Watcher uses: a look, and the
// verbs by which it settles stuck sandboxes.
type Sandboxes interface {
	// Views returns the sandboxes that are not killed, in no order.
	Views() []View
	View(id string) (View, bool)
	// Found returns the facts that decide about a sandbox past its deadline.
	Found(ctx context.Context, id string) (row reconcile.Row, machine reconcile.Machine, network bool)
	// BreakOff ends the contexts of the lifecycle calls of a sandbox.
	BreakOff(id string)
	// DestroyUnder destroys the machine under a lifecycle call that hangs.
	DestroyUnder(ctx context.Context, id string)
	// Hold waits for the lifecycle lock of a sandbox, at most for bound.
	Hold(ctx context.Context, id string, bound time.Duration) (release func(), ok bool)
	// Enact applies a decision about a sandbox that the caller holds.
	Enact(ctx context.Context, id string, rec reconcile.Record) error
	// End ends a sandbox. held: the caller holds it; otherwise its lifecycle calls are
	// broken off, and the machine is destroyed under one that hangs.
	End(ctx context.Context, id, reason string, held bool) error
}
