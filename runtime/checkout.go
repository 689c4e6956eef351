package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
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
func (r *Runtime) checkout(from claim.Origin) *pool.Machine {
	if !r.pool.Serves(from) || r.admission.Queue.Stats().Pending > 0 {
		return nil
	}
	return r.pool.Checkout(from)
}

// handOver makes a warm machine the sandbox that was asked for, whose place it owns
// from now on.
func (r *Runtime) handOver(ctx context.Context, m *pool.Machine, pl *admission.Place, want store.Sandbox, req sandbox.CreateRequest) (_ sandbox.Sandbox, err error) {
	want.ID, want.SlotID, want.Deadline = m.ID, m.Slot(), time.Now().Add(createTimeout)
	sb := live.New(want)
	sb.Reservation = m.Reservation
	_ = sb.Life.Lock(ctx) // No other call knows it.
	defer sb.Life.Unlock()
	ctx, cancel := creation(ctx, sb)
	defer cancel()
	if err := r.live.Add(sb, pl); err != nil {
		r.admission.Places.Free(pl)
		r.pool.Discard(m)
		return sandbox.Sandbox{}, err
	}
	defer func() { err = r.undoCreate(ctx, sb, err) }()
	if want.AllowInternet != nil && !*want.AllowInternet {
		if err := r.cfg.Network.SetInternet(ctx, want.SlotID, false); err != nil {
			return sandbox.Sandbox{}, err
		}
	}
	if !m.Ready {
		if err := r.startPrepared(ctx, sb, m.Origin, req); err != nil {
			return sandbox.Sandbox{}, err
		}
	}
	if err := r.steps.At(step.CreateMachine); err != nil {
		return sandbox.Sandbox{}, err
	}
	// What a ready one was given when it was made need not be given again.
	if !m.Ready || len(req.Env) > 0 || !req.Secure {
		if err := r.machines.Deliver(ctx, guestOf(want), machine.Launch{Origin: m.Origin, Env: req.Env, Resumed: m.Ready}); err != nil {
			return sandbox.Sandbox{}, err
		}
	}
	if err := r.steps.At(step.CreateDelivered); err != nil {
		return sandbox.Sandbox{}, err
	}
	view, err := r.created(ctx, sb, req, m.Origin)
	if err == nil {
		// Its row says what it is now, and a mark would say otherwise if that is lost.
		err = r.machines.Unmark(sb.ID)
	}
	return view, err
}

// startPrepared starts a machine that is prepared, when it is its turn: that is
// work for a processor.
func (r *Runtime) startPrepared(ctx context.Context, sb *live.Sandbox, from claim.Origin, req sandbox.CreateRequest) error {
	inAdmit, admitted := r.steps.Stage(ctx, latency.CreateAdmit)
	turn, err := r.admission.Admit(inAdmit, req.KeyID, capacity.Budget{Launches: 1})
	if admitted(err); err != nil {
		return err
	}
	defer turn.Release()
	ctx, done := r.steps.Stage(ctx, latency.WarmSnapshotRestore)
	sb.SetRestored(time.Now())
	err = r.machines.Start(ctx, sb.ID, from)
	done(err)
	return err
}
