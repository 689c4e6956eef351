package start

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// CreateTimeout is the deadline of the state creating.
const CreateTimeout = 60 * time.Second

// Create makes a sandbox from an origin. follows is the continuation that it
// follows up on, or nil.
func (t *Starter) Create(ctx context.Context, req sandbox.CreateRequest, from claim.Origin, follows *sandbox.Continuation) (_ store.Sandbox, err error) {
	row, err := t.newRow(req, from, follows)
	if err != nil {
		return store.Sandbox{}, err
	}
	sb := live.New(row)
	ctx, end := t.cfg.Steps.Stage(ctx, latency.Create, slog.String("sandbox", sb.ID), slog.String("template", from.ID))
	defer func() { end(err) }()
	defer func() { err = t.deletedMeanwhile(ctx, from, err) }()
	pl, err := t.cfg.Admission.Places.Take(req.KeyID)
	if err != nil {
		return store.Sandbox{}, err
	}
	given := false
	defer func() {
		if !given {
			t.cfg.Admission.Places.Free(pl)
		}
	}()
	if w := t.checkout(from); w != nil {
		given = true
		return t.handOver(ctx, w, pl, sb.Row(), req)
	}
	if err := t.cfg.Admission.CheckMachine(); err != nil {
		return store.Sandbox{}, err
	}
	if err := t.cfg.Claims.Fits(from); err != nil {
		return store.Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	inAdmit, admitted := t.cfg.Steps.Stage(ctx, latency.CreateAdmit)
	reservation, err := t.cfg.Admission.Admit(inAdmit, req.KeyID, budget(sb.Row()))
	if admitted(err); err != nil {
		return store.Sandbox{}, err
	}
	row = sb.Update(func(row *store.Sandbox) {
		row.Deadline = time.Now().Add(CreateTimeout)
		row.EndAt = row.Deadline
	})
	_ = sb.Life.Lock(ctx) // No other call knows it.
	defer sb.Life.Unlock()
	ctx, cancel := creation(ctx, sb)
	defer cancel()
	sb.Reservation = reservation
	if err := t.cfg.Live.Add(sb, pl); err != nil {
		reservation.Release()
		return store.Sandbox{}, err
	}
	given = true
	defer func() { err = t.undoCreate(ctx, sb, err) }()
	if err := t.cfg.Steps.At(step.CreateReserved); err != nil {
		return store.Sandbox{}, err
	}
	if err := t.write(ctx, sb, &row); err != nil {
		return store.Sandbox{}, err
	}
	if err := t.cfg.Steps.At(step.CreateIntent); err != nil {
		return store.Sandbox{}, err
	}
	if err := t.launch(ctx, sb, machine.Launch{
		Origin: from, Env: req.Env,
		Network: step.CreateNetwork, Machine: step.CreateMachine, Delivered: step.CreateDelivered,
	}); err != nil {
		return store.Sandbox{}, err
	}
	return t.created(ctx, sb, req, from)
}

// creation is the operation that makes a sandbox: a client that goes away breaks
// it off, too. The caller has sb.Life.
func creation(ctx context.Context, sb *live.Sandbox) (context.Context, func()) {
	sb.Life.Extend(time.Now().Add(CreateTimeout))
	return sb.Begin(ctx, CreateTimeout)
}

// created writes the outcome of a create and exposes the sandbox.
func (t *Starter) created(ctx context.Context, sb *live.Sandbox, req sandbox.CreateRequest, from claim.Origin) (store.Sandbox, error) {
	if err := t.keepEnvironment(ctx, sb.ID, from, req.Env); err != nil {
		return store.Sandbox{}, err
	}
	if err := t.nowRunning(ctx, sb, req.Timeout); err != nil {
		return store.Sandbox{}, err
	}
	t.spawned(from)
	_ = t.cfg.Steps.At(step.CreateOutcome)
	_, exposed := t.cfg.Steps.Stage(ctx, latency.CreateExpose)
	t.Expose(sb)
	exposed(nil)
	t.cfg.Pool.Wake() // The processor that the launch had is free.
	return sb.Row(), nil
}

// undoCreate ends the parts that a failed create has made. The caller holds sb.Life.
func (t *Starter) undoCreate(ctx context.Context, sb *live.Sandbox, err error) error {
	if err == nil {
		return nil
	}
	if undo := t.cfg.Ender.EndHeld(ctx, sb, "create failed"); undo != nil {
		t.cfg.Log.Error("create failed and could not be undone yet", "sandbox_id", sb.ID, "error", undo)
	}
	if errors.Is(context.Cause(ctx), live.ErrInterrupted) {
		err = fmt.Errorf("%w: it is being killed: %v", sandbox.ErrUnavailable, err) //nolint:errorlint // The ended context must not decide how the error is classified.
	}
	return fmt.Errorf("create sandbox %s: %w", sb.ID, err)
}
