package start

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// checkout takes a warm machine for a sandbox of an origin; nil if there is none,
// or if other requests wait: first come, first served.
func (t *Starter) checkout(from claim.Origin) *pool.Machine {
	if !t.cfg.Pool.Serves(from) || t.cfg.Admission.Queue.Stats().Pending > 0 {
		return nil
	}
	return t.cfg.Pool.Checkout(from)
}

// handOver makes a warm machine the sandbox that was asked for, whose place it owns
// from now on.
func (t *Starter) handOver(ctx context.Context, m *pool.Machine, pl *admission.Place, want store.Sandbox, req sandbox.CreateRequest) (_ store.Sandbox, err error) {
	want.ID, want.SlotID, want.Deadline = m.ID, m.Slot(), time.Now().Add(CreateTimeout)
	sb := live.New(want)
	sb.Reservation = m.Reservation
	_ = sb.Life.Lock(ctx) // No other call knows it.
	defer sb.Life.Unlock()
	ctx, cancel := creation(ctx, sb)
	defer cancel()
	if err := t.cfg.Live.Add(sb, pl); err != nil {
		t.cfg.Admission.Places.Free(pl)
		t.cfg.Pool.Discard(m)
		return store.Sandbox{}, err
	}
	defer func() { err = t.undoCreate(ctx, sb, err) }()
	t.cfg.Machines.Assign(ctx, sb.ID, want.KeyID)
	if policy := egress.Of(want.AllowInternet, want.Egress); !policy.Equal(egress.Everything) {
		if err := t.cfg.Network.SetEgress(ctx, want.SlotID, policy); err != nil {
			return store.Sandbox{}, err
		}
	}
	if !m.Ready {
		if err := t.startPrepared(ctx, sb, m.Origin, req); err != nil {
			return store.Sandbox{}, err
		}
	}
	if err := t.cfg.Steps.At(step.CreateMachine); err != nil {
		return store.Sandbox{}, err
	}
	// What a ready one was given when it was made need not be given again.
	if !m.Ready || len(req.Env) > 0 || !req.Secure {
		if err := t.cfg.Machines.Deliver(ctx, guestOf(want), machine.Launch{Origin: m.Given(), Env: req.Env, Resumed: m.Ready}); err != nil {
			return store.Sandbox{}, err
		}
	}
	if err := t.trust(ctx, sb); err != nil {
		return store.Sandbox{}, err
	}
	if err := t.cfg.Steps.At(step.CreateDelivered); err != nil {
		return store.Sandbox{}, err
	}
	if len(req.Env) > 0 {
		// Its environment ends with its row, which it has not yet: the values may be secrets.
		intent := sb.Row()
		if err := t.write(ctx, sb, &intent); err != nil {
			return store.Sandbox{}, err
		}
	}
	row, err := t.created(ctx, sb, req, m.Origin)
	if err == nil {
		// Its row says what it is now, and a mark would say otherwise if that is lost.
		err = t.cfg.Machines.Unmark(sb.ID)
	}
	return row, err
}

// startPrepared starts a machine that is prepared, when it is its turn: that is
// work for a processor.
func (t *Starter) startPrepared(ctx context.Context, sb *live.Sandbox, from claim.Origin, req sandbox.CreateRequest) error {
	inAdmit, admitted := t.cfg.Steps.Stage(ctx, latency.CreateAdmit)
	turn, err := t.cfg.Admission.Admit(inAdmit, req.KeyID, capacity.Budget{Launches: 1})
	if admitted(err); err != nil {
		return err
	}
	defer turn.Release()
	ctx, done := t.cfg.Steps.Stage(ctx, latency.WarmSnapshotRestore)
	sb.SetRestored(time.Now())
	err = t.cfg.Machines.Start(ctx, sb.ID, from)
	done(err)
	return err
}
