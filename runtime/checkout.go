package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// checkout takes a warm machine for a sandbox of an origin; nil if there is
// none, or if others wait: who came first is served first.
func (r *Runtime) checkout(from claim.Origin) *warm {
	if r.cfg.Warm == (WarmTarget{}) || from.Holder != "" || from.Filesystem || r.admission.Queue.Stats().Pending > 0 {
		return nil
	}
	begin := time.Now()
	for {
		entry, ok := r.pool.books.Checkout(r.warmKey(from), begin)
		if !ok {
			return nil
		}
		w := r.pool.find(entry.ID)
		// Its claim becomes an active one in one step: nobody slips in between.
		if err := w.sb.reservation.Promote(); err != nil {
			r.background.Go(func() { r.discard(w) }) // it was told to yield
			continue
		}
		r.pool.took(entry.ID, begin)
		if w.ready {
			r.steps.Latency.Record(latency.WarmPoolCheckout, time.Since(begin))
		}
		r.pool.wake()
		return w
	}
}

// handOver makes a warm machine the sandbox that was asked for, whose place it owns
// from now on.
func (r *Runtime) handOver(ctx context.Context, w *warm, pl *admission.Place, want store.Sandbox, req sandbox.CreateRequest) (_ sandbox.Sandbox, err error) {
	sb := w.sb
	_ = sb.life.lock(ctx) // Nobody else knows it.
	defer sb.life.unlock()
	ctx, cancel := sb.creation(ctx)
	defer cancel()
	slot := sb.snapshot().SlotID
	want.ID, want.SlotID, want.Deadline = sb.id, slot, time.Now().Add(createTimeout)
	row := sb.update(func(row *store.Sandbox) { *row = want })
	if err := r.add(sb, pl); err != nil {
		r.admission.Places.Free(pl)
		r.discard(w)
		return sandbox.Sandbox{}, err
	}
	defer func() { err = r.undoCreate(ctx, sb, err) }()
	if row.AllowInternet != nil && !*row.AllowInternet {
		if err := r.cfg.Network.SetInternet(ctx, slot, false); err != nil {
			return sandbox.Sandbox{}, err
		}
	}
	if !w.ready {
		if err := r.startPrepared(ctx, w, req); err != nil {
			return sandbox.Sandbox{}, err
		}
	}
	if err := r.steps.At(step.CreateMachine); err != nil {
		return sandbox.Sandbox{}, err
	}
	// What a ready one was given when it was made need not be given again.
	if !w.ready || len(req.Env) > 0 || !req.Secure {
		if err := r.machines.Deliver(ctx, guestOf(row), machine.Launch{Origin: w.origin, Env: req.Env, Resumed: w.ready}); err != nil {
			return sandbox.Sandbox{}, err
		}
	}
	if err := r.steps.At(step.CreateDelivered); err != nil {
		return sandbox.Sandbox{}, err
	}
	view, err := r.created(ctx, sb, req, w.origin)
	if err == nil {
		// Its row says what it is now, and a mark would say otherwise if that is lost.
		err = r.machines.Unmark(sb.id)
	}
	return view, err
}

// startPrepared starts a machine that is prepared, when it is its turn: that is
// work for a processor.
func (r *Runtime) startPrepared(ctx context.Context, w *warm, req sandbox.CreateRequest) error {
	inAdmit, admitted := r.steps.Stage(ctx, latency.CreateAdmit)
	turn, err := r.admission.Admit(inAdmit, req.KeyID, capacity.Budget{Launches: 1})
	if admitted(err); err != nil {
		return err
	}
	defer turn.Release()
	ctx, done := r.steps.Stage(ctx, latency.WarmSnapshotRestore)
	w.sb.mu.Lock()
	w.sb.restored = time.Now()
	w.sb.mu.Unlock()
	err = r.loadPrepared(ctx, w)
	done(err)
	return err
}
