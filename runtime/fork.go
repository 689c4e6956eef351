package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Fork makes copies of a running sandbox, which goes on running: it is saved
// once and restored Count times, each time under an id, tokens, a network place
// and a boot id of its own. Children that could not be made have an error; the
// others are there.
func (r *Runtime) Fork(ctx context.Context, id string, req sandbox.ForkRequest) ([]sandbox.ForkResult, error) {
	if err := r.validateTimeout(req.Timeout); err != nil {
		return nil, err
	}
	if req.Count < 1 || req.Count > sandbox.MaxForks {
		return nil, fmt.Errorf("%w: count must be between 1 and %d", sandbox.ErrInvalid, sandbox.MaxForks)
	}
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return nil, err
	}
	ctx, done := r.steps.Stage(ctx, latency.Fork, slog.String("sandbox", id), slog.Int("count", req.Count))
	// What was begun is ended and cleaned up by itself when the client goes away.
	results, err := await(ctx, r, func() ([]sandbox.ForkResult, error) { return r.fork(ctx, sb, req) })
	failed := err
	for _, child := range results {
		failed = errors.Join(failed, child.Err)
	}
	done(failed)
	return results, err
}

func (r *Runtime) fork(ctx context.Context, sb *live.Sandbox, req sandbox.ForkRequest) ([]sandbox.ForkResult, error) {
	id := sb.ID
	disown := func() {}
	if err := sb.LockSettled(ctx); err != nil {
		return nil, fmt.Errorf("fork sandbox %s: %w", id, err)
	}
	snap, err := r.captureLocked(ctx, sb, func(snap *store.Snapshot) {
		snap.Kind = claim.KindFork
		disown = r.held.Hold(snap.ID)
	})
	sb.Life.Unlock()
	defer func() { disown() }()
	if err != nil {
		return nil, fmt.Errorf("fork sandbox %s: %w", id, err)
	}
	defer func() {
		ctx, cancel := background.Detached(ctx)
		defer cancel()
		if err := r.claims.Drop(ctx, snap.ID); err != nil {
			r.log.Warn("could not remove the snapshot of a fork", "sandbox_id", id, "error", err)
		}
	}()
	if err := r.steps.At(step.ForkSaved); err != nil {
		return nil, fmt.Errorf("fork sandbox %s: %w", id, err)
	}
	row := sb.Row()
	from := claim.OfSnapshot(snap)
	results := make([]sandbox.ForkResult, req.Count)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			if ctx.Err() != nil { // The client went away: what has not begun does not begin.
				results[i].Err = context.Cause(ctx)
				return
			}
			child, err := r.create(ctx, childRequest(row, req), from, nil)
			results[i] = sandbox.ForkResult{Sandbox: child, Err: fault.Classify(err)}
		})
	}
	wg.Wait()
	_ = r.steps.At(step.ForkChildren)
	return results, nil
}

// childRequest asks for a sandbox as its parent was asked for.
func childRequest(parent store.Sandbox, req sandbox.ForkRequest) sandbox.CreateRequest {
	out := sandbox.CreateRequest{
		Timeout: req.Timeout, Metadata: maps.Clone(parent.Metadata), Secure: parent.Secure,
		AllowInternet: parent.AllowInternet, OnTimeout: sandbox.OnTimeout(parent.OnTimeout), AutoResume: parent.AutoResume,
		KeyID: req.KeyID,
	}
	if parent.PrivatePorts {
		out.AllowPublicTraffic = new(bool)
	}
	return out
}
