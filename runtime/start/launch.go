package start

import (
	"context"
	"errors"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// guestOf is the identity of a sandbox's machine.
func guestOf(row store.Sandbox) machine.Guest {
	return machine.Guest{
		ID: row.ID, TemplateID: row.TemplateID, Key: row.KeyID, Secure: row.Secure,
		Egress: egress.Of(row.AllowInternet, row.Egress),
	}
}

// restore makes the slot and the machine of a sandbox, and records the slot in
// its row, for the undo.
func (t *Starter) restore(ctx context.Context, sb *live.Sandbox, l machine.Launch, resume bool) error {
	return t.cfg.Machines.Restore(ctx, guestOf(sb.Row()), l, resume, func(slotID string) {
		sb.Update(func(row *store.Sandbox) { row.SlotID = slotID })
	})
}

// launch makes the network slot and the machine and delivers the identity of the
// sandbox. It records both in the row, for the undo.
func (t *Starter) launch(ctx context.Context, sb *live.Sandbox, l machine.Launch) error {
	begin := time.Now()
	if err := t.restore(ctx, sb, l, true); err != nil {
		return err
	}
	// The rest is to wait for an answer, which a guest may never give: that wait
	// holds no slot of a processor.
	sb.Reservation.Launched()
	ctx, cancel := context.WithTimeout(ctx, machine.Patience(l.Origin))
	defer cancel()
	if l.Origin.Filesystem {
		if err := t.cfg.Machines.AwaitAgent(ctx, sb.ID); err != nil {
			return err
		}
	}
	sb.SetRestored(begin)
	if err := t.cfg.Steps.At(l.Machine); err != nil {
		return err
	}
	if err := t.cfg.Machines.Deliver(ctx, guestOf(sb.Row()), l); err != nil {
		return err
	}
	if err := t.trust(ctx, sb); err != nil {
		return err
	}
	return t.cfg.Steps.At(l.Delivered)
}

// trust makes an initialised guest trust what sets the headers of its rules. A paused sandbox whose agent refuses, as on a
// full disk, runs all the same: the certificate may be there from before, and what is saved would be out of reach.
func (t *Starter) trust(ctx context.Context, sb *live.Sandbox) error {
	g := guestOf(sb.Row())
	err := t.cfg.Machines.Trust(ctx, g.ID, g.Egress)
	if err == nil || sb.Recorded() != sandbox.StateResuming || errors.Is(err, sandbox.ErrNoAnswer) {
		return err
	}
	t.cfg.Log.Warn("a sandbox does not take the certificate for its header rules", "sandbox_id", g.ID, "error", err)
	return nil
}
