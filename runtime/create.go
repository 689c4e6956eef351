package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// createTimeout is the deadline of the state creating.
const createTimeout = 60 * time.Second

// Create restores the template's snapshot into a new sandbox and returns when
// its agent has taken its identity and answers. The order is: reserve capacity,
// write the intent, make the network with its rules, restore, deliver what is
// per sandbox, write the outcome, expose. On an error all of it is undone.
func (r *Runtime) Create(ctx context.Context, req sandbox.CreateRequest) (sandbox.Sandbox, error) {
	if err := r.validate(req); err != nil {
		return sandbox.Sandbox{}, err
	}
	from, err := r.resolve(ctx, req.Template)
	if err != nil {
		return sandbox.Sandbox{}, fault.Classify(err)
	}
	sb, err := r.create(ctx, req, from, nil)
	if err != nil && r.templates.Stale(ctx, from, err) {
		if from, err = r.resolve(ctx, req.Template); err == nil {
			sb, err = r.create(ctx, req, from, nil)
		}
	}
	return sb, fault.Classify(err)
}

// create makes a sandbox from an origin. follows is the continuation that it
// follows up on, or nil.
func (r *Runtime) create(ctx context.Context, req sandbox.CreateRequest, from claim.Origin, follows *sandbox.Continuation) (_ sandbox.Sandbox, err error) {
	sb := live.New(r.newRow(req, from, follows))
	ctx, end := r.steps.Stage(ctx, latency.Create, slog.String("sandbox", sb.ID), slog.String("template", from.ID))
	defer func() { end(err) }()
	defer func() { err = r.deletedMeanwhile(ctx, from, err) }()
	pl, err := r.admission.Places.Take(req.KeyID)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	given := false
	defer func() {
		if !given {
			r.admission.Places.Free(pl)
		}
	}()
	if w := r.checkout(from); w != nil {
		given = true
		return r.handOver(ctx, w, pl, sb.Row(), req)
	}
	if err := r.admission.CheckMachine(); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.claims.Fits(from); err != nil {
		return sandbox.Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	inAdmit, admitted := r.steps.Stage(ctx, latency.CreateAdmit)
	reservation, err := r.admission.Admit(inAdmit, req.KeyID, budget(sb.Row()))
	if admitted(err); err != nil {
		return sandbox.Sandbox{}, err
	}
	row := sb.Update(func(row *store.Sandbox) {
		row.Deadline = time.Now().Add(createTimeout)
		row.EndAt = row.Deadline
	})
	_ = sb.Life.Lock(ctx) // No other call knows it.
	defer sb.Life.Unlock()
	ctx, cancel := creation(ctx, sb)
	defer cancel()
	sb.Reservation = reservation
	if err := r.live.Add(sb, pl); err != nil {
		reservation.Release()
		return sandbox.Sandbox{}, err
	}
	given = true
	defer func() { err = r.undoCreate(ctx, sb, err) }()
	if err := r.steps.At(step.CreateReserved); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.write(ctx, sb, &row); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.steps.At(step.CreateIntent); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.launch(ctx, sb, machine.Launch{
		Origin: from, Env: req.Env,
		Network: step.CreateNetwork, Machine: step.CreateMachine, Delivered: step.CreateDelivered,
	}); err != nil {
		return sandbox.Sandbox{}, err
	}
	return r.created(ctx, sb, req, from)
}

// creation is the operation that makes a sandbox: a client that goes away breaks
// it off, too. The caller has sb.Life.
func creation(ctx context.Context, sb *live.Sandbox) (context.Context, func()) {
	sb.Life.Extend(time.Now().Add(createTimeout))
	return sb.Begin(ctx, createTimeout)
}

// created writes the outcome of a create and exposes the sandbox.
func (r *Runtime) created(ctx context.Context, sb *live.Sandbox, req sandbox.CreateRequest, from claim.Origin) (sandbox.Sandbox, error) {
	if err := r.keepEnvironment(ctx, sb.ID, from, req.Env); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.nowRunning(ctx, sb, req.Timeout); err != nil {
		return sandbox.Sandbox{}, err
	}
	r.spawned(from)
	_ = r.steps.At(step.CreateOutcome)
	_, exposed := r.steps.Stage(ctx, latency.CreateExpose)
	r.expose(sb)
	exposed(nil)
	r.pool.Wake() // The processor that the launch had is free.
	return r.view(sb.Row()), nil
}

// undoCreate ends what a create that failed has made. The caller holds sb.Life.
func (r *Runtime) undoCreate(ctx context.Context, sb *live.Sandbox, err error) error {
	if err == nil {
		return nil
	}
	if undo := r.terminateLocked(ctx, sb, "create failed"); undo != nil {
		r.log.Error("create failed and could not be undone yet", "sandbox_id", sb.ID, "error", undo)
	}
	if errors.Is(context.Cause(ctx), live.ErrInterrupted) {
		err = fmt.Errorf("%w: it is being killed: %v", sandbox.ErrUnavailable, err) //nolint:errorlint // The ended context must not decide how the error is classified.
	}
	return fmt.Errorf("create sandbox %s: %w", sb.ID, err)
}

// write is one of a create's writes to the store.
func (r *Runtime) write(ctx context.Context, sb *live.Sandbox, row *store.Sandbox) (err error) {
	ctx, done := r.steps.Stage(ctx, latency.CreateStore)
	defer func() { done(err) }()
	return r.put(ctx, sb, row)
}

// nowRunning writes the outcome of a create or a resume.
func (r *Runtime) nowRunning(ctx context.Context, sb *live.Sandbox, timeout time.Duration) error {
	started := time.Now()
	row := sb.Row()
	row.State, row.StartedAt, row.EndAt = sandbox.StateRunning, started, started.Add(timeout)
	row.Deadline, row.SnapshotID, row.QuarantinedAt, row.Reason = time.Time{}, "", time.Time{}, ""
	if err := r.write(ctx, sb, &row); err != nil {
		return err
	}
	sb.Update(func(r *store.Sandbox) { *r = row })
	return nil
}

// newRow is the row of a sandbox that is to be created.
func (r *Runtime) newRow(req sandbox.CreateRequest, from claim.Origin, follows *sandbox.Continuation) store.Sandbox {
	row := store.Sandbox{
		ID: sandbox.NewID(), Instance: r.cfg.Instance, TemplateID: from.TemplateID, Alias: from.Alias, BuildID: from.BuildID,
		State: sandbox.StateCreating, Metadata: req.Metadata, CreatedAt: time.Now(),
		VCPUs: from.Size.VCPUs, MemoryMiB: from.Size.MemoryMiB, DiskMiB: from.Size.DiskMiB,
		Secure: req.Secure, PrivatePorts: req.AllowPublicTraffic != nil && !*req.AllowPublicTraffic,
		AllowInternet: req.AllowInternet, KeyID: req.KeyID,
		OriginID: from.ID, Spec: from.Spec, OnTimeout: req.OnTimeout, AutoResume: req.AutoResume,
		Timeout: req.Timeout, Request: req.Record(), Node: r.cfg.Node, Driver: r.cfg.Driver.Info().Driver,
	}
	if follows != nil {
		// It is our own type: it encodes.
		text, _ := json.Marshal(follows)
		row.FollowsUp = string(text)
	}
	return row
}

func budget(row store.Sandbox) capacity.Budget {
	return capacity.Sandbox(row.VCPUs, row.MemoryMiB, row.DiskMiB)
}

// adopted is the budget of a sandbox whose machine exists.
func adopted(row store.Sandbox) capacity.Budget {
	b := budget(row)
	b.Launches = 0
	return b
}
