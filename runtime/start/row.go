package start

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// write is one of a create's writes to the store.
func (t *Starter) write(ctx context.Context, sb *live.Sandbox, row *store.Sandbox) (err error) {
	ctx, done := t.cfg.Steps.Stage(ctx, latency.CreateStore)
	defer func() { done(err) }()
	return t.cfg.Rows.Put(ctx, sb, row)
}

// nowRunning writes the outcome of a create or a resume.
func (t *Starter) nowRunning(ctx context.Context, sb *live.Sandbox, timeout time.Duration) error {
	started := time.Now()
	row := sb.Row()
	was := row.State
	row.State, row.StartedAt, row.EndAt = sandbox.StateRunning, started, started.Add(timeout)
	row.Deadline, row.SnapshotID, row.QuarantinedAt, row.Reason = time.Time{}, "", time.Time{}, ""
	if err := t.write(ctx, sb, &row); err != nil {
		return err
	}
	sb.Update(func(now *store.Sandbox) { *now = row })
	if was == sandbox.StateResuming {
		t.cfg.Log.Info("sandbox resumed", "sandbox_id", sb.ID)
	} else {
		t.cfg.Log.Info("sandbox created", "sandbox_id", sb.ID, "template_id", row.TemplateID)
	}
	return nil
}

// gate is the gate that the checkout of a new sandbox has.
func gate(req sandbox.CreateRequest, from claim.Origin) (sandbox.Freshness, error) {
	saved := from.Freshness
	if saved.Open() {
		saved = sandbox.Freshness{} // What it had was up to date then.
	}
	if from.Copy {
		return saved, nil // The metadata is that of the sandbox that it is a copy of.
	}
	repo := from.Defaults.Repository
	if !from.Template {
		repo = sandbox.Repository{} // A snapshot may have work in its checkout, and the request did not ask for a reset.
	}
	asked, err := freshness.For(req.Metadata, repo)
	if err != nil || !asked.Gated() {
		return saved, err
	}
	f := sandbox.Freshness{
		Phase: freshness.NewGate(asked).Phase, Branch: asked.Branch, Target: asked.Target, Checkout: asked.Checkout,
	}
	if f.Checkout == from.Defaults.Repository.Checkout {
		f.User = from.Defaults.Repository.User
	}
	if saved.Phase == freshness.Syncing || saved.Phase == freshness.Failed {
		f.Phase = freshness.Syncing // Parts of a sync are in it, such as the locks of a git that was killed.
	}
	return f, nil
}

// newRow is the row of a sandbox that is to be created; sandbox.ErrInvalid.
func (t *Starter) newRow(req sandbox.CreateRequest, from claim.Origin, follows *sandbox.Continuation) (store.Sandbox, error) {
	fresh, err := gate(req, from)
	if err != nil {
		return store.Sandbox{}, err
	}
	row := store.Sandbox{
		ID: sandbox.NewID(), Instance: t.cfg.Instance, TemplateID: from.TemplateID, Alias: from.Alias, BuildID: from.BuildID,
		State: sandbox.StateCreating, Metadata: req.Metadata, CreatedAt: time.Now(),
		VCPUs: from.Size.VCPUs, MemoryMiB: from.Size.MemoryMiB, DiskMiB: from.Size.DiskMiB,
		Secure: req.Secure, PrivatePorts: req.AllowPublicTraffic != nil && !*req.AllowPublicTraffic,
		AllowInternet: req.AllowInternet, Egress: req.Egress, Ingress: req.Ingress, KeyID: req.KeyID,
		OriginID: from.ID, Spec: from.Spec, OnTimeout: req.OnTimeout, AutoResume: req.AutoResume,
		Timeout: req.Timeout, Request: req.Record(), Node: t.cfg.Node, Driver: t.cfg.Driver.Info().Driver, Defaults: from.Defaults, Freshness: fresh,
	}
	if follows != nil {
		// It is our own type: it encodes.
		text, _ := json.Marshal(follows)
		row.FollowsUp = string(text)
	}
	return row, nil
}

func budget(row store.Sandbox) capacity.Budget {
	return capacity.Sandbox(row.VCPUs, row.MemoryMiB, row.DiskMiB)
}

// Adopted is the budget of a sandbox whose machine exists.
func Adopted(row store.Sandbox) capacity.Budget {
	b := budget(row)
	b.Launches = 0
	return b
}
