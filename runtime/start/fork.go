package start

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Child is the outcome of one child of a fork.
type Child struct {
	Row store.Sandbox
	Err error
}

// Fork saves a running sandbox once and makes children of it.
func (t *Starter) Fork(ctx context.Context, sb *live.Sandbox, req sandbox.ForkRequest) ([]Child, error) {
	id := sb.ID
	disown := func() {}
	if err := sb.LockSettled(ctx); err != nil {
		return nil, fmt.Errorf("fork sandbox %s: %w", id, err)
	}
	snap, err := t.cfg.Saver.Capture(ctx, sb, func(snap *store.Snapshot) {
		snap.Kind = claim.KindFork
		disown = t.cfg.Held.Hold(snap.ID)
	})
	sb.Life.Unlock()
	defer func() { disown() }()
	if err != nil {
		return nil, fmt.Errorf("fork sandbox %s: %w", id, err)
	}
	defer func() {
		if err := t.cfg.Claims.Drop(ctx, snap.ID); err != nil {
			t.cfg.Log.Warn("could not remove the snapshot of a fork", "sandbox_id", id, "error", err)
		}
	}()
	if err := t.cfg.Steps.At(step.ForkSaved); err != nil {
		return nil, fmt.Errorf("fork sandbox %s: %w", id, err)
	}
	row := sb.Row()
	from := claim.OfSnapshot(snap)
	results := make([]Child, req.Count)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			if ctx.Err() != nil { // The client went away: what has not begun does not begin.
				results[i].Err = context.Cause(ctx)
				return
			}
			child, err := t.Create(ctx, childRequest(row, req), from, nil)
			results[i] = Child{Row: child, Err: err}
		})
	}
	wg.Wait()
	_ = t.cfg.Steps.At(step.ForkChildren)
	return results, nil
}

// childRequest asks for a sandbox as its parent was asked for.
func childRequest(parent store.Sandbox, req sandbox.ForkRequest) sandbox.CreateRequest {
	out := sandbox.CreateRequest{
		Timeout: req.Timeout, Metadata: maps.Clone(parent.Metadata), Secure: parent.Secure,
		AllowInternet: parent.AllowInternet, Egress: parent.Egress, Ingress: parent.Ingress, OnTimeout: sandbox.OnTimeout(parent.OnTimeout), AutoResume: parent.AutoResume,
		KeyID: req.KeyID,
	}
	if parent.PrivatePorts {
		out.AllowPublicTraffic = new(bool)
	}
	return out
}
