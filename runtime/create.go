package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
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
		return sandbox.Sandbox{}, classify(err)
	}
	sb, err := r.create(ctx, req, from, nil)
	if err != nil && r.staleBase(ctx, from, err) {
		if from, err = r.resolve(ctx, req.Template); err == nil {
			sb, err = r.create(ctx, req, from, nil)
		}
	}
	return sb, classify(err)
}

// classify gives an error of what is below the class that its cause has here.
// Where nothing was to be restored, use classifySave.
func classify(err error) error {
	var changed *vm.HostChangedError
	switch {
	case host.Lack(err) != "":
		return fmt.Errorf("%w: %w", sandbox.ErrLacking, err)
	case errors.Is(err, store.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", sandbox.ErrDiskFull, err)
	case errors.Is(err, vm.ErrOutOfMemory):
		return outOfMemory(err)
	case errors.As(err, &changed):
		return fmt.Errorf("%w: %w", sandbox.ErrNotRestorable, &sandbox.HostChangedError{File: changed.File, How: changed.How, Err: err})
	case errors.Is(err, vm.ErrIncompatible), errors.Is(err, vm.ErrNotFound):
		return fmt.Errorf("%w: %w", sandbox.ErrNotRestorable, err)
	}
	return err
}

// classifySave is classify of a call that saves a machine: there the driver has
// nothing else to miss than the machine.
func classifySave(id string, err error) error {
	if errors.Is(err, vm.ErrNotFound) {
		return fmt.Errorf("%w (%w)", notFound(id), err)
	}
	return classify(err)
}

// create makes a sandbox from an origin. follows is the continuation that it
// follows up on, or nil.
func (r *Runtime) create(ctx context.Context, req sandbox.CreateRequest, from origin, follows *sandbox.Continuation) (_ sandbox.Sandbox, err error) {
	sb := newHandle(r.newRow(req, from, follows))
	ctx, end := r.stage(ctx, latency.Create, slog.String("sandbox", sb.id), slog.String("template", from.id))
	defer func() { end(err) }()
	defer func() { err = r.deletedMeanwhile(ctx, from, err) }()
	pl, err := r.places.take(req.KeyID)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	given := false
	defer func() {
		if !given {
			r.places.free(pl)
		}
	}()
	if w := r.checkout(from); w != nil {
		given = true
		return r.handOver(ctx, w, pl, sb.row, req)
	}
	if err := r.roomForMachine(); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.fits(from); err != nil {
		return sandbox.Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	inAdmit, admitted := r.stage(ctx, latency.CreateAdmit)
	reservation, err := r.admit(inAdmit, req.KeyID, budget(sb.row))
	if admitted(err); err != nil {
		return sandbox.Sandbox{}, err
	}
	sb.row.Deadline = time.Now().Add(createTimeout)
	sb.row.EndAt = sb.row.Deadline
	_ = sb.life.lock(ctx) // Nobody else knows it.
	defer sb.life.unlock()
	ctx, cancel := sb.creation(ctx)
	defer cancel()
	sb.reservation = reservation
	if err := r.add(sb, pl); err != nil {
		reservation.Release()
		return sandbox.Sandbox{}, err
	}
	given = true
	defer func() { err = r.undoCreate(ctx, sb, err) }()
	if err := r.at(StepCreateReserved); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.write(ctx, sb.row); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.at(StepCreateIntent); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.launch(ctx, sb, launch{
		origin: from, env: req.Env,
		network: StepCreateNetwork, machine: StepCreateMachine, delivered: StepCreateDelivered,
	}); err != nil {
		return sandbox.Sandbox{}, err
	}
	return r.created(ctx, sb, req, from)
}

// creation is the operation that makes a sandbox: a client that goes away breaks
// it off, too. The caller has sb.life.
func (sb *handle) creation(ctx context.Context) (context.Context, func()) {
	sb.life.extend(time.Now().Add(createTimeout))
	return sb.operation(ctx, createTimeout)
}

// created writes the outcome of a create and exposes the sandbox.
func (r *Runtime) created(ctx context.Context, sb *handle, req sandbox.CreateRequest, from origin) (sandbox.Sandbox, error) {
	if err := r.keepEnvironment(ctx, sb.id, from, req.Env); err != nil {
		return sandbox.Sandbox{}, err
	}
	if err := r.nowRunning(ctx, sb, req.Timeout); err != nil {
		return sandbox.Sandbox{}, err
	}
	r.spawned(from)
	_ = r.at(StepCreateOutcome)
	_, exposed := r.stage(ctx, latency.CreateExpose)
	r.expose(sb)
	exposed(nil)
	r.pool.wake() // The processor that the launch had is free.
	return r.view(sb.snapshot()), nil
}

// undoCreate ends what a create that failed has made. The caller holds sb.life.
func (r *Runtime) undoCreate(ctx context.Context, sb *handle, err error) error {
	if err == nil {
		return nil
	}
	if undo := r.terminateLocked(ctx, sb, "create failed"); undo != nil {
		r.log.Error("create failed and could not be undone yet", "sandbox", sb.id, "error", undo)
	}
	if errors.Is(context.Cause(ctx), errInterrupted) {
		err = fmt.Errorf("%w: it is being killed: %v", sandbox.ErrUnavailable, err)
	}
	return fmt.Errorf("create sandbox %s: %w", sb.id, err)
}

// write is one of a create's writes to the store.
func (r *Runtime) write(ctx context.Context, row store.Sandbox) (err error) {
	ctx, done := r.stage(ctx, latency.CreateStore)
	defer func() { done(err) }()
	return r.cfg.Store.PutSandbox(ctx, row)
}

// nowRunning writes the outcome of a create or a resume.
func (r *Runtime) nowRunning(ctx context.Context, sb *handle, timeout time.Duration) error {
	started := time.Now()
	row := sb.snapshot()
	row.State, row.StartedAt, row.EndAt = sandbox.StateRunning, started, started.Add(timeout)
	row.Deadline, row.SnapshotID, row.QuarantinedAt, row.Reason = time.Time{}, "", time.Time{}, ""
	if err := r.write(ctx, row); err != nil {
		return err
	}
	sb.update(func(r *store.Sandbox) { *r = row })
	return nil
}

// newRow is the row of a sandbox that is to be created.
func (r *Runtime) newRow(req sandbox.CreateRequest, from origin, follows *sandbox.Continuation) store.Sandbox {
	row := store.Sandbox{
		ID: newID(), Instance: r.cfg.Instance, TemplateID: from.templateID, Alias: from.alias, BuildID: from.buildID,
		State: sandbox.StateCreating, Metadata: req.Metadata, CreatedAt: time.Now(),
		VCPUs: from.size.VCPUs, MemoryMiB: from.size.MemoryMiB, DiskMiB: from.size.DiskMiB,
		Secure: req.Secure, PrivatePorts: req.AllowPublicTraffic != nil && !*req.AllowPublicTraffic,
		AllowInternet: req.AllowInternet, KeyID: req.KeyID,
		OriginID: from.id, Spec: from.spec, OnTimeout: req.OnTimeout, AutoResume: req.AutoResume,
		Timeout: req.Timeout,
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
