package runtime

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// launch is what makes a machine of a sandbox, besides its row.
type launch struct {
	origin claim.Origin
	// env is set above the environment that the snapshot has.
	env map[string]string
	// resumed: the sandbox itself goes on, so it keeps its boot id.
	resumed bool
	// the steps to pass.
	network, machine, delivered step.Step
}

// launch makes the network slot and the machine and delivers what is per
// sandbox. What it made is recorded in the row, for the undo.
func (r *Runtime) launch(ctx context.Context, sb *handle, l launch) error {
	begin := time.Now()
	if err := r.restore(ctx, sb, l, true); err != nil {
		return err
	}
	// The rest is to wait for an answer, which a guest may never give: nobody
	// waits for that with a processor's slot in hand.
	sb.reservation.Launched()
	ctx, cancel := context.WithTimeout(ctx, patience(l.origin))
	defer cancel()
	if l.origin.Filesystem {
		if err := r.awaitAgent(ctx, sb.id); err != nil {
			return err
		}
	}
	sb.mu.Lock()
	sb.restored = begin
	sb.mu.Unlock()
	if err := r.steps.At(l.machine); err != nil {
		return err
	}
	if err := r.deliver(ctx, sb.snapshot(), l); err != nil {
		return err
	}
	return r.steps.At(l.delivered)
}

const (
	// answerTimeout is how long the agent of a restored guest has for its first
	// answer. It is a hundred times what one needs on an idle machine; a guest that
	// stopped its agent must not hold up more.
	answerTimeout = 10 * time.Second
	// bootTimeout is answerTimeout of a guest that boots.
	bootTimeout = 30 * time.Second
)

// patience is how long a machine of the origin has until its agent answers. Only
// the guest of a template is our own.
func patience(o claim.Origin) time.Duration {
	switch {
	case o.Filesystem:
		return bootTimeout
	case o.Holder != "":
		return answerTimeout
	}
	return createTimeout
}

// restore makes the network slot and the machine, running or, without resume,
// only prepared: then Start is what is left to do.
func (r *Runtime) restore(ctx context.Context, sb *handle, l launch, resume bool) (err error) {
	if err := r.claims.Whole(ctx, l.origin); err != nil {
		return err
	}
	row := sb.snapshot()
	if resume && !l.origin.Filesystem {
		var done func(error)
		ctx, done = r.steps.Stage(ctx, latency.WarmSnapshotRestore)
		defer func() { done(err) }()
	}
	inSlot, gotSlot := r.steps.Stage(ctx, latency.CreateSlot)
	slot, err := r.cfg.Network.Acquire(inSlot, row.AllowInternet == nil || *row.AllowInternet)
	if gotSlot(err); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	sb.update(func(row *store.Sandbox) { row.SlotID = slot.ID })
	if err := r.steps.At(l.network); err != nil {
		return err
	}
	spec, err := l.origin.MachineSpec(slot.NetNS, slot.GuestIP, sb.id)
	if err != nil {
		return err
	}
	spec.RestoreFrom.ResumeImmediately = resume
	err = r.cfg.Driver.Create(ctx, sb.id, spec)
	if !resume && err == nil {
		return nil // Nothing was read yet.
	}
	// A file that was changed in between may be what it failed for, or what it
	// did not notice.
	return cmp.Or(r.claims.StillWhole(ctx, l.origin), err)
}

// deliver gives the restored guest its identity. Its answer is the readiness
// probe: an agent that took the request serves.
func (r *Runtime) deliver(ctx context.Context, row store.Sandbox, l launch) (err error) {
	ctx, done := r.steps.Stage(ctx, latency.ReadyProbe)
	defer func() { done(err) }()
	req := envd.InitRequest{
		Env: l.env, Timestamp: time.Now(), Hostname: row.ID, SandboxID: row.ID, TemplateID: row.TemplateID,
		ControlToken: r.token("control", row.ID), DefaultUser: "user",
		RandomSeed: make([]byte, 64),
	}
	rand.Read(req.RandomSeed)
	if row.Secure {
		req.AccessToken = r.token("envd", row.ID)
	}
	if l.origin.Holder != "" {
		req.CurrentToken, req.Restored = r.token("control", l.origin.Holder), true
	}
	if !l.resumed {
		req.BootID = uuid.NewString()
	}
	if err := envd.Init(ctx, r.agentDial(row.ID), req); err != nil {
		return fmt.Errorf("%w: %w", sandbox.ErrNoAnswer, err)
	}
	return nil
}

func (r *Runtime) agentDial(id string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return r.dialer.Dial(ctx, id, envd.Port) }
}

// unmake ends the machine, then frees the network, then releases the capacity.
// When a step fails the later ones are not begun: what still exists is still
// counted. The caller holds sb.life.
func (r *Runtime) unmake(ctx context.Context, sb *handle, ended, freed step.Step) error {
	if err := r.destroy(ctx, sb.id); err != nil {
		return err
	}
	if err := r.steps.At(ended); err != nil {
		return err
	}
	if slot := sb.snapshot().SlotID; slot != "" {
		if err := r.cfg.Network.Release(ctx, slot); err != nil {
			return fmt.Errorf("free network %s: %w", slot, err)
		}
		sb.update(func(row *store.Sandbox) { row.SlotID = "" })
	}
	if sb.reservation != nil {
		sb.reservation.Release()
		sb.reservation = nil
	}
	return r.steps.At(freed)
}

// destroy ends a machine; one that is gone already is no error.
func (r *Runtime) destroy(ctx context.Context, id string) error {
	view, ok, err := r.cfg.Driver.Get(ctx, id)
	if err != nil {
		return err
	}
	if !ok {
		return nil
	}
	if view.Status != vm.StatusDestroyed {
		if err := r.cfg.Driver.Destroy(ctx, id); err != nil && !errors.Is(err, vm.ErrNotFound) {
			return err
		}
	}
	if f, ok := r.cfg.Driver.(vm.Forgetter); ok {
		// The id comes back when the sandbox is resumed.
		return f.Forget(ctx, id)
	}
	return nil
}
