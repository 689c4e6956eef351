package machine

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
)

// Guest is the identity that a machine gets.
type Guest struct {
	ID         string
	TemplateID string
	// Key is the API key whose share of the processors the machine is part of; empty
	// is the node itself.
	Key string
	// Secure: the agent asks its clients for a token.
	Secure bool
	// Egress is what the machine's slot reaches.
	Egress egress.Policy
}

// Launch says how a machine is made.
type Launch struct {
	Origin claim.Origin
	// Env is set above the environment that the snapshot has.
	Env map[string]string
	// Resumed: the same sandbox runs on, so that it keeps its boot id.
	Resumed bool
	// The steps to pass; None stands for not passing one.
	Network, Machine, Delivered step.Step
}

const (
	// AnswerTimeout is how long the agent of a restored guest has for its first
	// answer. An agent needs a hundredth of that on an idle machine; a guest that
	// stopped its agent must not hold up more.
	AnswerTimeout = 10 * time.Second
	// BootTimeout is AnswerTimeout of a guest that boots.
	BootTimeout = 30 * time.Second
	// templateTimeout is AnswerTimeout of a guest that is our own, for it stopped no
	// agent. The create's own deadline comes first.
	templateTimeout = time.Minute
)

// Patience is how long a machine of an origin has until its agent answers.
func Patience(o claim.Origin) time.Duration {
	switch {
	case o.Filesystem:
		return BootTimeout
	case o.Holder != "":
		return AnswerTimeout
	}
	return templateTimeout
}

// Restore makes the network slot and the machine. With resume the machine runs
// when it returns; otherwise it is prepared, and only Start is left to do.
// slotted is called with the slot's id as soon as there is one: from then on the
// caller frees the slot, and the machine, also if Restore fails.
func (m *Machines) Restore(ctx context.Context, g Guest, l Launch, resume bool, slotted func(slotID string)) (err error) {
	if err := m.cfg.Claims.Whole(ctx, l.Origin); err != nil {
		return err
	}
	if resume && !l.Origin.Filesystem {
		var done func(error)
		ctx, done = m.cfg.Steps.Stage(ctx, latency.WarmSnapshotRestore)
		defer func() { done(err) }()
	}
	inSlot, gotSlot := m.cfg.Steps.Stage(ctx, latency.CreateSlot)
	slot, err := m.cfg.Network.Acquire(inSlot, g.Egress)
	if gotSlot(err); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	slotted(slot.ID)
	if err := m.cfg.Steps.At(l.Network); err != nil {
		return err
	}
	spec, err := l.Origin.MachineSpec(slot.NetNS, slot.GuestIP, g.ID)
	if err != nil {
		return err
	}
	spec.RestoreFrom.ResumeImmediately = resume
	spec.Weight = m.weights.join(ctx, g.ID, g.Key)
	err = m.cfg.Driver.Create(ctx, g.ID, spec)
	if err == nil {
		m.weights.join(ctx, g.ID, g.Key) // It may have changed meanwhile.
	}
	if !resume && err == nil {
		return nil // Nothing was read yet.
	}
	// A file that was changed in between may be what it failed for, or what it
	// did not notice.
	return cmp.Or(m.cfg.Claims.StillWhole(ctx, l.Origin), err)
}

// Deliver gives the restored guest its identity. The answer is the readiness
// probe: an agent that took the request serves.
func (m *Machines) Deliver(ctx context.Context, g Guest, l Launch) (err error) {
	ctx, done := m.cfg.Steps.Stage(ctx, latency.ReadyProbe)
	defer func() { done(err) }()
	req := envd.InitRequest{
		Env: l.Env, Timestamp: time.Now(), Hostname: g.ID, SandboxID: g.ID, TemplateID: g.TemplateID,
		ControlToken: m.cfg.Tokens.Control(g.ID), DefaultUser: cmp.Or(l.Origin.Defaults.User, "user"), DefaultWorkdir: l.Origin.Defaults.Workdir,
		RandomSeed: make([]byte, 64),
	}
	rand.Read(req.RandomSeed)
	if g.Secure {
		req.AccessToken = m.cfg.Tokens.Envd(g.ID)
	}
	if l.Origin.Holder != "" {
		req.CurrentToken, req.Restored = cmp.Or(l.Origin.HolderToken, m.cfg.Tokens.Control(l.Origin.Holder)), true
	}
	if !l.Resumed {
		req.BootID = uuid.NewString()
	}
	if err := envd.Init(ctx, m.Agent(g.ID), req); err != nil {
		return fmt.Errorf("%w: %w", sandbox.ErrNoAnswer, err)
	}
	return nil
}
