package runtime

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/agent/control"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/capacity"
	"github.com/rundlet/rundlet/substrate/latency"
	"github.com/rundlet/rundlet/vm"
)

// createTimeout is the deadline of the state creating.
const createTimeout = 60 * time.Second

// Create restores the template's snapshot into a new sandbox and returns when
// its agent has taken its identity and answers. The order is: reserve capacity,
// write the intent, make the network with its rules, restore, deliver what is
// per sandbox, write the outcome, expose. On an error all of it is undone.
func (r *Runtime) Create(ctx context.Context, req CreateRequest) (Sandbox, error) {
	if err := r.validate(req); err != nil {
		return Sandbox{}, err
	}
	tpl, err := r.resolve(ctx, req.Template)
	if err != nil {
		return Sandbox{}, outOfSpace(err)
	}
	sb, err := r.create(ctx, req, tpl)
	if err != nil && r.staleBase(ctx, tpl, err) {
		if tpl, err = r.resolve(ctx, req.Template); err == nil {
			sb, err = r.create(ctx, req, tpl)
		}
	}
	return sb, outOfSpace(err)
}

// outOfSpace classifies an error whose cause is a full disk.
func outOfSpace(err error) error {
	if errors.Is(err, store.ErrFull) || errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

func (r *Runtime) create(ctx context.Context, req CreateRequest, tpl store.Template) (_ Sandbox, err error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	now := time.Now()
	sb := &sandbox{id: newID()}
	sb.row = store.Sandbox{
		ID: sb.id, Instance: r.cfg.Instance, TemplateID: tpl.ID, Alias: tpl.Alias, BuildID: tpl.BuildID,
		State: string(StateCreating), Metadata: req.Metadata, CreatedAt: now, EndAt: now.Add(createTimeout),
		VCPUs: tpl.VCPUs, MemoryMiB: tpl.MemoryMiB, DiskMiB: tpl.DiskMiB,
		Secure: req.Secure, PrivatePorts: req.AllowPublicTraffic != nil && !*req.AllowPublicTraffic,
		AllowInternet: req.AllowInternet, KeyID: req.KeyID,
	}
	sb.life.Lock()
	defer sb.life.Unlock()
	if sb.reservation, err = r.reserve(sb.row); err != nil {
		return Sandbox{}, err
	}
	if err := r.add(sb); err != nil {
		sb.reservation.Release()
		return Sandbox{}, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("create sandbox %s: %w", sb.id, err)
			if undo := r.terminateLocked(ctx, sb, "create failed"); undo != nil {
				r.log.Error("create failed and could not be undone yet", "sandbox", sb.id, "error", undo)
			}
		}
	}()
	if err := r.cfg.Store.PutSandbox(ctx, sb.row); err != nil {
		return Sandbox{}, err
	}
	if err := r.launch(ctx, sb, tpl, req.Env); err != nil {
		return Sandbox{}, err
	}
	started := time.Now()
	row := sb.update(func(row *store.Sandbox) {
		row.State, row.StartedAt, row.EndAt = string(StateRunning), started, started.Add(req.Timeout)
	})
	if err := r.cfg.Store.PutSandbox(ctx, row); err != nil {
		return Sandbox{}, err
	}
	r.expose(sb)
	return r.view(sb.snapshot()), nil
}

// launch makes the network slot and the machine and delivers what is per
// sandbox. What it made is recorded in the row, for terminate to undo.
func (r *Runtime) launch(ctx context.Context, sb *sandbox, tpl store.Template, env map[string]string) error {
	select {
	case r.launching <- struct{}{}:
		defer func() { <-r.launching }()
	case <-ctx.Done():
		return fmt.Errorf("wait for other sandboxes that are being made: %w", ctx.Err())
	}
	row := sb.row
	begin := time.Now()
	slot, err := r.cfg.Network.Acquire(ctx, row.AllowInternet == nil || *row.AllowInternet)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	sb.update(func(row *store.Sandbox) { row.SlotID = slot.ID })
	spec, err := restoreSpec(tpl)
	if err != nil {
		return err
	}
	spec.NetNS, spec.GuestIP, spec.Hostname = slot.NetNS, slot.GuestIP.String(), sb.id
	if err := r.cfg.Driver.Create(ctx, sb.id, spec); err != nil {
		return err
	}
	r.cfg.Latency.Record(latency.WarmSnapshotRestore, time.Since(begin))
	sb.mu.Lock()
	sb.restored = begin
	sb.mu.Unlock()
	return r.deliver(ctx, sb, env)
}

// deliver gives the restored guest its identity. Its answer is the readiness
// probe: an agent that took the request serves.
func (r *Runtime) deliver(ctx context.Context, sb *sandbox, env map[string]string) error {
	begin := time.Now()
	req := control.InitRequest{
		Env: env, Timestamp: begin, Hostname: sb.id, SandboxID: sb.id, TemplateID: sb.row.TemplateID,
		ControlToken: r.token("control", sb.id), DefaultUser: "user",
		RandomSeed: make([]byte, 64),
	}
	rand.Read(req.RandomSeed)
	if sb.row.Secure {
		req.AccessToken = r.token("envd", sb.id)
	}
	if err := control.Init(ctx, r.agentDial(sb.id), req); err != nil {
		return fmt.Errorf("the agent in the sandbox does not answer: %w", err)
	}
	r.cfg.Latency.Record(latency.ReadyProbe, time.Since(begin))
	return nil
}

func (r *Runtime) agentDial(id string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return r.dialer.Dial(ctx, id, control.Port) }
}

// expose arms the time-out and watches the machine. The sandbox is running.
func (r *Runtime) expose(sb *sandbox) {
	sb.arm(func() { r.expire(sb) })
	if waiter, ok := r.cfg.Driver.(vm.Waiter); ok {
		r.background.Go(func() { r.watch(waiter, sb) })
	}
}

func (r *Runtime) reserve(row store.Sandbox) (*capacity.Reservation, error) {
	res, err := r.ledger.ReserveActive(budget(row))
	var full *capacity.Error
	if errors.As(err, &full) {
		e := &CapacityError{Resource: full.Resource, Requested: full.Requested, Available: full.Available}
		if !full.Never {
			e.RetryAfter = time.Second
		}
		return nil, e
	}
	return res, err
}

func budget(row store.Sandbox) capacity.Budget {
	return capacity.Budget{
		CPUs: int64(row.VCPUs) * 1000, MemoryBytes: int64(row.MemoryMiB) << 20,
		DiskBytes: int64(row.DiskMiB) << 20, Sandboxes: 1,
	}
}

// restoreSpec is the template's spec with its snapshot.
func restoreSpec(tpl store.Template) (spec vm.Spec, err error) {
	if err := json.Unmarshal(tpl.Spec, &spec); err != nil {
		return vm.Spec{}, fmt.Errorf("template %s: stored spec: %w", tpl.ID, err)
	}
	spec.RestoreFrom = &vm.SnapshotRef{VMID: tpl.VMID, SnapshotID: tpl.Snapshot, ResumeImmediately: true}
	return spec, nil
}
